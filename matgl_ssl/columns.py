"""What label columns mean: the quantity and the unit of those that go by the names of well-known tables."""

from __future__ import annotations

from collections.abc import Mapping

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "highest phonon frequency": {"last_phdos_peak": "1/cm", "last phdos peak": "1/cm", "max_phonon_frequency": ""},
    "elastic moduli": {
        "bulk_modulus": "GPa", "bulk_modulus_vrh": "GPa", "bulk_modulus_kv": "", "shear_modulus": "GPa",
        "shear_modulus_vrh": "GPa", "shear_modulus_gv": "", "poisson_ratio": "", "homogeneous_poisson": "",
        "poisson": "", "k_vrh": "", "k_voigt": "", "k_reuss": "", "g_vrh": "", "g_voigt": "", "g_reuss": "",
        "log10(k_vrh)": "", "log10(g_vrh)": "", "elastic_tensor": "", "young_modulus": "",
    },
    "band gap": {
        "band_gap": "eV", "gap": "", "bandgap": "", "gap pbe": "", "gap expt": "", "is_metal": "", "dir_gap": "",
        "ind_gap": "", "optb88vdw_bandgap": "", "mbj_bandgap": "", "hse_gap": "",
    },
    "energy": {
        "formation_energy_per_atom": "eV/atom", "formation_energy_peratom": "", "formation_energy": "", "e_form": "",
        "e_above_hull": "eV/atom", "energy_above_hull": "", "ehull": "", "is_stable": "", "energy": "eV",
        "energy_per_atom": "eV/atom", "uncorrected_energy_per_atom": "", "optb88vdw_total_energy": "", "heat_all": "",
        "heat_ref": "", "cohesive_energy": "",
    },
    "exfoliation energy": {"exfoliation_energy": "meV/atom", "exfoliation_en": ""},
    "heat capacity": {"heat_capacity": "", "heat_capacity_300k": "J/K/mol"},
    "dielectric constant": {
        "eps_electronic": "", "eps_total": "", "e_electronic": "", "e_total": "", "epsx": "", "epsy": "", "epsz": "",
        "mepsx": "", "mepsy": "", "mepsz": "", "dielectric": "", "refractive_index": "", "n": "",
    },
    "magnetisation": {
        "total_magnetization": "μB/cell", "total_magnetization_normalized_vol": "",
        "total_magnetization_normalized_formula_units": "", "magnetization": "", "magmom": "", "magmom_outcar": "",
        "magmom_oszicar": "",
    },
    "fermi energy": {"fermi_energy": "eV"},
}  # fmt: skip
"""Quantities, their columns in lower case, and the columns' units where the name says them: of Materials Project,
Matbench and JARVIS tables. Quantities that say much of each other are one: a formation energy and a distance to the
hull, or two moduli and Poisson's ratio."""


def quantity(column: str, declared: str | None = None) -> str:
    """What a column is: as declared, as its name says, or its own name. Columns may be declared by another's name."""
    said = declared or column
    return next((name for name, columns in COLUMNS.items() if said.lower() in (name, *columns)), said)


def unit_of(column: str) -> str:
    """The unit that a column's name says; empty if none."""
    return COLUMNS.get(quantity(column), {}).get(column.lower(), "")
