"""Networks that act on every row alike, and their gradients, which are such networks too.

A ``RowNetwork`` lists operations on rows (a row belongs to an edge, or an atom): products with weights, sums, products,
activations, gathers from tables with one row per atom, and sums back into such tables. Reverse mode gives the same
operations again, so a pass, forces, and training on forces are one piece of code that runs networks.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

ROWS, TABLE, VECTOR, LINEAR = range(4)
"""Operations, by the numbers of ``kernel.cpp``. ``ADDED`` more: added to the value that is there already."""
ADDED = 4
MULTIPLY, ADD, ACTIVATE, WRITE, SUM, OUTER, COLUMNS, ACTIVATE_PAIR = range(8, 16)

ACTIVATIONS = {"softplus2": 0, "sigmoid": 1, "silu": 5, "gaussian": 9}
"""By the numbers of ``kernel.cpp``; the next numbers are the derivatives, up to the third."""
_HAS_NO_DERIVATIVE = (4, 8, 12)


class Node(NamedTuple):
    """An operation.

    ``ROWS``, ``TABLE``, ``VECTOR``: row of an input; ``LINEAR``: x Wᵀ, or x W; ``WRITE``, ``SUM``: outputs with one row
    an edge, or summed over an atom's edges; ``OUTER``, ``COLUMNS``: sums over all rows of aᵀ b, or of a.
    """

    code: int
    a: int = -1
    """Number of the value that it takes; of the other in ``b``."""
    b: int = -1
    slot: int = -1
    """Number of the input that it takes."""
    which: int = 0
    """Which end of the edge (``TABLE``, ``SUM``), whether W is transposed (``LINEAR``), the kind (``ACTIVATE``)."""


class RowNetwork:
    """A network on rows. ``row_network`` makes them, and one object of equal ones.

    Args:
        nodes: Operations, each after what it takes.
        outputs: Each the sum of its entries.
        n_inputs: Number of tensors that it takes.
    """

    def __init__(self, nodes: tuple[Node, ...], outputs: tuple[tuple[Node, ...], ...], n_inputs: int) -> None:
        self.nodes, self.outputs, self.n_inputs = nodes, outputs, n_inputs


row_network = cache(RowNetwork)


class Builder:
    """A list of nodes in which equal ones are one."""

    def __init__(self, nodes: tuple[Node, ...] = ()) -> None:
        self.numbers = {node: number for number, node in enumerate(nodes)}

    def add(self, node: Node) -> int:
        """The node's number."""
        return self.numbers.setdefault(node, len(self.numbers))


@cache
def gradient(of: RowNetwork, wanted: tuple[bool, ...], given: tuple[bool, ...]) -> tuple[RowNetwork, tuple[bool, ...]]:
    """The network of gradients, by reverse mode.

    Args:
        of: A network.
        wanted: For each input whether its gradient is wanted.
        given: For each output whether it has a gradient.

    Returns:
        A network whose inputs are those of ``of`` and the gradients given, and whose outputs are the gradients of
        inputs; and for each input whether it has one.

    Raises:
        NotImplementedError: A fourth derivative of an activation.
    """
    new, n_inputs = Builder(of.nodes), of.n_inputs
    needs: list[bool] = []
    for node in of.nodes:
        own = node.slot >= 0 and wanted[node.slot]
        needs.append(own or (node.a >= 0 and needs[node.a]) or (node.b >= 0 and needs[node.b]))
    gradients: dict[int, int] = {}

    def give(to: int, number: int) -> None:
        gradients[to] = new.add(Node(ADD, gradients[to], number)) if to in gradients else number

    for output, there in zip(of.outputs, given, strict=True):
        for node in output if there else ():
            for to, source in _of_output(node, n_inputs):
                if needs[to]:
                    give(to, new.add(source))
        n_inputs += there

    found: dict[int, list[Node]] = {}
    for number in reversed(range(len(of.nodes))):
        if number not in gradients:
            continue
        node, g = of.nodes[number], gradients[number]
        if node.slot >= 0 and wanted[node.slot]:
            found.setdefault(node.slot, []).append(_of_input(node, g))
        if node.code == LINEAR and needs[node.a]:
            give(node.a, new.add(Node(LINEAR, g, slot=node.slot, which=1 - node.which)))
        elif node.code == MULTIPLY:
            for to, other in ((node.a, node.b), (node.b, node.a)):
                if needs[to]:
                    give(to, new.add(Node(MULTIPLY, g, other)))
        elif node.code == ADD:
            for to in (node.a, node.b):
                if needs[to]:
                    give(to, g)
        elif node.code == ACTIVATE:
            if node.which in _HAS_NO_DERIVATIVE:
                raise NotImplementedError(
                    "Accelerated models can be differentiated three times. matgl_ssl.decelerate(model) lifts the limit."
                )
            slope = new.add(Node(ACTIVATE, node.a, which=node.which + 1))
            give(node.a, new.add(Node(MULTIPLY, g, slope)))
    outputs = tuple(tuple(found[slot]) for slot in sorted(found))
    return _without_unused(tuple(new.numbers), outputs, n_inputs), tuple(slot in found for slot in range(of.n_inputs))


def _of_output(node: Node, slot: int) -> tuple[tuple[int, Node], ...]:
    """What the gradient of an output, input ``slot``, gives to the values that the output was made of."""
    if node.code == WRITE:
        return ((node.a, Node(ROWS, slot=slot)),)
    if node.code == SUM:
        return ((node.a, Node(TABLE, slot=slot, which=node.which)),)
    if node.code == COLUMNS:
        return ((node.a, Node(VECTOR, slot=slot)),)
    # aᵀ b with gradient G: b Gᵀ and a G
    return (node.a, Node(LINEAR, node.b, slot=slot, which=1)), (node.b, Node(LINEAR, node.a, slot=slot, which=0))


def _of_input(node: Node, g: int) -> Node:
    """The gradient of the input that a node takes, from the node's own."""
    if node.code == ROWS:
        return Node(WRITE, g)
    if node.code == TABLE:
        return Node(SUM, g, which=node.which)
    if node.code == VECTOR:
        return Node(COLUMNS, g)
    return Node(OUTER, g, node.a) if node.which else Node(OUTER, node.a, g)


def _without_unused(nodes: tuple[Node, ...], outputs: tuple[tuple[Node, ...], ...], n_inputs: int) -> RowNetwork:
    used = {end for output in outputs for node in output for end in (node.a, node.b)}
    for number in reversed(range(len(nodes))):
        if number in used:
            used.update((nodes[number].a, nodes[number].b))
    numbers = {old: new for new, old in enumerate(sorted(used - {-1}))} | {-1: -1}

    def renumbered(node: Node) -> Node:
        return node._replace(a=numbers[node.a], b=numbers[node.b])

    kept = tuple(renumbered(nodes[number]) for number in sorted(used - {-1}))
    return row_network(kept, tuple(tuple(map(renumbered, output)) for output in outputs), n_inputs)
