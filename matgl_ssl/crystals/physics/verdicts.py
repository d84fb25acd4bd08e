"""Labels against physics: energies, forces and stresses that cannot be what they are taken for.

A wrong unit or sign is silent, and the model learns it: kbar and eV/Å³ are a factor of 1,602 apart. What the data do
not show is reported as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from matgl_ssl.crystals.physics.extent import extent, named_extent
from matgl_ssl.crystals.physics.frames import Frame, frames_of
from matgl_ssl.crystals.physics.identify import EXPECTED, STRESS
from matgl_ssl.crystals.physics.remark import Remark
from matgl_ssl.crystals.physics.stiffness import stiffness
from matgl_ssl.crystals.physics.work import Work, work
from matgl_ssl.crystals.storage import CrystalDataset

_FLAGS = ("--energy-unit", "--force-unit", "--stress-unit")
_COLUMNS = ("energy", "forces", "stress")
_CODES = ("energy-unit", "force-unit", "stress-unit")
_LARGEST_STRESS = 1.0  # eV/Å³, 160 GPa: most crystals of no data set are under more
_LARGEST_FORCE = 30.0  # eV/Å, root mean square


def physics(crystals: CrystalDataset, rows: Sequence[int] | np.ndarray | None = None) -> list[Remark]:
    """Hold the columns ``energy``, ``forces`` and ``stress`` against physics.

    Args:
        crystals: The crystals.
        rows: Which of them may be looked at; all by default.

    Returns:
        What is right, what is wrong, and what cannot be determined; nothing of columns that are not there.
    """
    frames = frames_of(crystals, rows)
    energies = np.array([frame.energy for frame in frames])
    remarks = list(_of_work(work(frames)))
    if np.isfinite(energies).any() and not any(remark.code == "energy-unit" for remark in remarks):
        sizes = np.array([len(frame.crystal) for frame in frames])
        grows = extent(energies, sizes, [frame.crystal.formula for frame in frames])
        remarks.append(named_extent("energy", grows))
    remarks += _net_forces(frames)
    known = {remark.subject for remark in remarks if remark.code.endswith("-unit")}
    remarks += [remark for remark in _sizes(frames) if remark.subject not in known]
    return remarks


def _of_work(found: Work | None) -> Iterator[Remark]:
    """Units and signs from differences of energy; nothing where they do not tell."""
    if found is None:
        return
    evidence = f"differences of energy of {found.n_pairs} pairs of neighbouring frames"
    first = found.readings[0]
    names = [" or ".join(dict.fromkeys(reading.units[place] for reading in found.readings)) for place in range(3)]
    if first.per_atom or first.units[0] != EXPECTED[0]:
        unit = names[0] + ("/atom" if first.per_atom else "")
        message = f"{evidence} fit the other labels as {unit}"
        typed = first.units[0] + ("/atom" if first.per_atom else "")
        yield Remark("energy-unit", "energy", False, message, f"Give --energy-unit {typed}.")
    for place, needed, turned in zip((1, 2), found.needed, first.signs, strict=True):
        sign = " with the opposite sign" if turned < 0 else ""
        if first.units[place] != EXPECTED[place] or sign:
            message = f"{evidence} fit it as {names[place]}{sign}"
            yield Remark(_CODES[place], _COLUMNS[place], False, message, _advice(place, first.units[place], sign))
        elif needed:
            message = f"{evidence} confirm unit and sign (to {100 * found.error:.0f} %)"
            yield Remark(_CODES[place], _COLUMNS[place], True, message)


def _advice(place: int, unit: str, sign: str) -> str:
    if sign and place == 1:
        return "Forces are minus the gradient of the energy: turn their sign."
    typed = unit.replace("Å³", "A3").replace("Å", "A").replace("³", "3")
    return f"Say {_FLAGS[place]} {typed}{'-compression, as VASP has it' if sign else ''}."


def _net_forces(frames: Sequence[Frame]) -> Iterator[Remark]:
    """In a crystal nothing pulls at all atoms together."""
    pulled, n = [], 0
    for frame in frames:
        if frame.forces is None:
            continue
        n += 1
        net, largest = float(np.linalg.norm(frame.forces.sum(0))), float(np.linalg.norm(frame.forces, axis=1).sum())
        if net > 0.05 * largest and net > 0.01 * len(frame.forces):
            pulled.append((net, frame.crystal.id))
    if not n:
        return
    if len(pulled) > 0.02 * n:
        net, name = max(pulled)
        message = f"of {len(pulled)} of {n} crystals do not sum to zero (by {net:.3g} eV/Å in {name})"
        advice = "See that every atom of the cell has its own force; atoms that were held fixed have none."
        yield Remark("force-sum", "forces", False, message, advice)
    else:
        yield Remark("force-sum", "forces", True, f"of {n - len(pulled)} of {n} crystals sum to zero")


def _sizes(frames: Sequence[Frame]) -> Iterator[Remark]:
    """What size and trend tell of forces and stresses that no energies could be held against."""
    forces = [float(np.sqrt((frame.forces**2).mean())) for frame in frames if frame.forces is not None]
    if forces and (typical := float(np.median(forces))) > _LARGEST_FORCE:
        message = f"are {typical:.3g} eV/Å typically (root mean square), which tears any crystal apart: meV/Å?"
        yield Remark("force-unit", "forces", False, message, "Give their unit with --force-unit.")
    elif forces:
        message = "no two frames are neighbours whose energies could confirm the unit and sign"
        yield Remark("force-unit", "forces", None, f"{message}; {typical:.3g} eV/Å typically is plausible")
    stresses = [float(np.abs(frame.stress).max()) for frame in frames if frame.stress is not None]
    if stresses:
        yield _stress(float(np.median(stresses)), frames)


def _stress(typical: float, frames: Sequence[Frame]) -> Remark:
    code, column, in_gpa = "stress-unit", "stress", typical / STRESS["GPa"]
    found = stiffness(frames)
    if found is None or found.agreement < 0.8:
        if typical > _LARGEST_STRESS:
            message = f"{typical:.3g} eV/Å³ typically, or {in_gpa:,.0f} GPa, which no crystal is under: GPa or kbar?"
            return Remark(code, column, False, message, "Give its unit with --stress-unit.")
        message = f"no cells of one formula at several volumes could tell unit and sign; {in_gpa:.3g} GPa typically"
        return Remark(code, column, None, message)
    units = found.units()
    modulus = abs(found.modulus) / STRESS["GPa"]
    evidence = f"{found.n_families} formula{'s' if found.n_families > 1 else ''} at several volumes"
    wrong_sign = found.modulus < 0
    if "eV/Å³" in units and not wrong_sign and typical <= _LARGEST_STRESS:
        return Remark(
            code, column, True, f"{evidence} have a bulk modulus of {modulus:.3g} GPa: unit and sign are right"
        )
    sign = ", and compressed cells have positive stress" if wrong_sign else ""
    if "eV/Å³" in units and wrong_sign:
        message = f"{evidence} have a bulk modulus of -{modulus:.3g} GPa: compressed cells have positive stress"
        return Remark(code, column, False, message, _advice(2, "eV/Å³", "wrong"))
    names = " or ".join(units) or "another unit"
    message = f"{evidence} have a bulk modulus of {modulus:,.3g} GPa if it is eV/Å³{sign}: {names}?"
    usual = "kbar" if "kbar" in units else units[0] if units else "UNIT"
    return Remark(code, column, False, message, _advice(2, usual, "wrong" if wrong_sign else ""))
