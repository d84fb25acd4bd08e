"""What a model is asked with beside the crystals: state labels, and how many crystals at once."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, cast

import torch
from torch import Tensor

from matgl_ssl.errors import ConfigError, ModelError

from .architectures import architecture_of


def check_batch_size(batch_size: int) -> None:
    """Refuse a batch size below one.

    Raises:
        ConfigError: If it is less than 1.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size (batch_size=) must be at least 1, not {batch_size}.")


def state_labels(model: Any, state_attr: int | Sequence[int] | None, n: int) -> Tensor | None:
    """State labels of ``n`` crystals, shape ``(n,)`` int64; None for a bare model that takes none.

    Raises:
        ModelError: If they are missing, not wanted, out of range, or not one for all or one each.
    """
    n_states = architecture_of(model).state_labels(model)
    if not n_states:
        if state_attr is not None:
            raise ModelError("This model takes no state label: leave out --state-attr (state_attr=).")
        return None
    valid = f"--state-attr (state_attr=) takes one of 0 to {n_states - 1}, for all crystals or for each"
    if state_attr is None:
        raise ModelError(f"This model was trained with a state label (a fidelity, for example); say which: {valid}.")
    given = [state_attr] if isinstance(state_attr, Integral) else list(cast("Sequence[int]", state_attr))
    labels = [int(label) if isinstance(label, Integral) else label for label in given]  # numpy's numbers, too
    wrong = [label for label in labels if not (isinstance(label, int) and 0 <= label < n_states)]
    if wrong:
        raise ModelError(f"There is no state {wrong[0]!r}: {valid}.")
    if len(labels) not in (1, n):
        raise ModelError(f"{len(labels)} state labels for {n} crystals: {valid}.")
    return torch.tensor(labels * n if len(labels) == 1 else labels)


def no_state(model: Any, n: int) -> Tensor:
    """What MatGL takes as the state of ``n`` crystals that have none: zeros, ``(n, d)``."""
    return next(model.parameters()).new_zeros(n, architecture_of(model).state_dim(model))
