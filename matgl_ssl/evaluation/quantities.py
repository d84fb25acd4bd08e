"""Which columns are the same quantity: what a task asks for must not be learned from another file.

A column is known by its name, and by its values: one that goes with the target over the crystals both files have is the
target under another name. Quantities that determine each other count as one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ConfigError

QUANTITIES: Mapping[str, tuple[str, ...]] = {
    "highest phonon frequency": ("last_phdos_peak", "last phdos peak", "max_phonon_frequency"),
    "elastic moduli": (
        "bulk_modulus", "bulk_modulus_vrh", "bulk_modulus_kv", "shear_modulus", "shear_modulus_vrh", "shear_modulus_gv",
        "poisson_ratio", "homogeneous_poisson", "poisson", "k_vrh", "k_voigt", "k_reuss", "g_vrh", "g_voigt", "g_reuss",
        "log10(k_vrh)", "log10(g_vrh)", "elastic_tensor", "young_modulus",
    ),
    "band gap": (
        "band_gap", "gap", "bandgap", "gap pbe", "gap expt", "is_metal", "dir_gap", "ind_gap", "optb88vdw_bandgap",
        "mbj_bandgap", "hse_gap",
    ),
    "energy": (
        "formation_energy_per_atom", "formation_energy_peratom", "formation_energy", "e_form", "e_above_hull",
        "energy_above_hull", "ehull", "is_stable", "energy", "energy_per_atom", "uncorrected_energy_per_atom",
        "optb88vdw_total_energy", "heat_all", "heat_ref", "cohesive_energy",
    ),
    "exfoliation energy": ("exfoliation_energy", "exfoliation_en"),
    "heat capacity": ("heat_capacity", "heat_capacity_300k"),
    "dielectric constant": (
        "eps_electronic", "eps_total", "e_electronic", "e_total", "epsx", "epsy", "epsz", "mepsx", "mepsy", "mepsz",
        "dielectric", "refractive_index", "n",
    ),
    "magnetisation": (
        "total_magnetization", "total_magnetization_normalized_vol", "total_magnetization_normalized_formula_units",
        "magnetization", "magmom", "magmom_outcar", "magmom_oszicar",
    ),
}  # fmt: skip
"""Column names, in lower case, of Materials Project, Matbench and JARVIS tables. A formation energy and a distance to
the hull, or two moduli and Poisson's ratio, say much of each other."""

SAME_RANKS = 0.95
"""Rank correlation over shared crystals from which on two columns are one quantity."""
ENOUGH = 20
"""Shared crystals below which values say nothing."""


def quantity(column: str, declared: str | None = None) -> str:
    """What a column is: as declared, as its name says, or its own name. Columns may be declared by another's name."""
    said = declared or column
    return next((name for name, columns in QUANTITIES.items() if said.lower() in (name, *columns)), said)


def same_values(a: CrystalDataset, column_a: str, b: CrystalDataset, column_b: str) -> bool:
    """Whether two columns rank the formulas that both tables have alike, the first as it is or divided by atoms.

    Only formulas that stand once in each table are compared: those of several polymorphs name no crystal.
    """
    theirs = _by_formula(b, column_b)
    return any(_alike(_by_formula(a, column_a, per_atom=each), theirs) for each in (False, True))


def _alike(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    shared = sorted(a.keys() & b.keys())
    if len(shared) < ENOUGH:
        return False
    ranks = np.stack([_ranks([table[formula] for formula in shared]) for table in (a, b)])
    return bool(abs(np.corrcoef(ranks)[0, 1]) >= SAME_RANKS)


def _ranks(values: list[float]) -> np.ndarray:
    """Equal values share their mean rank."""
    ordered = np.sort(values)
    return np.asarray(np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right"), float)


def _by_formula(crystals: CrystalDataset, column: str, *, per_atom: bool = False) -> dict[str, float]:
    values = crystals.column(column)
    if values.dtype.kind not in "fiub":
        return {}
    values = values / crystals.sizes() if per_atom else values
    formulas = np.array(crystals.formulas(), dtype=object)
    names, first, counts = np.unique(formulas, return_index=True, return_counts=True)
    once = {str(name): float(values[i]) for name, i, n in zip(names, first, counts, strict=True) if n == 1}
    return {name: value for name, value in once.items() if np.isfinite(value)}


def refuse_same_quantity(
    columns: tuple[str, ...], asked: str, task: CrystalDataset, target: str, corpus: CrystalDataset
) -> None:
    """Refuse to pretrain on labels that are what a task asks for.

    Args:
        columns: Label columns of the corpus that an arm is trained on.
        asked: The quantity that the task asks for.
        task: The task's crystals.
        target: Their label column.
        corpus: The corpus with those columns; names are enough to refuse, so it may lack them.

    Raises:
        ConfigError: If one of them is the same quantity, by its name or by its values.
    """
    for column in columns:
        how = "name" if quantity(column) == asked else ""
        if not how and column in corpus.label_names and same_values(corpus, column, task, target):
            how = "values on shared crystals"
        if how:
            raise ConfigError(
                f"{column!r} of {corpus.source} is {asked} by its {how}, which the task asks for: outside the revealed "
                "labels no label of it may be used. Pretrain on another column."
            )
