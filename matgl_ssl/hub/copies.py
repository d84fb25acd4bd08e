"""Copies of MatGL models through their constructor arguments.

``copy.deepcopy`` fails on a MatGL model that has run (it keeps the autograd graph), and M3GNet cannot be pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from matgl_ssl.acceleration import decelerate


def copy_model(model: Any, *, fresh: Sequence[str] = (), **changes: Any) -> Any:
    """A new plain model with the same weights.

    Args:
        model: A bare MatGL model; it is left as it is.
        fresh: Names of submodules that keep their new random weights instead.
        **changes: Constructor arguments to be changed.
    """
    copy = decelerate(type(model)(**{**model._init_args, **changes})).to(next(model.parameters()))
    ours, theirs = copy.state_dict(), model.state_dict()
    starts = tuple(f"{name}." for name in fresh)
    kept = {k: v for k, v in theirs.items() if not k.startswith(starts)} if starts else theirs
    copy.load_state_dict({**{k: v for k, v in ours.items() if starts and k.startswith(starts)}, **kept})
    return copy.train(model.training)


def without_dropout(model: Any) -> nn.Module:
    """A copy with dropout 0: MatGL loads in train mode, and its ``predict_structure`` never calls ``eval()``."""
    changes: dict[str, Any] = {"dropout": 0.0} if model._init_args.get("dropout") else {}
    return copy_model(model, **changes).eval()
