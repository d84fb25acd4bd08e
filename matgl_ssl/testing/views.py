"""The suite of views: pure functions of a crystal and a generator."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import ClassVar

import numpy as np
import torch

from matgl_ssl.backends import Graph, collate
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.views import View, sample_generator

from .systems import ELEMENTS, some_crystals

_BUILD = GraphBuilder(ELEMENTS, 4.5)


class ViewTests:
    """What every view must keep: inherit it and say which views.

    Attributes:
        views: The views.
    """

    views: ClassVar[list[View]]

    def seen(self, view: View, crystal: Crystal, sample: int = 0) -> Graph:
        """A crystal under a view, as a loader's worker makes it."""
        rng = sample_generator(0, 0, sample, view.stream)
        return view.on_graph(_BUILD(view.on_crystal(crystal, rng)), rng)

    def test_a_sample_is_a_function_of_the_crystal_and_the_generator(self) -> None:
        """Neither the global random numbers nor what was asked for before matter; a copy is the same view."""
        for view in self.views:
            for crystal in some_crystals():
                torch.manual_seed(0)
                expected = self.seen(view, crystal)
                torch.manual_seed(1)
                self.seen(view, crystal, sample=3)
                again = self.seen(pickle.loads(pickle.dumps(view)), crystal)  # noqa: S301 - made here
                _assert_same(again, expected)

    def test_the_crystal_and_its_graph_are_left_as_they_are(self) -> None:
        """Other views may share both."""
        for view in self.views:
            for crystal in some_crystals():
                crystal = dataclasses.replace(crystal, labels={"gap": 5.0})
                before, rng = copy.deepcopy(crystal), sample_generator(0, 0, 0, view.stream)
                graph = _BUILD(view.on_crystal(crystal, rng))
                tensors = [graph.node_type, graph.edge_index, graph.pbc_offset, graph.frac_coords, graph.lattice]
                copies = [tensor.clone() for tensor in tensors]
                seen = view.on_graph(graph, rng)
                assert all(map(torch.equal, tensors, copies))
                for name in ("numbers", "frac_coords", "lattice"):
                    np.testing.assert_array_equal(getattr(crystal, name), getattr(before, name))
                assert dict(crystal.labels) == {"gap": 5.0}
                assert seen.labels["gap"] == 5.0

    def test_equal_views_are_one_and_draws_differ(self) -> None:
        """A mixture encodes equal views once; ``draw`` makes another of them."""
        for view in self.views:
            again, other = dataclasses.replace(view), dataclasses.replace(view, draw=view.draw + 1)
            assert (again, hash(again), again.stream) == (view, hash(view), view.stream)
            assert other != view
            assert other.stream != view.stream

    def test_what_it_shows_can_be_collated(self) -> None:
        """All crystals in one batch, with as many rows as atoms, edges and crystals."""
        for view in self.views:
            batch = collate([self.seen(view, crystal) for crystal in some_crystals()])
            assert all(len(rows) == len(batch.node_type) for rows in batch.atom.values())
            assert all(len(rows) == batch.edge_index.shape[1] for rows in batch.edge.values())
            assert all(len(rows) == len(batch) for rows in batch.labels.values())


def _assert_same(one: Graph, other: Graph) -> None:
    for name in ("node_type", "edge_index", "pbc_offset", "frac_coords", "lattice"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name in ("atom", "edge"):
        found, expected = getattr(one, name), getattr(other, name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found), name
