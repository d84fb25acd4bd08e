"""Look at crystals and labels before anything is trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from torch import nn, random

from matgl_ssl.boundary import verb
from matgl_ssl.crystals import CheckReport, CrystalDataset, check_dataset, read_crystals
from matgl_ssl.crystals.physics import Remark, physics
from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import DataError, NothingLeftError
from matgl_ssl.hub import load_with_stamp

from .counts import count
from .counts import remarks as counted
from .duplicates import duplicates
from .estimate import Estimate, estimate
from .labels import Column, columns
from .overlap import overlap
from .report import DoctorReport
from .teacher import against_teacher


@verb
def doctor(
    *,
    data: Any,
    model: str | Path | nn.Module = "M3GNet",
    cutoff: float | None = None,
    min_distance: float = 0.5,
    trained_with: str | None = None,
    compare_with: Any = None,
    teacher: str | Path | None = None,
    teacher_args: Mapping[str, Any] | None = None,
    recipe: str = "masked-atoms",
    estimate_seconds: float = 0.0,
    energy_unit: str | None = None,
    force_unit: str | None = None,
    stress_unit: str | None = None,
) -> DoctorReport:
    """Say what crystals and labels are, what is wrong with them, and what training on them would take.

    Args:
        data: Crystals: pymatgen structures, ASE atoms, a path (see ``read_crystals``).
        model: Whose elements and cutoff count: an architecture's name, a MatGL model, a model or run directory, or a
            hub name.
        cutoff: Cutoff in Å instead of the model's.
        min_distance: Smallest distance of two atoms in Å, periodic images included.
        trained_with: ``"pyg"`` or ``"dgl"``, for a model without a matgl_ssl stamp.
        compare_with: Other crystals, for example those to test on: which of ``data`` are among them?
        teacher: MatGL potential or ASE calculator (``module:class``) to hold energies, forces and stresses against.
        teacher_args: Keyword arguments of a calculator.
        recipe: Recipe whose time and memory is estimated.
        estimate_seconds: How long to train real batches for each estimate of time and memory; 0 makes none.
        energy_unit: Unit of the label ``energy``, as for ``pretrain``.
        force_unit: Unit of the label ``forces``, likewise.
        stress_unit: Unit of the label ``stress``, likewise.

    Returns:
        The report; ``print(report)`` shows it.

    Raises:
        DataError: If there is nothing to read.
        ModelError: If the model or teacher cannot be loaded.
        BackendError: If it belongs to the other graph library.
    """
    with random.fork_rng(devices=[]):
        loaded, stamp = load_with_stamp(model, trained_with=trained_with, prefer=("encoder", "potential", "model"))
    encoder = Encoder(loaded)
    name = model if isinstance(model, str) else encoder.architecture.name
    given = {"energy": energy_unit, "force": force_unit, "stress": stress_unit}
    crystals, remarks = _read(data, {label: unit for label, unit in given.items() if unit is not None})
    reach = encoder.cutoff if cutoff is None else cutoff
    try:
        good, check = check_dataset(
            crystals, element_types=encoder.element_types, cutoff=reach, min_distance=min_distance
        )
    except NothingLeftError as err:
        return _report(cast("CheckReport", err.report), source=crystals.source, model=name, remarks=tuple(remarks))
    summary = count(good, crystals, encoder.element_types, reach)
    labels, more = columns(good)
    remarks += [*counted(summary, name, stamp.get("elements")), *more, *physics(good)]
    if teacher is not None:
        taught = against_teacher(good, teacher, arguments=teacher_args, trained_with=trained_with)
        remarks = [
            remark for remark in remarks if remark.code not in {t.code for t in taught if t.ok is not None}
        ] + taught
    repeated, more = duplicates(good, labels)
    remarks += more
    shared = None
    if compare_with is not None:
        other, _ = check_dataset(read_crystals(compare_with, columns=[]), min_distance=min_distance)
        shared, more = overlap(good, other)
        remarks += more
    estimates: list[Estimate] = []
    if estimate_seconds > 0:
        options = {"trained_with": trained_with} if trained_with else {}
        estimates, more = estimate(
            good, model, recipe=recipe, target=_target(labels), seconds=estimate_seconds, options=options
        )
        remarks += more
    return _report(
        check, source=crystals.source, model=name, summary=summary, columns=tuple(labels), duplicates=repeated,
        overlap=shared, remarks=tuple(remarks), estimates=tuple(estimates),
    )  # fmt: skip


def _read(data: Any, units: Mapping[str, str]) -> tuple[CrystalDataset, list[Remark]]:
    """The crystals with all their labels; without them, if one is such that they cannot be read."""
    try:
        return read_crystals(data, units=units), []
    except DataError as err:
        crystals = read_crystals(data, columns=[])
        advice = "Repair that column; commands read the columns that they are asked for, and no others."
        return crystals, [Remark("labels", "labels", False, f"cannot be read: {err}", advice)]


def _target(labels: list[Column]) -> str | None:
    """The column of numbers with the most values."""
    numbers = [column for column in labels if column.kind == "number" and column.quartiles]
    return max(numbers, key=lambda column: column.present).name if numbers else None


def _report(check: CheckReport, **found: Any) -> DoctorReport:
    return DoctorReport(**{field.name: getattr(check, field.name) for field in fields(CheckReport)}, **found)
