"""Conventions of layouts: other names of energies, forces and stresses, their units, and labels in ours."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from matgl_ssl._files import digest
from matgl_ssl.crystals.arrow import decode, is_list
from matgl_ssl.crystals.storage import ID_COLUMN, CrystalDataset
from matgl_ssl.crystals.tables import cached_table
from matgl_ssl.crystals.units import Units

logger = logging.getLogger(__name__)
_ROWS = 4096

NAMES: Mapping[str, tuple[str, ...]] = {
    "energy": ("energy", "ref_energy", "dft_energy", "uncorrected_total_energy"),
    "forces": ("forces", "force", "ref_forces", "ref_force", "dft_forces", "dft_force"),
    "stress": ("stress", "ref_stress", "dft_stress", "virial", "virials", "ref_virial", "ref_virials", "dft_virial",
               "dft_virials"),
}  # fmt: skip
"""What the quantities are called, in lower case, the first that there is: by MatGL and ASE, MACE (``REF_``), NequIP and
GAP (``dft_``, ``virial``), MPtrj (``force``, ``uncorrected_total_energy``)."""
_VASP = Units(stress="kbar-compression")
LAYOUTS: Sequence[tuple[str, frozenset[str], Units]] = (
    ("MatPES", frozenset({"stress", "matpes_id"}), _VASP),
    ("MPtrj", frozenset({"stress", "force", "uncorrected_total_energy"}), _VASP),
)
"""Layouts with units of their own: what they are called, columns that tell them, and their units. A column that tells
is gone once labels are in our units, renamed, so that they are not converted twice."""
_IDS = {"matpes_id"}
"""Columns that tell, and become the crystals' ids."""


def names_of(available: Collection[str], asked: Sequence[str] | None) -> dict[str, str]:
    """Energies, forces and stresses that a source has under another name, with that name.

    Args:
        available: The columns of the source.
        asked: Those that are wanted; all by default. What is asked for by the other name keeps it.
    """
    others = {name.lower(): name for name in available if asked is None or name not in asked}
    wanted = [name for name in NAMES if name not in available and (asked is None or name in asked)]
    firsts = {name: next((others[other] for other in NAMES[name] if other in others), None) for name in wanted}
    return {name: other for name, other in firsts.items() if other is not None}


def needed(asked: Sequence[str], available: Collection[str]) -> list[str]:
    """The columns of a source that hold what is asked for, or tell in what units it is."""
    renamed = names_of(available, asked)
    telling = [name for _, told, _ in LAYOUTS if told <= {*available} for name in sorted(told)]
    names = [renamed.get(name, name) for name in asked]
    return list(dict.fromkeys([*names, *(telling if {*NAMES} & {*asked} else [])]))


def standard(dataset: CrystalDataset, asked: Sequence[str] | None, given: Mapping[str, str]) -> CrystalDataset:
    """A source's energies, forces and stresses under these names, in eV, eV/Å and eV/Å³ positive under tension.

    One message says what was changed.

    Args:
        dataset: The crystals with the labels that are ``needed``.
        asked: The columns that are wanted; all by default.
        given: Units of ``energy``, ``force`` or ``stress`` that are not what the source's layout says, or else ours.

    Raises:
        ConfigError: If a unit is unknown.
    """
    names = {*dataset.label_names}
    layout, known = next(((name, own) for name, told, own in LAYOUTS if told <= names), ("", Units()))
    ids = {name: ID_COLUMN for name in _IDS & names if layout}
    units = replace(known, **given)
    renamed = names_of(dataset.label_names, asked)
    changed = {
        column: said
        for name in NAMES
        if (column := renamed.get(name, name)) in dataset.label_names and (said := _change(name, column, units))
    }
    if changed:
        key = digest([dataset.table._fingerprint, repr(units), repr(changed)], 24)
        table = cached_table(key, lambda: (_converted(batch, changed, units) for batch in _batches(dataset)))
        dataset = CrystalDataset(table, source=dataset.source, rejected=dataset.rejected)
    if renamed or ids:
        table = dataset.table.remove_columns([*ids.values()])
        table = table.rename_columns(ids | {other: name for name, other in renamed.items()})
        dataset = CrystalDataset(table, source=dataset.source, rejected=dataset.rejected)
    taken = [f"{name} from {other}" for name, other in renamed.items()]
    if told := [*taken, *(f"{column} in {change}" for column, change in changed.items())]:
        logger.info(
            "%s: %s%s.", dataset.source, f"as {layout} writes it, " * (units == known != Units()), ", ".join(told)
        )
    return dataset


def _change(name: str, column: str, units: Units) -> str:
    """In what unit a column is, if it is not ours."""
    if "virial" in column.lower():
        return f"{units.energy}, to be divided by minus the volume"
    unit = {"energy": units.energy, "forces": units.force, "stress": units.stress}[name]
    ours = {"energy": Units.energy, "forces": Units.force, "stress": Units.stress}[name]
    return "" if unit == ours else unit


def _batches(dataset: CrystalDataset) -> Iterator[pa.Table]:
    table = dataset.table.with_format("arrow")
    return (table[start : start + _ROWS] for start in range(0, len(dataset), _ROWS))


def _converted(batch: pa.Table, columns: Collection[str], units: Units) -> pa.Table:
    for name in columns:
        values = decode(batch.column(name))
        if not all(value is None or isinstance(value, (int, float, np.ndarray)) for value in values):
            continue  # text: whoever trains on it says so
        scaled = [None if v is None else v * f for v, f in zip(values, _factors(batch, name, units), strict=True)]
        kind = pa.list_(pa.float64()) if is_list(batch.column(name).type) else pa.float64()
        batch = batch.set_column(batch.column_names.index(name), name, pa.array(scaled, kind))
    return batch


def _factors(batch: pa.Table, name: str, units: Units) -> np.ndarray:
    """The factor of each row's label."""
    if "virial" in name.lower():
        cells = np.reshape(decode(batch.column("lattice")), (-1, 3, 3)).astype(float)
        return -units.energy_factor / np.abs(np.linalg.det(cells))
    if name.lower() in NAMES["energy"]:
        atoms = np.array([len(numbers) for numbers in decode(batch.column("numbers"))])
        return units.energy_factor * (atoms if units.per_atom else np.ones(len(atoms)))
    factor = units.force_factor if name.lower() in NAMES["forces"] else units.stress_factor
    return np.full(len(batch), factor)
