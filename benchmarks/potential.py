"""Explicit pretraining on real labels: a potential for ASE out of `energy-force-stress`, and what it is worth.

    MATGL_SSL_DATA=... python benchmarks/potential.py mlearn     # six elements, DFT (Zuo et al. 2020)
    python benchmarks/potential.py emt                           # the demo set: alloys labelled by ASE's EMT

Trains an M3GNet, then measures on held-out frames (mean absolute errors beside those of a guess: the fitted element
references, no force, the mean stress), relaxes crystals with their cells, and runs 1 ps of molecular dynamics at
constant energy. ``MATGL_SSL_DATA`` holds ``mlearn/*.extxyz.gz`` (github.com/materialsvirtuallab/mlearn, BSD-3-Clause).
Writes ``benchmarks/results/potential-*.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from matgl.ext.ase import PESCalculator

import matgl_ssl
from matgl_ssl.backends import GPA
from matgl_ssl.crystals import CrystalDataset, read_crystals
from matgl_ssl.crystals.composition import compositions, element_references
from matgl_ssl.crystals.demo import demo_task
from matgl_ssl.hub import load_model

RESULTS = Path(__file__).parent / "results"
MLEARN = {"Cu": "fcc", "Ge": "diamond", "Li": "bcc", "Mo": "bcc", "Ni": "fcc", "Si": "diamond"}
EMT = {"Al": "fcc", "Cu": "fcc", "Ag": "fcc", "Pt": "fcc"}
OPTIONS: dict[str, dict[str, Any]] = {
    "mlearn": {"epochs": 12, "batch_size": 4, "lr": 2e-3, "seed": 0},
    "emt": {"epochs": 30, "batch_size": 16, "lr": 2e-3, "seed": 0},
}
FRAMES_PER_ELEMENT = 60


def mlearn(split: str, n: int | None) -> CrystalDataset:
    """Frames of all six elements; ``n`` of each drawn with seed 0, or all."""
    rng, crystals = np.random.default_rng(0), []
    for element in MLEARN:
        path = Path(os.environ["MATGL_SSL_DATA"]) / "mlearn" / f"{element}_{split}.extxyz.gz"
        frames = [dataclasses.replace(c, id=f"{element}-{split}-{c.id}") for c in read_crystals(path)]
        rows = np.sort(rng.permutation(len(frames))[:n])
        crystals += [frames[i] for i in rows]
    return CrystalDataset.from_crystals(crystals, source=f"mlearn {split}")


def errors(path: Path, train: CrystalDataset, test: CrystalDataset) -> dict[str, dict[str, float]]:
    """Mean absolute errors on the test frames, in meV/atom, eV/Å and GPa, of the potential and of the guess."""
    potential = load_model(path)
    calculator = PESCalculator(potential, stress_unit="eV/A3")
    element_types = tuple(sorted({s for c in train for s in c.symbols} | {s for c in test for s in c.symbols}))
    references = element_references(train.column("energy").astype(float), compositions(train, element_types))
    guesses = compositions(test, element_types) @ references
    stress = np.mean([c.labels["stress"] for c in train], axis=0)
    found: dict[str, dict[str, list[np.ndarray]]] = {"potential": {}, "guess": {}}
    for crystal, guess in zip(test, guesses, strict=True):
        atoms = crystal.to_atoms()
        atoms.calc = calculator
        given = {
            "potential": (atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)),
            "guess": (guess, np.zeros((len(atoms), 3)), stress),
        }
        for name, (energy, forces, tension) in given.items():
            rows = found[name]
            rows.setdefault("energy", []).append(np.abs([energy - crystal.labels["energy"]]) / len(atoms) * 1000)
            rows.setdefault("forces", []).append(np.abs(forces - crystal.labels["forces"]).ravel())
            rows.setdefault("stress", []).append(np.abs(tension - crystal.labels["stress"]).ravel() * GPA)
    return {
        name: {key: round(float(np.concatenate(v).mean()), 4) for key, v in rows.items()}
        for name, rows in found.items()
    }


def relaxed(path: Path, lattices: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Lattice constants from ASE's experimental ones as a start, cell and positions free."""
    potential = load_model(path)
    rows = {}
    for element, structure in lattices.items():
        atoms = bulk(element, structure, cubic=True)
        start = float(atoms.cell[0, 0])
        atoms.rattle(0.02, seed=0)
        atoms.calc = PESCalculator(potential, stress_unit="eV/A3")
        optimiser = BFGS(FrechetCellFilter(atoms), logfile=None)
        converged = bool(optimiser.run(fmax=0.02, steps=200))
        a = float(np.mean(np.linalg.norm(atoms.cell[:], axis=1)))
        rows[element] = {
            "converged": converged, "steps": optimiser.get_number_of_steps(), "a": round(a, 4), "experiment": start,
        }  # fmt: skip
    return rows


def dynamics(path: Path, atoms: Atoms, *, steps: int = 1000) -> dict[str, float]:
    """1 ps at constant energy, 1 fs a step, begun at 600 K on perfect sites: how the total energy drifts and strays."""
    potential = load_model(path)
    atoms.calc = PESCalculator(potential, stress_unit="eV/A3")
    rng = np.random.default_rng(0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=rng)  # half of it becomes potential energy
    Stationary(atoms)
    energies: list[float] = []
    run = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    run.attach(lambda: energies.append(atoms.get_total_energy() / len(atoms) * 1000), interval=1)
    start = time.perf_counter()
    run.run(steps)
    seconds = time.perf_counter() - start
    times = np.arange(len(energies)) / 1000
    return {
        "atoms": len(atoms),
        "drift_meV_per_atom_per_ps": round(float(np.polyfit(times, energies, 1)[0]), 4),
        "largest_deviation_meV_per_atom": round(float(np.max(np.abs(np.array(energies) - energies[0]))), 4),
        "last_temperature_K": round(float(atoms.get_temperature()), 1),
        "steps_per_second": round(steps / seconds, 2),
    }


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=sorted(OPTIONS))
    parser.add_argument("--runs", type=Path, default=Path("runs/potential"))
    arguments = parser.parse_args()
    name, out = arguments.data, arguments.runs / arguments.data
    if name == "mlearn":
        train, test, lattices = mlearn("train", FRAMES_PER_ELEMENT), mlearn("test", None), MLEARN
        liquid = bulk("Mo", cubic=True).repeat((3, 3, 3))
    else:
        everything = demo_task(600)
        train, test, lattices = everything.select(range(500)), everything.select(range(500, 600)), EMT
        liquid = bulk("Cu", cubic=True).repeat((2, 2, 2))
    start = time.perf_counter()
    if not (out / "potential").exists():
        matgl_ssl.pretrain(
            data=train, out=out, resume=(out / "config.yaml").exists(), model="M3GNet", accelerator="cpu",
            recipe="energy-force-stress", val_fraction=0.02, **OPTIONS[name],
        )  # fmt: skip
    minutes = (time.perf_counter() - start) / 60
    path = out / "potential"
    result = {
        "options": OPTIONS[name], "train_frames": len(train), "test_frames": len(test), "minutes": round(minutes, 1),
        "test_mae (meV/atom, eV/Å, GPa)": errors(path, train, test), "relaxed": relaxed(path, lattices),
        "nve": dynamics(path, liquid),
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (RESULTS / f"potential-{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
