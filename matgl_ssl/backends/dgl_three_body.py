"""Batches of M3GNet in MatGL 2.2, each crystal as if it were alone.

The line graph numbers the bonds within the three-body cutoff, and MatGL 2.2 uses these numbers on the list of all
bonds. Alone, a crystal then meets other bonds of its own; in a batch, bonds of the crystals before it, so that its
features change with its company. MatGL 3 repaired both. Here a crystal in a batch gets what ``predict_structure`` gives
it, wrong bonds included: that is what a model exported for MatGL 2.2 predicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from matgl.models import M3GNet
from matgl.utils.maths import get_segment_indices_from_n
from torch import Tensor, nn


@contextmanager
def crystal_by_crystal(model: nn.Module) -> Iterator[None]:
    """Keep the crystals of a batch apart in the three-body interactions of every M3GNet in ``model``."""
    models = [m for m in model.modules() if isinstance(m, M3GNet)]
    layers = [(layer, m.threebody_cutoff) for m in models for layer in m.three_body_interactions]
    for layer, cutoff in layers:
        layer.forward = partial(_three_body, layer, cutoff)
    try:
        yield
    finally:
        for layer, _ in layers:
            del layer.forward


def _three_body(
    layer: Any, cutoff: float, graph: Any, line_graph: Any, basis: Tensor, envelope: Tensor, node: Tensor, edge: Tensor
) -> Tensor:
    """``ThreeBodyInteractions.forward`` with the numbers of each crystal's bonds starting at its own first bond."""
    n_edges = graph.batch_num_edges()
    crystal = torch.repeat_interleave(torch.arange(len(n_edges), device=edge.device), n_edges)
    numbered = crystal[~(graph.edata["bond_dist"] > cutoff)]  # crystal of each bond that the line graph numbers
    n_numbered = torch.bincount(numbered, minlength=len(n_edges))
    first_edge = n_edges.cumsum(0) - n_edges
    shift = first_edge - (n_numbered.cumsum(0) - n_numbered)
    bonds = torch.arange(len(numbered), device=edge.device) + shift[numbered]

    first, second = (bonds[ids.long()] for ids in line_graph.edges())
    atoms = graph.edges()[1].long()[second]
    messages = basis * layer.update_network_atom(node)[atoms] * (envelope[first] * envelope[second])[:, None]

    n_triples = line_graph.ndata["n_triple_ij"]
    n_triples = torch.cat([n_triples, n_triples.new_zeros(len(numbered) - len(n_triples))])
    targets = [
        start + _targets(counts) for start, counts in zip(first_edge, n_triples.split(n_numbered.tolist()), strict=True)
    ]
    summed = messages.new_zeros(len(edge), messages.shape[1]).index_add(0, torch.cat(targets), messages)
    return edge + layer.update_network_bond(summed)


def _targets(n_triples: Tensor) -> Tensor:
    """The bond each triple of a crystal adds to, counted by MatGL's own function (which passes over bonds without)."""
    used = n_triples.nonzero()
    return get_segment_indices_from_n(n_triples[: int(used.max()) + 1]).long() if len(used) else n_triples[:0].long()
