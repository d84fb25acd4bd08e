"""From atoms to the edges that they end, and back, as products with a sparse matrix.

What a convolution adds to an edge from its two atoms is ``S [a; b]``, S having two ones a row. As a product it is added
where the edges' own part lies already: nothing of the size of the edges is written but the sum itself, which is what a
CPU waits for. The backward is a product with the transpose.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor


class Incidence:
    """The two ends of each edge of a batch.

    Args:
        edge_index: Source and destination of each edge, ``(2, E)``.
        n_atoms: Number of atoms.
        like: A tensor of the device and precision to work in.
    """

    def __init__(self, edge_index: Tensor, n_atoms: int, like: Tensor) -> None:
        self.source, self.destination = edge_index.long()
        self.n_atoms = n_atoms
        self._matrices: tuple[Tensor, Tensor] | None = None
        if like.device.type == "cpu" and torch.backends.mkl.is_available():
            self._matrices = self._build(like)

    @classmethod
    def of(cls, edge_index: Tensor, n_atoms: int, like: Tensor) -> Incidence:
        """That of a batch, made once and kept on the tensor of its edges."""
        kept = edge_index.__dict__.setdefault("matgl_ssl_incidence", {})
        if like.dtype not in kept:
            kept[like.dtype] = cls(edge_index, n_atoms, like)
        return kept[like.dtype]

    def add_atoms(self, edges: Tensor, of_source: Tensor, of_destination: Tensor) -> Tensor:
        """``edges + of_source[source] + of_destination[destination]``, written over ``edges``; twice differentiable.

        Args:
            edges: ``(E, d)``, which nothing else may need.
            of_source: ``(N, d)``.
            of_destination: ``(N, d)``.
        """
        if self._matrices is None:
            edges = edges + of_source.index_select(0, self.source)
            return edges + of_destination.index_select(0, self.destination)
        return _Add.apply(edges, torch.cat([of_source, of_destination]), *self._matrices)

    def sum_edges(self, edges: Tensor) -> Tensor:
        """Sum over the edges that begin at each atom, ``(N, d)``."""
        return edges.new_zeros(self.n_atoms, edges.shape[1]).index_add(0, self.source, edges)

    def _build(self, like: Tensor) -> tuple[Tensor, Tensor]:
        n_edges = len(self.source)
        ends = torch.stack([self.source, self.destination + self.n_atoms])
        ones = torch.ones(2 * n_edges, dtype=like.dtype)
        counts = torch.bincount(ends.flatten(), minlength=2 * self.n_atoms)
        first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        order = torch.argsort(ends.flatten(), stable=True) % max(n_edges, 1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(Sparse CSR|Sparse invariant).*")
            forward = torch.sparse_csr_tensor(
                torch.arange(0, 2 * n_edges + 1, 2), ends.t().flatten(), ones, size=(n_edges, 2 * self.n_atoms)
            )
            back = torch.sparse_csr_tensor(first, order, ones, size=(2 * self.n_atoms, n_edges))
        return forward, back


class _Add(torch.autograd.Function):
    """``edges += forward @ atoms``."""

    @staticmethod
    def forward(ctx: Any, edges: Tensor, atoms: Tensor, forward: Tensor, back: Tensor) -> Tensor:
        ctx.matrices = forward, back
        ctx.mark_dirty(edges)
        return edges.addmm_(forward, atoms)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return grads[0], _Product.apply(grads[0], *ctx.matrices[::-1]), None, None


class _Product(torch.autograd.Function):
    """``matrix @ x``, knowing the transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.matrices = matrix, transpose
        return matrix @ x.contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return _Product.apply(grads[0], *ctx.matrices[::-1]), None, None
