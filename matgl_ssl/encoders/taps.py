"""Features of a MatGL model at every layer, while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .architectures import Tap, architecture_of, release


@contextmanager
def tapped(model: Any, *, detached_readout: bool = False) -> Iterator[dict[str, list[Any]]]:
    """Collect features by forward hooks, which both backends call alike, and leave nothing behind in the model.

    Args:
        model: A bare MatGL model, to be run once inside the block.
        detached_readout: Hand the last layer's features to the readout detached; those that are taken are not.

    Yields:
        Lists that the run fills: under ``node``, ``edge`` and ``state`` one entry a layer, 0 (embedding) to the number
        of blocks; under ``readout`` what goes into the module that makes the output of one vector a crystal, if any.
    """
    architecture = architecture_of(model)
    n_layers = architecture.n_layers(model)
    taken: dict[str, list[Any]] = {kind: [None] * (n_layers + 1) for kind in ("node", "edge", "state")}
    taken["readout"] = []
    handles = []
    for tap in architecture.taps(model):

        def take(_: nn.Module, __: Any, output: Any, tap: Tap = tap) -> Any:
            for kind, value in zip(tap.kinds, tap.read(output), strict=True):
                taken[kind][tap.layer] = value
            return _detached(output) if detached_readout and tap.layer == n_layers else output

        handles.append(tap.module.register_forward_hook(take))
    head = architecture.readout_head(model)
    if head is not None:
        handles.append(head.register_forward_pre_hook(lambda _, args: taken["readout"].append(args[0])))
    try:
        yield taken
    finally:
        for handle in handles:
            handle.remove()
        release(model)


def _detached(output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(map(_detached, output))
    return output.detach() if isinstance(output, Tensor) else output
