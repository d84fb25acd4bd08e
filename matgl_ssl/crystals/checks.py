"""Checks: which crystals a graph network can be trusted with.

Everything here runs before any graph is built: M3GNet is silent on NaN coordinates, MEGNet on coincident atoms, and an
absurd cell can exhaust memory while its neighbours are searched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pymatgen.core import Element, Structure
from pymatgen.optimization.neighbors import find_points_in_spheres

from matgl_ssl.crystals.records import DOUBT, FAR, Crystal
from matgl_ssl.crystals.report import ADVICE, CheckReport, Finding
from matgl_ssl.crystals.storage import CrystalDataset
from matgl_ssl.errors import BadStructureError, DataError, NothingLeftError
from matgl_ssl.progress import track

if TYPE_CHECKING:
    from ase import Atoms

Policy = Literal["skip", "raise"]

_PBC = np.ones(3, dtype=np.int64)
_BATCH = 512


def check_structure(
    structure: Crystal | Structure | Atoms,
    *,
    element_types: Sequence[str] | None = None,
    cutoff: float = 5.0,
    min_distance: float = 0.5,
    max_edges: int = 2_000_000,
) -> list[Finding]:
    """Say what keeps a crystal from being trusted to a graph network.

    Args:
        structure: A record, pymatgen structure or ASE atoms.
        element_types: Elements the model knows; ``None`` for any.
        cutoff: Radius of the graph in Å.
        min_distance: Smallest distance of two atoms in Å, periodic images included.
        max_edges: Largest number of edges (estimated from the density) and of neighbour candidates.

    Returns:
        The findings; empty for a good crystal. An isolated atom beside bonded ones is allowed.
    """
    try:
        crystal = as_crystal(structure).wrapped()
    except BadStructureError as err:
        return [Finding("", err.code, str(err))]
    if doubt := crystal.labels.get(DOUBT):
        code, _, reason = doubt.partition(": ")
        return [Finding(crystal.id, code, f"{crystal.id}: {reason}")]
    if fatal := _shape_finding(crystal):
        return [fatal]
    findings = list(_element_findings(crystal, None if element_types is None else tuple(element_types)))
    reach = max(cutoff, min_distance)
    if hopeless := _size_finding(crystal, reach, max_edges):
        return [*findings, hopeless]
    return [*findings, *_distance_findings(crystal, reach, cutoff, min_distance)]


def check_dataset(
    dataset: CrystalDataset,
    *,
    element_types: Sequence[str] | None = None,
    cutoff: float = 5.0,
    policy: Policy = "skip",
    **limits: Any,
) -> tuple[CrystalDataset, CheckReport]:
    """Check every crystal and keep the good ones.

    Args:
        dataset: The crystals; what its reader rejected goes into the report.
        element_types: Elements the model knows; ``None`` for any.
        cutoff: Radius of the graph in Å.
        policy: ``"skip"`` leaves bad crystals out, ``"raise"`` stops at the first.
        **limits: ``min_distance`` and ``max_edges`` of ``check_structure``.

    Returns:
        The good crystals, in order, and the report.

    Raises:
        BadStructureError: Under ``"raise"``, with the first finding's message.
        NothingLeftError: If nothing is left.
    """
    findings = list(dataset.rejected)
    good = np.zeros(len(dataset), dtype=bool)
    place = places(dataset)
    for index, crystal in track(_readable(dataset), "checking crystals", len(dataset)):
        found = (
            [crystal]
            if isinstance(crystal, Finding)
            else check_structure(crystal, element_types=element_types, cutoff=cutoff, **limits)
        )
        good[index] = not found
        findings += [replace(finding, index=int(place[index])) for finding in found]
        if findings and policy == "raise":
            raise BadStructureError(f"{dataset.source}: {findings[0].message}")
    kept = np.flatnonzero(good)
    report = CheckReport(len(dataset) + len(dataset.rejected), len(kept), tuple(findings))
    if not len(kept):
        reasons = report.reasons() or "none were given"
        raise NothingLeftError(f"{dataset.source}: nothing left of {report.n_total} crystals: {reasons}", report)
    if len(kept) == len(dataset):
        return CrystalDataset(dataset.table, source=dataset.source), report
    return dataset.select(kept), report


def places(dataset: CrystalDataset) -> np.ndarray:
    """The place of each crystal among all entries of its source, those among them that the reader rejected."""
    elsewhere = [finding.index for finding in dataset.rejected if finding.index is not None]
    return np.setdiff1d(np.arange(len(dataset) + len(elsewhere)), elsewhere)[: len(dataset)]


def as_crystal(structure: Crystal | Structure | Atoms, **names: Any) -> Crystal:
    """Turn a pymatgen structure or ASE atoms into a record; ``names`` are its ``id`` and ``labels``.

    Raises:
        BadStructureError: If it is disordered, not periodic or without volume.
    """
    if isinstance(structure, Crystal):
        return structure
    if isinstance(structure, Structure):
        return Crystal.from_structure(structure, **names)
    return Crystal.from_atoms(structure, **names)


def _readable(dataset: CrystalDataset) -> Iterator[tuple[int, Crystal | Finding]]:
    """Read in batches; only a batch with a malformed row is read again one by one."""
    for start in range(0, len(dataset), _BATCH):
        indices = range(start, min(start + _BATCH, len(dataset)))
        try:
            yield from zip(indices, dataset.rows(indices), strict=True)
        except DataError:
            for index in indices:
                try:
                    yield index, dataset[index]
                except DataError as err:
                    yield index, Finding(str(dataset.table[index]["material_id"]), "malformed", str(err))


def _shape_finding(crystal: Crystal) -> Finding | None:
    if not len(crystal):
        return Finding(crystal.id, "empty", f"{crystal.id}: no atoms; {ADVICE['empty']}")
    if not (np.isfinite(crystal.frac_coords).all() and np.isfinite(crystal.lattice).all()):
        return Finding(crystal.id, "non-finite", f"{crystal.id}: {ADVICE['non-finite']}")
    if np.abs(crystal.frac_coords).max() >= FAR:
        message = f"{crystal.id}: an atom {FAR:.0e} cells or more from the origin: its position is lost; wrap it before"
        return Finding(crystal.id, "too-large", message)
    if crystal.volume < 1e-3:
        message = f"{crystal.id}: a cell of {crystal.volume:.3g} Å³; {ADVICE['no-volume']}"
        return Finding(crystal.id, "no-volume", message)
    return None


@lru_cache(maxsize=16)
def _known_numbers(element_types: tuple[str, ...] | None) -> frozenset[int]:
    elements = Element if element_types is None else map(Element, element_types)
    return frozenset(element.Z for element in elements)


def _element_findings(crystal: Crystal, element_types: tuple[str, ...] | None) -> Iterator[Finding]:
    unknown = sorted(set(crystal.numbers.tolist()) - _known_numbers(element_types))
    if unknown:
        every = _known_numbers(None)
        names = ", ".join(Element.from_Z(z).symbol if z in every else f"atomic number {z}" for z in unknown)
        message = f"{crystal.id}: {names} unknown to the model; {ADVICE['unknown-element']}"
        yield Finding(crystal.id, "unknown-element", message)


def _size_finding(crystal: Crystal, reach: float, max_edges: int) -> Finding | None:
    """Refuse what the neighbour search could not finish: its cost is known beforehand."""
    n, volume = len(crystal), crystal.volume
    edges = n * n / volume * 4 / 3 * np.pi * reach**3
    if edges > max_edges:
        message = f"{crystal.id}: about {edges:.2g} edges within {reach} Å; {ADVICE['too-many-edges']}"
        return Finding(crystal.id, "too-many-edges", message)
    # The search visits every periodic image near the cell and lays a grid of boxes of edge `reach` over the atoms.
    heights = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    images = np.prod(np.ptp(crystal.frac_coords, axis=0) + 2 * reach / heights + 2)
    boxes = np.prod(np.ptp(crystal.cart_coords, axis=0) / reach + 3)
    if max(n * images, boxes) > max_edges:
        message = (
            f"{crystal.id}: {n * images:.2g} periodic images and {boxes:.2g} boxes of {reach} Å to search; "
            f"{ADVICE['too-large']}"
        )
        return Finding(crystal.id, "too-large", message)
    return None


def _distance_findings(crystal: Crystal, reach: float, cutoff: float, min_distance: float) -> Iterator[Finding]:
    coords = np.ascontiguousarray(crystal.cart_coords)
    lattice = np.ascontiguousarray(crystal.lattice)
    center, other, _, distance = find_points_in_spheres(
        coords, coords, r=float(reach), pbc=_PBC, lattice=lattice, tol=1e-8
    )
    bonds = distance[(center != other) | (distance > 1e-8)]
    nearest = bonds.min() if len(bonds) else np.inf
    if nearest < min_distance:
        message = f"{crystal.id}: two atoms {nearest:.3f} Å apart (limit {min_distance} Å); {ADVICE['too-close']}"
        yield Finding(crystal.id, "too-close", message)
    if nearest > cutoff:
        message = f"{crystal.id}: no atom has a neighbour within {cutoff} Å; {ADVICE['no-edges']}"
        yield Finding(crystal.id, "no-edges", message)
