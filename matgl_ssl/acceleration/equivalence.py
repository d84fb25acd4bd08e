"""Atoms and edges that message passing cannot tell apart: one of each kind is computed, and counts for all.

Symmetry makes most atoms and edges of a crystal copies of a few, and copies have equal vectors at every layer,
whatever the weights. Colour refinement finds them (Weisfeiler and Leman, Nauchno-Technicheskaya Informatsiya 2 (9),
12, 1968): atoms begin with the colour of their element's vector, and get a new one from their own and those of their
neighbours, with the lengths of the edges between, once for each block of the network. What a network on lengths
computes is a function of these colours (Xu et al., ICLR 2019), whether it was symmetry that made them equal or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import factorial

import torch
from torch import Tensor

_WORTH = 0.85
"""Share of the edges that may be left: finding classes, and handing out what they share, takes time, too."""
_WORTH_LOOKING = 0.95
"""Share of the atoms that are no copies after the first round, above which too many edges will be left."""
_SPREAD = 128
"""Lengths in Å are one length if none is farther from the next than so many units in the last place of 1, nor the last
from the first than four times as many: positions round, and so did files."""
_SPREAD_OF_SUMS = 1024
"""The same for sums of powers of an atom's cosines; three sums, with random weights, are compared."""
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
        """Rows of one member of each class: ``(M, ...)`` to ``(C, ...)``."""
        if id(members) not in self._spread:
            self._spread[id(members)] = members, members.index_select(0, self.one)
        return self._spread[id(members)][1]

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


class AngularRefinement:
    """Tells edges of an atom apart by their angles to its others, as sums of ``Y_l(cos theta)`` of any weights would.

    A sum of powers of cosines, ``sum_k a_k (u_j u_k)^p``, is the product of ``u_j``'s monomials of degree p and the
    atom's moments ``sum_k a_k u_k^p``: no pairs of edges are made.

    Args:
        first: First atom of each edge, ``(E,)``.
        vectors: Of the edges in Å, ``(E, 3)``.
        lengths: Of the edges in Å, ``(E,)``.
        cutoff: Longer edges make no angles.
        n_atoms: Number of atoms.
        degree: The largest l.
    """

    def __init__(
        self, first: Tensor, vectors: Tensor, lengths: Tensor, cutoff: float, n_atoms: int, degree: int
    ) -> None:
        self.near = torch.nonzero(lengths <= cutoff).squeeze(1)
        self.first, self.n_atoms = first.index_select(0, self.near), n_atoms
        units = (vectors / lengths[:, None]).index_select(0, self.near)
        powers = units[None] ** torch.arange(degree + 1, device=units.device)[:, None, None]
        orders = [(i, j, p - i - j) for p in range(degree + 1) for i in range(p + 1) for j in range(p + 1 - i)]
        self.monomials = torch.stack([powers[i, :, 0] * powers[j, :, 1] * powers[k, :, 2] for i, j, k in orders], dim=1)
        terms = [factorial(sum(o)) / (factorial(o[0]) * factorial(o[1]) * factorial(o[2])) for o in orders]
        of_power = [[1 + (c + p) % 3 for p in range(degree + 1)] for c in range(3)]
        self.weights = units.new_tensor([[n * w[sum(o)] for n, o in zip(terms, orders, strict=True)] for w in of_power])
        self.of_itself = units.new_tensor([sum(w) for w in of_power])

    def refine(self, edges: Tensor, colours: Tensor) -> Tensor:
        """Finer colours of the edges.

        Args:
            edges: Their colours, ``(E,)``, different for different atoms.
            colours: What an angle's other edge depends on, ``(E,)``.
        """
        if not len(self.near):
            return edges
        colours = colours.index_select(0, self.near)
        a = torch.stack([_mixed(colours, c) for c in range(3)], dim=1).to(self.monomials) / 2**63
        shape = (-1, *self.weights.shape)
        moments = self.monomials.new_zeros(self.n_atoms, self.weights.numel())
        moments.index_add_(0, self.first, (a[:, :, None] * self.monomials[:, None]).flatten(1))
        around = moments.index_select(0, self.first).view(shape)
        sums = (around * self.monomials[:, None] * self.weights).sum(2) - a * self.of_itself

        near = edges.index_select(0, self.near)
        order = sums[:, 0].argsort()
        order = order[near[order].argsort(stable=True)]
        numbers = _numbers(order, sums, _SPREAD_OF_SUMS, near[order].diff() != 0)
        return edges.index_copy(0, self.near, _mixed(near + numbers, 2))


@torch.no_grad()
def equivalence(
    atoms: Tensor,
    kinds: Tensor,
    edge_index: Tensor,
    lengths: Tensor,
    n_rounds: int,
    angular: Callable[[], AngularRefinement] | None = None,
) -> Equivalence | None:
    """What is equal in a batch.

    Args:
        atoms: Atoms' vectors before the first block, ``(N, d)``.
        kinds: What else tells atoms apart, ``(k, N)``, int64: their crystals, for example.
        edge_index: First and second atom of each edge, ``(2, E)``.
        lengths: The edges' lengths in Å, ``(E,)``.
        n_rounds: Number of blocks.
        angular: Makes what tells angles apart, for networks that see them.

    Returns:
        The classes; None where most edges are no copies.
    """
    if not len(lengths) or lengths.device.type not in ("cpu", "cuda"):  # others lack some of these operations
        return None
    first, second = edge_index
    keys = _numbers(lengths.argsort(), lengths[:, None], _SPREAD)
    n_lengths = int(keys.max()) + 1
    if 1.5 * n_lengths > _WORTH * len(lengths):  # most lengths are those of two directions, and these are two classes
        return None
    angles = None if angular is None else angular()
    before = after = _start(atoms, kinds)
    edges = keys = _mixed(keys, 0)
    for k in range(n_rounds):
        if k == 1 and len(after.unique()) > _WORTH_LOOKING * len(after):
            return None
        before = after
        ends = keys + before.index_select(0, second)
        if angles is not None:
            edges = _mixed(angles.refine(_mixed(edges, 1) + before.index_select(0, first), ends), 0)
        around = torch.zeros_like(before).index_add_(0, first, _mixed(_mixed(edges, 1) + ends, 1))
        after = _mixed(before + around, 2)
    of_edges = _mixed(_mixed(edges, 1) + keys + before.index_select(0, second), 1)
    same_edges = _classes(of_edges + _mixed(after, 0).index_select(0, first), lengths)
    if len(same_edges.one) > _WORTH * len(lengths):
        return None
    same_atoms = _classes(after, lengths)
    index = same_atoms.of[edge_index[:, same_edges.one]]
    return Equivalence(same_atoms, same_edges, index, same_edges.size / same_atoms.size.index_select(0, index[0]))


def _numbers(order: Tensor, values: Tensor, spread: int, is_new: Tensor | bool = False) -> Tensor:
    """Numbers of groups of equal rows. NaN equals nothing.

    Args:
        order: In which equal rows follow each other, ``(M,)``.
        values: The rows, ``(M, k)``.
        spread: By how many units in the last place of 1 equal rows differ.
        is_new: Where a group begins in any case, ``(M - 1,)``.
    """
    values, width = values[order], spread * torch.finfo(values.dtype).eps
    is_new = is_new | ~(values.diff(dim=0).abs() <= width).all(1)
    places = torch.arange(len(order), device=order.device)
    begins = torch.cat([is_new.new_ones(1), is_new])
    begun = torch.where(begins, places, 0).cummax(0).values
    parts = ((values[:, 0] - values[begun, 0]).abs() / (4 * width)).floor()  # many small steps are a large one
    begins[1:] |= parts.diff() != 0
    return torch.empty_like(order).scatter_(0, order, begins.long().cumsum(0) - 1)


def _start(atoms: Tensor, kinds: Tensor) -> Tensor:
    """Colours of atoms by the bits of their vectors, and their kinds."""
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[atoms.element_size()]
    bits = atoms.contiguous().view(whole).long()
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
