"""Planning the scratch memory of a network on rows, and calling the compiled kernel (``kernel.cpp``)."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .compiler import library
from .row_network import (
    ACTIVATE,
    ACTIVATE_PAIR,
    ADD,
    ADDED,
    COLUMNS,
    LINEAR,
    OUTER,
    ROWS,
    SUM,
    TABLE,
    VECTOR,
    WRITE,
    Node,
    RowNetwork,
)

TYPES = (torch.float32, torch.float64)
_PAD = 16
"""Numbers to which each value's row is rounded up in the scratch; no vector register is longer."""
_BLOCK = 64
"""Rows at a time: three values of 64 numbers a row fill a first-level cache."""


class Plan(NamedTuple):
    """A network for inputs of given widths, as ``kernel.cpp`` takes it."""

    records: array[int]
    """What ``operations`` points to."""
    operations: int
    n_operations: int
    scratch_width: int
    outputs: tuple[tuple[int, int, int], ...]
    """Of each its kind, its own number of rows (``OUTER``), and its width."""


def compute(
    network: RowNetwork, inputs: Sequence[Tensor], edge_index: Tensor | None, n_atoms: int
) -> tuple[Tensor, ...]:
    """A network's outputs, without a graph.

    Args:
        network: The network.
        inputs: Of one precision, on the CPU; the first has one row for each row of the network.
        edge_index: The two atoms of each row, ``(2, E)``; None where there are no atoms.
        n_atoms: Number of atoms.

    Raises:
        ValueError: Inputs whose shapes or precisions do not go together.
        IndexError: Edges between atoms that there are not.
        MemoryError: The scratch memory cannot be had.
    """
    first = inputs[0]
    dtype, n_rows = first.dtype, first.shape[0]
    shapes: list[Any] = []
    tensors: list[int] = []
    held = []  # what the pointers point to
    for x, kind in zip(inputs, _kinds(network), strict=True):
        shape, strides = x.shape, x.stride()
        if x.dtype != dtype:
            raise ValueError(f"{x.dtype} among {dtype}: a model and its graphs must have one precision.")
        if (kind == ROWS and shape[0] != n_rows) or (kind == TABLE and shape[0] != n_atoms):
            raise ValueError(f"{shape[0]} rows are given where there are {n_rows} edges of {n_atoms} atoms.")
        if strides[-1] != 1:
            x = x.contiguous()
            strides = x.stride()
        held.append(x)
        shapes.append(shape if kind == LINEAR else shape[-1])
        tensors += [x.data_ptr(), strides[0]]
    plan = _plan(network, tuple(shapes))
    outputs, described = [], []
    for kind, own, width in plan.outputs:
        rows = n_rows if kind == WRITE else n_atoms if kind == SUM else own
        outputs.append(first.new_empty((width,) if kind == COLUMNS else (rows, width)))
        described += [outputs[-1].data_ptr(), rows, width, kind != WRITE]
    if edge_index is not None:
        if edge_index.shape[1] != n_rows:
            raise ValueError(f"{edge_index.shape[1]} edges are given where there are {n_rows}.")
        held.append(edge_index.long().contiguous())
    ends = [0, 0] if edge_index is None else [end.data_ptr() for end in held[-1]]
    numbers = array("q", [*tensors, *described, *ends])
    at = numbers.buffer_info()[0]
    code = library()(
        dtype == torch.float64,
        plan.operations,
        plan.n_operations,
        at,
        at + 8 * len(tensors),
        len(outputs),
        at + 8 * (len(numbers) - 2),
        n_rows,
        n_atoms,
        _BLOCK,
        plan.scratch_width,
        torch.get_num_threads(),
    )
    if code == -1:
        raise MemoryError(f"There is not enough memory for {n_rows} edges of {n_atoms} atoms: use smaller batches.")
    if code < 0:
        raise RuntimeError("The compiled kernel failed. MATGL_SSL_ACCELERATION=torch runs without it.")
    if code == 0:
        raise IndexError(f"Edges name atoms that are not among the {n_atoms} of the batch.")
    return tuple(outputs)


@cache
def _kinds(network: RowNetwork) -> tuple[int, ...]:
    """How each input is taken."""
    kinds = {node.slot: node.code for node in network.nodes if node.slot >= 0}
    return tuple(kinds.get(slot, VECTOR) for slot in range(network.n_inputs))


@cache
def _plan(network: RowNetwork, shapes: tuple[Any, ...]) -> Plan:
    """``shapes`` are those of matrices, and the widths of other inputs: no two batches have the same number of rows."""
    widths: list[int] = []
    for node in network.nodes:
        if node.code < LINEAR:
            widths.append(shapes[node.slot])
        elif node.code == LINEAR:
            taken, made = shapes[node.slot][node.which], shapes[node.slot][1 - node.which]
            if widths[node.a] != taken:
                raise ValueError(f"{widths[node.a]} numbers a row are given to a layer that takes {taken}.")
            widths.append(made)
        else:
            if node.b >= 0 and widths[node.a] != widths[node.b]:
                raise ValueError(f"Rows of {widths[node.a]} and of {widths[node.b]} numbers do not go together.")
            widths.append(widths[node.a])
    steps = _steps(network)
    last = {value: position for position, step in enumerate(steps) for value in step.takes}
    places: dict[int, int] = {-1: 0}
    free: dict[int, list[int]] = {}
    top = 0
    records = array("q")
    for position, (code, node, value, into, slot, slope) in enumerate(steps):
        for made in (value, slope):
            if made < 0 or into >= 0:
                continue
            size = -(-widths[made] // _PAD) * _PAD
            if not free.get(size):
                free.setdefault(size, []).append(top)
                top += size
            places[made] = free[size].pop()
        if into >= 0:
            places[value] = places[into]
        records.extend([code, places[value], places[node.a], places[slope if slope >= 0 else node.b]])
        records.extend([slot if value < 0 else node.slot, node.which, widths[value if value >= 0 else node.a]])
        records.append(widths[node.b] if node.code == OUTER else widths[node.a] if node.code == LINEAR else 0)
        for end in steps[position].takes - {into}:
            if last[end] == position:
                free.setdefault(-(-widths[end] // _PAD) * _PAD, []).append(places[end])
    outputs = []
    for node, *_ in network.outputs:
        own = widths[node.a] if node.code == OUTER else 1
        outputs.append((node.code, own, widths[node.b] if node.code == OUTER else widths[node.a]))
    return Plan(records, records.buffer_info()[0], len(steps), top, tuple(outputs))


class _Step(NamedTuple):
    code: int
    node: Node
    value: int
    """Number of the value that it makes; -1 for an output."""
    into: int = -1
    """Value that it is added to, in place."""
    slot: int = -1
    """Number of the output."""
    slope: int = -1
    """Number of the value that is its derivative, made at the same time."""

    @property
    def takes(self) -> set[int]:
        """Values that must be there."""
        return {self.node.a, self.node.b, self.into} - {-1}


def _steps(network: RowNetwork) -> list[_Step]:
    """The order of work. Outputs come as soon as they can, so that the places of their values are free for others."""
    nodes = network.nodes
    numbers = {node: number for number, node in enumerate(nodes)}
    outputs = [(slot, node) for slot, output in enumerate(network.outputs) for node in output]
    uses = Counter(end for node in (*nodes, *(node for _, node in outputs)) for end in (node.a, node.b))
    # Where one of two terms is an input or a product, and nothing else needs either, it is added to the other in place:
    # a product to an input rather than the other way round, which is a pass more.
    sums: dict[int, tuple[int, int]] = {}
    for number, node in enumerate(nodes):
        for kept, added in ((node.b, node.a), (node.a, node.b)) if node.code == ADD and node.a != node.b else ():
            if uses[kept] == uses[added] == 1 and nodes[added].code <= LINEAR:
                sums[number] = kept, added
                break
    done = {added for _, added in sums.values()}
    steps: list[_Step] = []
    for number, node in enumerate(nodes):
        if number in sums:
            kept, added = sums[number]
            steps.append(_Step(nodes[added].code + ADDED, nodes[added], number, kept))
        elif number not in done:
            slope = numbers.get(node._replace(which=node.which + 1), -1) if node.code == ACTIVATE else -1
            slope = slope if slope > number else -1
            done.add(slope)
            steps.append(_Step(node.code if slope < 0 else ACTIVATE_PAIR, node, number, slope=slope))
        steps += [_Step(node.code, node, -1, slot=slot) for slot, node in outputs if max(node.a, node.b) == number]
    return steps
