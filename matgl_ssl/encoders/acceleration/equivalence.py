"""Atoms and edges that message passing cannot tell apart: one of each kind is computed, and counts for all.

Symmetry makes most atoms and edges of a crystal copies of a few, and copies have equal vectors at every depth,
whatever the weights. Colour refinement finds them (Weisfeiler and Leman, Nauchno-Technicheskaya Informatsiya 2 (9),
12, 1968): atoms begin with the colour of their element's vector, and get a new one from their own and those of their
neighbours, with the lengths of the edges between, once for each block of the network. What a network on lengths
computes is a function of these colours (Xu et al., ICLR 2019), whether it was symmetry that made them equal or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

_WORTH = 0.6
"""Share of the edges that may be left: finding classes, and handing out what they share, takes time, too."""
_SPREAD = 128
"""Lengths in Å are one length within so many units in the last place of 1: positions round, and so did files."""
_ODD = (-7046029254386353131, -4658895280553007687, -7723592293110705685)
"""Constants of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""


@dataclass(eq=False)
class Classes:
    """Which members of a batch are copies of each other.

    Attributes:
        of: Class of each member, ``(M,)``.
        one: A member of each class, ``(C,)``.
        size: Number of members of each class, ``(C, 1)``, floating point.
    """

    of: Tensor
    one: Tensor
    size: Tensor
    _spread: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def one_of_each(self, members: Tensor) -> Tensor:
        """Rows of one member of each class: ``(M, d)`` to ``(C, d)``."""
        known = self._spread.get(id(members))
        return members.index_select(0, self.one) if known is None else known[1]

    def to_all(self, classes: Tensor) -> Tensor:
        """Rows of all members: ``(C, d)`` to ``(M, d)``. ``one_of_each`` of it is no work, nor is its gradient."""
        members = classes.index_select(0, self.of)
        self._spread[id(members)] = members, classes
        return members


@dataclass(eq=False)
class Equivalence:
    """The classes of a batch.

    Attributes:
        atoms: Classes of atoms.
        edges: Classes of edges.
        edge_index: First and second class of atoms of each class of edges, ``(2, C)``.
        times: How many edges of each class an atom of its first class has, ``(C, 1)``, floating point.
    """

    atoms: Classes
    edges: Classes
    edge_index: Tensor
    times: Tensor


@torch.no_grad()
def equivalence(atoms: Tensor, kinds: Tensor, edge_index: Tensor, lengths: Tensor, n_rounds: int) -> Equivalence | None:
    """What is equal in a batch.

    Args:
        atoms: Atoms' vectors before the first block, ``(N, d)``.
        kinds: What else tells atoms apart, ``(k, N)``, int64: their crystals, for example.
        edge_index: First and second atom of each edge, ``(2, E)``.
        lengths: The edges' lengths in Å, ``(E,)``.
        n_rounds: Number of blocks.

    Returns:
        The classes; None where most edges are no copies.
    """
    if not len(lengths):
        return None
    first, second = edge_index
    keys, n_lengths = _clusters(lengths)
    if 1.5 * n_lengths > _WORTH * len(lengths):  # most lengths are those of two directions, and these are two classes
        return None
    before = after = _start(atoms, kinds)
    edges = _mixed(keys, 0)
    for _ in range(n_rounds):
        before = after
        around = torch.zeros_like(before).index_add_(0, first, _mixed(edges + before.index_select(0, second), 1))
        after = _mixed(before + around, 2)
    same_edges = _classes(
        _mixed(edges + before.index_select(0, second), 1) + _mixed(after, 0).index_select(0, first), lengths
    )
    if len(same_edges.one) > _WORTH * len(lengths):
        return None
    same_atoms = _classes(after, lengths)
    index = same_atoms.of[edge_index[:, same_edges.one]]
    return Equivalence(same_atoms, same_edges, index, same_edges.size / same_atoms.size.index_select(0, index[0]))


def _clusters(lengths: Tensor) -> tuple[Tensor, int]:
    """A number for each length, the same for those that are equal; and how many there are. NaN equals nothing."""
    ordered, order = lengths.sort()
    is_new = ~(ordered.diff() <= _SPREAD * torch.finfo(lengths.dtype).eps)
    numbers = torch.cat([is_new.new_zeros(1, dtype=torch.long), is_new.long().cumsum(0)])
    return torch.empty_like(numbers).scatter_(0, order, numbers), int(numbers[-1]) + 1


def _start(atoms: Tensor, kinds: Tensor) -> Tensor:
    """Colours of atoms by the bits of their vectors, and their kinds."""
    bits = atoms.contiguous().view(torch.int64 if atoms.dtype == torch.float64 else torch.int32).long()
    places = _mixed(torch.arange(bits.shape[1], device=bits.device), 0) | 1
    colours = _mixed((bits * places).sum(1), 1)
    for i, kind in enumerate(kinds):
        colours = _mixed(colours + kind, i % 2)
    return colours


def _mixed(x: Tensor, which: int) -> Tensor:
    """Numbers of 64 bits whose sums tell multisets apart: by chance, two of them agree once in 2^64 times."""
    x = (x + _ODD[which]) * _ODD[1]
    x = (x ^ (x >> 29)) * _ODD[2]
    return x ^ (x >> 32)


def _classes(colours: Tensor, like: Tensor) -> Classes:
    _, of, size = torch.unique(colours, return_inverse=True, return_counts=True)
    numbers = torch.arange(len(of), device=of.device)
    one = numbers.new_full((len(size),), len(of)).scatter_reduce_(0, of, numbers, "amin")
    return Classes(of, one, size.to(like.dtype)[:, None])
