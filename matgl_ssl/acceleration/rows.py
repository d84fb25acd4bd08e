"""Writing a network on rows down as it is computed, and computing it in one pass.

Compiled (``kernel.py``) on a CPU with a C++ compiler, where a block of rows stays in the cache from the first layer to
the last, forwards and backwards; by torch's operations elsewhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import compiler, guard, kernel
from .row_network import (
    ACTIVATE,
    ACTIVATIONS,
    ADD,
    LINEAR,
    MULTIPLY,
    ROWS,
    SUM,
    TABLE,
    VECTOR,
    WRITE,
    Builder,
    Node,
    RowNetwork,
    gradient,
    row_network,
)


class Rows:
    """A computation on the rows of some tensors: edges, or whatever else.

    Args:
        edge_index: The two atoms of each edge, ``(2, E)``, where atoms play a part.
        n_atoms: Number of atoms.
    """

    def __init__(self, edge_index: Tensor | None = None, n_atoms: int = 0) -> None:
        self.edge_index, self.n_atoms = edge_index, n_atoms
        self.inputs: list[Tensor] = []
        self.slots: dict[int, int] = {}
        self.builder = Builder()

    def rows(self, x: Tensor) -> Value:
        """The rows of ``x``, ``(E, d)``."""
        return self.value(Node(ROWS, slot=self.slot(x)))

    def atoms(self, x: Tensor, end: int) -> Value:
        """The rows of ``x``, ``(N, d)``, that belong to each edge's first (0) or second (1) atom."""
        return self.value(Node(TABLE, slot=self.slot(x), which=end))

    def vector(self, x: Tensor) -> Value:
        """``x``, ``(d,)``, in every row."""
        return self.value(Node(VECTOR, slot=self.slot(x)))

    def value(self, node: Node) -> Value:
        """A node as a value."""
        return Value(self, self.builder.add(node))

    def slot(self, x: Tensor) -> int:
        """The number of an input."""
        if id(x) not in self.slots:
            self.slots[id(x)] = len(self.inputs)
            self.inputs.append(x)
        return self.slots[id(x)]

    def compute(self, *outputs: Value | Sum) -> tuple[Tensor, ...]:
        """The outputs, ``(E, d)`` or summed ``(N, d)``; differentiable three times.

        Raises:
            NotImplementedError: A fourth derivative, when it is taken.
        """
        listed = tuple(
            (Node(SUM, out.value.node, which=out.end) if isinstance(out, Sum) else Node(WRITE, out.node),)
            for out in outputs
        )
        network = row_network(tuple(self.builder.numbers), listed, len(self.inputs))
        first = self.inputs[0]
        may_compile = guard.current_mode() != "torch" and first.device.type == "cpu" and first.dtype in kernel.TYPES
        if may_compile and compiler.library() is not None:
            return _Compute.apply(network, self.edge_index, self.n_atoms, *self.inputs)
        return compute_by_operation(network, self.inputs, self.edge_index, self.n_atoms)


class Value:
    """A row of numbers of every edge."""

    def __init__(self, rows: Rows, node: int) -> None:
        self.rows, self.node = rows, node

    def __add__(self, other: Value) -> Value:
        return self.rows.value(Node(ADD, self.node, other.node))

    def __mul__(self, other: Value) -> Value:
        return self.rows.value(Node(MULTIPLY, self.node, other.node))

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Value:
        """``x Wᵀ + b``."""
        product = self.rows.value(Node(LINEAR, self.node, slot=self.rows.slot(weight), which=1))
        return product if bias is None else product + self.rows.vector(bias)

    def activate(self, kind: str) -> Value:
        """One of ``ACTIVATIONS``."""
        return self.rows.value(Node(ACTIVATE, self.node, which=ACTIVATIONS[kind]))

    def sum(self, end: int) -> Sum:
        """As an output: for each atom the sum over the edges whose first (0) or second (1) atom it is."""
        return Sum(self, end)


class Sum:
    """A value summed over each atom's edges."""

    def __init__(self, value: Value, end: int) -> None:
        self.value, self.end = value, end


BY_TORCH = {
    ACTIVATIONS["softplus2"]: lambda x: functional.softplus(x) - 0.6931471805599453,
    ACTIVATIONS["sigmoid"]: torch.sigmoid,
    ACTIVATIONS["silu"]: functional.silu,
    ACTIVATIONS["gaussian"]: lambda x: torch.exp(-x * x),
}


def compute_by_operation(
    network: RowNetwork, inputs: list[Tensor], edge_index: Tensor | None, n_atoms: int
) -> tuple[Tensor, ...]:
    """A network that is not a gradient, through torch's own operations."""
    values: list[Tensor] = []
    for code, a, b, slot, which in network.nodes:
        if code in (ROWS, VECTOR):
            values.append(inputs[slot])
        elif code == TABLE:
            values.append(inputs[slot].index_select(0, edge_index[which]))  # type: ignore[index]
        elif code == LINEAR:
            values.append(functional.linear(values[a], inputs[slot]))
        elif code == ACTIVATE:
            values.append(BY_TORCH[which](values[a]))
        else:
            values.append(values[a] * values[b] if code == MULTIPLY else values[a] + values[b])
    found = []
    for (node,) in network.outputs:
        x = values[node.a]
        if node.code == SUM:
            x = x.new_zeros(n_atoms, x.shape[1]).index_add(0, edge_index[node.which], x)  # type: ignore[index]
        found.append(x)
    return tuple(found)


class _Compute(torch.autograd.Function):
    """Nothing is kept but the inputs: the gradient's network computes again what it needs, in the cache."""

    @staticmethod
    def forward(
        ctx: Any, network: RowNetwork, edge_index: Tensor | None, n_atoms: int, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.network, ctx.edge_index, ctx.n_atoms = network, edge_index, n_atoms
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)
        return kernel.compute(network, inputs, edge_index, n_atoms)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        nodes = [node for node, _ in ctx.next_functions[-ctx.network.n_inputs :]]
        wanted = tuple(map(_is_wanted, ctx.needs_input_grad[3:], nodes))
        network, there = gradient(ctx.network, wanted, tuple(grad is not None for grad in grads))
        inputs = (*ctx.saved_tensors, *(grad for grad in grads if grad is not None))
        if torch.is_grad_enabled():
            found = iter(_Compute.apply(network, ctx.edge_index, ctx.n_atoms, *inputs))
        else:
            found = iter(kernel.compute(network, inputs, ctx.edge_index, ctx.n_atoms))
        return None, None, None, *(next(found) if has else None for has in there)


def _is_wanted(needed: bool, node: Any) -> bool:
    """Whether this backward pass goes on there: for forces it needs no gradients of weights."""
    if not needed or node is None:
        return needed
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # a leaf whose gradient is asked for by name
        return True
