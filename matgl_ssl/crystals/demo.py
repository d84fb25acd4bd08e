"""The demo data: crystals without labels and a small labelled task, made on the spot so that nothing is downloaded.

The corpus decorates the AFLOW prototypes that pymatgen carries; the task is alloys of the effective medium theory (EMT)
that ASE carries. Both are functions of ``(n, seed)`` alone.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from matgl_ssl.crystals.checks import check_structure
from matgl_ssl.crystals.records import Crystal
from matgl_ssl.crystals.storage import CrystalDataset
from matgl_ssl.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

# An element is replaced by one of its own pool, so that anions stay anions; the front of a pool is drawn more often.
POOLS = tuple(
    tuple(pool.split())
    for pool in (
        "O S F Cl N Se Br P I Te C H As",
        "Si Al Ge Sn Ga Sb B In",
        """Mg Ca Fe Ti Na K Li Cu Zn Mn Ni Co Ba Sr Cr V Zr La Y Mo Nb Ag Cd Pb Bi W Pd Pt Rb Au Hf Ta Tl Rh Ce Cs Sc
        Ru Ir Hg Nd Sm Pr Gd Re Be Er Dy Yb Ho Tb Th U Lu Tm Os Eu""",
    )
)
MAX_ATOMS = 20
EMT_METALS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au")


def demo_corpus(n: int = 3000, *, seed: int = 0) -> CrystalDataset:
    """Crystals without labels: real prototypes, other elements, volumes of the data-mined lattice scaling scheme.

    Args:
        n: Number of crystals, no two alike, of at most 20 atoms each.
        seed: Equal seeds give equal corpora.

    Returns:
        Crystals with the columns ``formula`` and ``prototype`` (its AFLOW label); all pass ``check_structure`` at 4 Å.

    Raises:
        DataError: If there are not so many different ones.
    """
    rng = np.random.default_rng(seed)
    prototypes = _prototypes()
    # Elemental prototypes allow few decorations: draw in favour of those with more species.
    weights = np.array([len(prototype.composition) ** 2.0 for _, prototype in prototypes])
    crystals: list[Crystal] = []
    seen: set[tuple[int, tuple[str, ...]]] = set()
    for _ in range(20 * n):
        if len(crystals) == n:
            break
        index = int(rng.choice(len(prototypes), p=weights / weights.sum()))
        label, prototype = prototypes[index]
        old = [element.symbol for element in prototype.composition]
        new = tuple(_substitute(symbol, rng) for symbol in old)
        if len(set(new)) < len(old) or (index, new) in seen:
            continue
        seen.add((index, new))
        crystal = _decorated(prototype, dict(zip(old, new, strict=True)), f"demo-{len(crystals):05d}", label)
        if not check_structure(crystal, cutoff=4.0):
            crystals.append(crystal)
    if len(crystals) < n:
        raise DataError(f"the demo corpus has no {n} different crystals; ask for {len(crystals)} at most")
    return CrystalDataset.from_crystals(crystals, source=f"demo corpus (seed {seed})")


def demo_task(n: int = 600, *, seed: int = 0) -> CrystalDataset:
    """Strained and rattled alloys of Al, Ni, Cu, Pd, Ag, Pt and Au, labelled by ASE's EMT calculator.

    Args:
        n: Number of alloys, of 2 to 16 atoms: L1_2, L1_0 and B2 order, and random decorations of fcc supercells.
        seed: Equal seeds give equal tasks.

    Returns:
        Crystals with ``formula``; ``energy`` in eV and ``energy_per_atom`` in eV/atom (EMT counts from the fcc metals);
        ``forces`` in eV/Å; ``stress`` in eV/Å³, positive under tension; ``bulk_modulus`` in GPa at the given cell.
    """
    from ase.calculators.emt import EMT

    rng = np.random.default_rng(seed)
    crystals = []
    for index in range(n):
        atoms = _alloy(rng)
        # Label what is stored: the record's own coordinates, not those that went into it.
        atoms = Crystal.from_atoms(atoms).to_atoms()
        atoms.calc = EMT()
        energy = float(atoms.get_potential_energy())
        labels: dict[str, Any] = {
            "energy": energy,
            "energy_per_atom": energy / len(atoms),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(voigt=False),
            "bulk_modulus": bulk_modulus(atoms),
        }
        crystal = Crystal.from_atoms(atoms, id=f"emt-{index:05d}", labels=labels)
        crystals.append(_with_formula(crystal))
    return CrystalDataset.from_crystals(crystals, source=f"demo task (seed {seed})")


def write_demo(folder: str | Path, *, n_corpus: int = 3000, n_task: int = 600) -> dict[str, Path]:
    """Write ``corpus.parquet`` and ``task.parquet``; a file that already has its rows is left untouched.

    Returns:
        The paths, under ``"corpus"`` and ``"task"``.
    """
    paths = {}
    for name, make, n in (("corpus", demo_corpus, n_corpus), ("task", demo_task, n_task)):
        paths[name] = path = Path(folder) / f"{name}.parquet"
        if not (path.exists() and pq.read_metadata(path).num_rows == n):
            make(n).write_parquet(path)
    return paths


def bulk_modulus(atoms: Atoms, *, step: float = 0.02) -> float:
    """``-V dp/dV`` in GPa with EMT at fixed fractional coordinates, by a central difference of ``step`` in ``V``."""
    from ase.calculators.emt import EMT
    from ase.units import GPa

    pressures = []
    for change in (-step, step):
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell[:] * (1 + change) ** (1 / 3), scale_atoms=True)
        scaled.calc = EMT()
        pressures.append(-np.trace(scaled.get_stress(voigt=False)) / 3)
    return float((pressures[0] - pressures[1]) / (2 * step) / GPa)


@lru_cache(maxsize=1)
def _prototypes() -> list[tuple[str, Structure]]:
    """AFLOW label and structure of each small prototype."""
    from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

    entries = [(entry["tags"]["aflow"], entry["snl"].structure) for entry in AFLOW_PROTOTYPE_LIBRARY]
    return [(label, structure) for label, structure in entries if structure.is_ordered and len(structure) <= MAX_ATOMS]


def _substitute(symbol: str, rng: np.random.Generator) -> str:
    pool = next((pool for pool in POOLS if symbol in pool), POOLS[-1])
    weights = 1 / np.sqrt(1 + np.arange(len(pool)))
    return str(rng.choice(pool, p=weights / weights.sum()))


def _decorated(prototype: Structure, replace: dict[str, str], id_: str, label: str) -> Crystal:
    from pymatgen.core.structure_prediction.volume_predictor import DLSVolumePredictor

    structure = prototype.copy()
    structure.replace_species(replace)
    with warnings.catch_warnings():  # elements without bond parameters fall back on atomic radii
        warnings.simplefilter("ignore")
        structure = DLSVolumePredictor().get_predicted_structure(structure)
    return _with_formula(Crystal.from_structure(structure, id=id_, labels={"prototype": label}))


def _alloy(rng: np.random.Generator) -> Atoms:
    from ase.build import bulk
    from ase.data import atomic_numbers, reference_states

    kind = rng.choice(["L1_2", "L1_0", "B2", "random"], p=[0.2, 0.2, 0.1, 0.5])
    metals = rng.permutation(EMT_METALS)
    if kind == "random":
        atoms = bulk("Cu", "fcc", a=1.0).repeat(
            [(1, 1, 2), (1, 2, 2), (2, 2, 2), (3, 2, 2), (4, 2, 2)][rng.integers(5)]
        )
        symbols = rng.choice(metals[: rng.integers(1, 5)], size=len(atoms))
    elif kind == "B2":
        atoms, symbols = bulk("Cu", "bcc", a=2 ** (-1 / 3), cubic=True), metals[:2]
    else:
        order = [0, 1, 1, 1] if kind == "L1_2" else [0, 1, 1, 0]
        atoms, symbols = bulk("Cu", "fcc", a=1.0, cubic=True), metals[order]
    atoms.set_chemical_symbols([str(symbol) for symbol in symbols])
    constants = [reference_states[atomic_numbers[symbol]]["a"] for symbol in atoms.get_chemical_symbols()]
    strain = rng.normal(scale=0.02, size=(3, 3)) + rng.normal(scale=0.02) * np.eye(3)
    cell = atoms.cell[:] * np.mean(constants) @ (np.eye(3) + (strain + strain.T) / 2)
    atoms.set_cell(cell, scale_atoms=True)
    atoms.positions += rng.normal(scale=rng.uniform(0.0, 0.12), size=(len(atoms), 3))
    return atoms


def _with_formula(crystal: Crystal) -> Crystal:
    labels = {"formula": crystal.formula, **crystal.labels}
    return Crystal(crystal.numbers, crystal.frac_coords, crystal.lattice, id=crystal.id, labels=labels)
