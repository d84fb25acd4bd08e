"""Label crystals with the energies, forces and stresses of a teacher, so that others can learn from it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from matgl_ssl._backend import BACKEND, MATGL_VERSION
from matgl_ssl.backends import GPA, Potential, backend, collate
from matgl_ssl.crystals import Crystal, CrystalDataset, check_dataset, read_crystals
from matgl_ssl.crystals.batching import consecutive_batches
from matgl_ssl.crystals.tables import cache_directory, cached_table
from matgl_ssl.encoders import GraphBuilder, bare_model, no_state, release
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.hub import evaluating, load_with_stamp, read_stamp
from matgl_ssl.hub.elements import warn_of_elements
from matgl_ssl.hub.fingerprint import fingerprint
from matgl_ssl.progress import track

from .calculators import calculated, identity, is_calculator
from .compute import structures_key

logger = logging.getLogger(__name__)

PREFER = ("potential", "model")
LABELS = ("energy", "forces", "stress")


def teacher_labels(
    crystals: CrystalDataset,
    teacher: str | Path,
    *,
    arguments: Mapping[str, Any] | None = None,
    trained_with: str | None = None,
    copies: int = 0,
    sigma: float = 0.1,
    strain: float = 0.02,
    seed: int = 0,
    batch_size: int = 32,
    num_workers: int = 0,
    cluster: str | None = None,
    device: torch.device | str = "cpu",
) -> CrystalDataset:
    """Give crystals, and perturbed copies of them, the labels of a MatGL potential or an ASE calculator.

    The table is cached beside the computed targets (``HF_DATASETS_CACHE``/matgl_ssl): the same crystals, teacher and
    options are labelled once. Another version of MatGL, or of the calculator's package, computes the labels again.

    Args:
        crystals: The crystals; their own labels are left behind. Those that the teacher cannot label are left out.
        teacher: A saved ``Potential`` (directory, run directory or hub name), a registered teacher, or the path of an
            ASE calculator (``module:class``), which is imported.
        arguments: Keyword arguments of the calculator.
        trained_with: ``"pyg"`` or ``"dgl"``, for a teacher without a matgl_ssl stamp.
        copies: Perturbed copies of each crystal: every atom displaced, the cell strained.
        sigma: Standard deviation of each coordinate's displacement in Å.
        strain: Standard deviation of the components of the copies' symmetric strain.
        seed: Seed of the perturbations.
        batch_size: Largest number of crystals in a potential's batch; large crystals make it smaller.
        num_workers: Processes that share a calculator's work; each makes the calculator for itself.
        cluster: Address of a Dask scheduler whose workers share it instead.
        device: Where a potential runs.

    Returns:
        Crystals with ``energy`` (eV), ``forces`` ``(N, 3)`` (eV/Å) and ``stress`` ``(3, 3)`` (eV/Å³, positive under
        tension); what a calculator does not offer is missing. A copy's id ends in ``#1``, ``#2``, ...

    Raises:
        ConfigError: If a potential is given arguments.
        DataError: If a calculator fails on every crystal.
        ModelError: If the teacher gives no energies, or cannot be loaded or made.
        BackendError: If it belongs to the other graph library.
    """
    code = is_calculator(teacher)
    if arguments and not code:
        raise ConfigError(f"The teacher {teacher} is a saved potential; teacher_args are those of an ASE calculator.")
    if not code:
        _refuse_other_units(teacher)
    weights = identity(str(teacher), arguments or {}) if code else fingerprint(teacher, prefer=PREFER)
    options = f"{weights} {copies} {sigma} {strain} {seed}"

    def labelled() -> Iterator[pa.Table]:
        if old := _of_earlier_versions(crystals, options):
            yield read_crystals(old).table.with_format("arrow")[:]
            return
        with torch.random.fork_rng(devices=[]):  # a cached table must not change what the run draws later
            if code:
                logger.info("%s labels %d crystals, each %d times.", teacher, len(crystals), copies + 1)
                todo = [
                    (_perturbed(crystal, copy, (sigma, strain), np.random.default_rng([seed, row, copy])), crystal)
                    for row, crystal in enumerate(crystals)
                    for copy in range(copies + 1)
                ]
                found = list(calculated(todo, str(teacher), arguments or {}, num_workers, cluster))
            else:
                potential, stamp = load_with_stamp(teacher, trained_with=trained_with, prefer=PREFER, device=device)
                warn_of_elements(stamp, crystals)
                found = list(_labelled(crystals, teacher, potential, copies, (sigma, strain), seed, batch_size))
        yield CrystalDataset.from_crystals(found).table.with_format("arrow")[:]

    key = structures_key(crystals, *_facts(crystals, options))
    found = CrystalDataset(cached_table(key, labelled), source=f"{crystals.source}, labelled by {teacher}")
    if missing := [name for name in LABELS if name not in found.label_names]:
        logger.warning("The teacher %s has no %s: these labels are missing.", teacher, " and no ".join(missing))
    return found


def _refuse_other_units(teacher: str | Path) -> None:
    stamp = read_stamp(teacher, prefer=PREFER)
    unit = stamp.get("unit") or (stamp.get("target") or {}).get("unit")
    if unit not in (None, "eV"):
        raise ModelError(
            f"The output of {teacher} is {unit}, and a teacher gives energies in eV. Choose a potential that was "
            "trained on energies, or pretrain with the recipe that this one was trained with."
        )


def _facts(crystals: CrystalDataset, options: str) -> tuple[str, ...]:
    return ("teacher", options, BACKEND, MATGL_VERSION, *crystals.ids)


def _of_earlier_versions(crystals: CrystalDataset, options: str) -> Path | None:
    """The labels that an earlier version kept; of version 0.1, whose name had no ids in it, if its ids are these."""
    keys = [structures_key(crystals, *facts) for facts in (_facts(crystals, options), ("teacher", options))]
    recent, old = (cache_directory() / f"teacher-{key}.parquet" for key in keys)
    if recent.exists():
        return recent
    return old if old.exists() and {i.partition("#")[0] for i in read_crystals(old).ids} <= {*crystals.ids} else None


def _labelled(
    crystals: CrystalDataset,
    teacher: str | Path,
    potential: Any,
    copies: int,
    spread: tuple[float, float],
    seed: int,
    batch_size: int,
) -> Iterator[Crystal]:
    if not isinstance(potential, Potential):
        raise ModelError(
            f"{teacher} is a {type(potential).__name__}, not a potential: "
            "a teacher gives energies, forces and stresses."
        )
    # As it was saved it may give less, or in debug_mode something else.
    potential.calc_forces = potential.calc_stresses = True
    potential.calc_hessian = potential.debug_mode = False
    model = bare_model(potential)
    build = GraphBuilder(tuple(model.element_types), float(model.cutoff))
    crystals, report = check_dataset(crystals, element_types=build.element_types, cutoff=build.cutoff)
    if left_out := report.n_total - report.n_kept:
        logger.warning("%d of %d crystals are left out: the teacher cannot label them.", left_out, report.n_total)
    logger.info("%s labels %d crystals and %d perturbed copies.", teacher, len(crystals), copies * len(crystals))
    with evaluating(potential):
        batches = consecutive_batches(crystals, batch_size, build.cutoff)
        for rows in track(batches, "labelling crystals", len(crystals), len):
            for copy in range(copies + 1):
                batch = [
                    _perturbed(crystal, copy, spread, np.random.default_rng([seed, row, copy]))
                    for row, crystal in zip(rows, crystals.rows(rows), strict=True)
                ]
                yield from _with_labels(potential, batch, build)
    release(model)


def _perturbed(crystal: Crystal, copy: int, spread: tuple[float, float], rng: np.random.Generator) -> Crystal:
    crystal = dataclasses.replace(crystal, labels={})
    if copy == 0:
        return crystal
    strain = rng.normal(0.0, spread[1], (3, 3))
    lattice = crystal.lattice @ (np.eye(3) + (strain + strain.T) / 2)
    moved = crystal.frac_coords + rng.normal(0.0, spread[0], (len(crystal), 3)) @ np.linalg.inv(lattice)
    return dataclasses.replace(crystal, frac_coords=moved, lattice=lattice, id=f"{crystal.id}#{copy}")


def _with_labels(potential: Any, crystals: list[Crystal], build: GraphBuilder) -> Iterator[Crystal]:
    parameter = next(potential.parameters())
    batch = collate([build(crystal) for crystal in crystals]).to(parameter.device, parameter.dtype)
    state = no_state(bare_model(potential), len(batch))
    energies, forces, stresses, *_ = backend.run_potential(potential, batch, state)
    energies = energies.detach().cpu().double().numpy().reshape(-1)
    each = np.split(forces.detach().cpu().double().numpy(), np.cumsum(batch.n_atoms.tolist())[:-1])
    stresses = stresses.detach().cpu().double().numpy().reshape(-1, 3, 3) / GPA
    for crystal, energy, force, stress in zip(crystals, energies, each, stresses, strict=True):
        if np.isfinite(energy) and np.isfinite(force).all() and np.isfinite(stress).all():
            yield dataclasses.replace(crystal, labels={"energy": float(energy), "forces": force, "stress": stress})
