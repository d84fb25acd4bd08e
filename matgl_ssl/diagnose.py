"""Look at crystals before anything is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn, random

from matgl_ssl.boundary import verb
from matgl_ssl.crystals import CheckReport, check_dataset, read_crystals
from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import NothingLeftError
from matgl_ssl.hub import load_model


@verb
def doctor(
    *,
    data: Any,
    model: str | Path | nn.Module = "M3GNet",
    cutoff: float | None = None,
    min_distance: float = 0.5,
    trained_with: str | None = None,
) -> CheckReport:
    """Say which crystals a model cannot be trusted with, why, and what to do about it.

    Args:
        data: Crystals: pymatgen structures, ASE atoms, a path (see ``read_crystals``).
        model: Whose elements and cutoff count: an architecture's name, a MatGL model, a model or run directory, or a
            hub name.
        cutoff: Cutoff in Å instead of the model's.
        min_distance: Smallest distance of two atoms in Å, periodic images included.
        trained_with: ``"pyg"`` or ``"dgl"``, for a model without a matgl_ssl stamp.

    Returns:
        The report; ``print(report.table())`` shows it.

    Raises:
        DataError: If there is nothing to read.
        ModelError: If the model cannot be loaded.
        BackendError: If it belongs to the other graph library.
    """
    with random.fork_rng(devices=[]):
        loaded = load_model(model, trained_with=trained_with, prefer=("encoder", "potential", "model"))
    encoder = Encoder(loaded)
    try:
        _, report = check_dataset(
            read_crystals(data, columns=[]),
            element_types=encoder.element_types,
            cutoff=encoder.cutoff if cutoff is None else cutoff,
            min_distance=min_distance,
        )
    except NothingLeftError as err:
        return cast("CheckReport", err.report)
    return report
