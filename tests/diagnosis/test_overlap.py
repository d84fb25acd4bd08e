"""Duplicates, and the overlap of two files by formula, prototype and structure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from small_systems import cscl, from_spacegroup, nacl

from matgl_ssl import doctor
from matgl_ssl.crystals import Crystal
from matgl_ssl.diagnosis.prototypes import prototypes


def doubled(crystal: Crystal) -> Crystal:
    return Crystal.from_structure(crystal.to_structure() * (1, 1, 2), id=f"{crystal.id}-doubled")


def shifted(crystal: Crystal) -> Crystal:
    return replace(crystal, frac_coords=crystal.frac_coords + np.array([0.1, 0.2, 0.3]), id=f"{crystal.id}-shifted")


ROCK_SALT = from_spacegroup("Fm-3m", 5.6, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]], id="NaCl")
POLYMORPH = from_spacegroup("Pm-3m", 3.4, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]], id="NaCl-B2")
PERICLASE = from_spacegroup("Fm-3m", 4.2, ["Mg", "O"], [[0.5, 0.5, 0.5], [0, 0, 0]], id="MgO")


def test_supercells_and_shifts_are_duplicates():
    crystals = [nacl(), cscl(), doubled(nacl()), shifted(cscl()), PERICLASE]
    report = doctor(data=crystals)
    assert report.duplicates.repeats == 2
    assert set(report.duplicates.examples) == {("nacl-doubled", "nacl"), ("cscl-shifted", "cscl")}
    assert [r.code for r in report.remarks] == ["duplicates"]
    assert not report.problems


def test_prototypes_are_aflows():
    assert prototypes([ROCK_SALT, PERICLASE, POLYMORPH]) == ["AB_cF8_225_a_b", "AB_cF8_225_a_b", "AB_cP2_221_a_b"]
    assert prototypes([doubled(ROCK_SALT), shifted(ROCK_SALT)]) == ["AB_cF8_225_a_b"] * 2


def test_overlap_by_each_level():
    other = [ROCK_SALT, cscl()]
    same_formula = doctor(data=[POLYMORPH], compare_with=other).overlap
    assert (same_formula.formula, same_formula.prototype, same_formula.structure) == (1, 1, 0)  # CsCl's prototype
    same_prototype = doctor(data=[PERICLASE], compare_with=other).overlap
    assert (same_prototype.formula, same_prototype.prototype, same_prototype.structure) == (0, 1, 0)
    report = doctor(data=[shifted(doubled(ROCK_SALT)), nacl()], compare_with=other)
    assert (report.overlap.formula, report.overlap.structure) == (2, 1)
    assert report.overlap.examples == (("NaCl-doubled-shifted", "NaCl"),)
    assert "1 of 2 of them as structures" in report.problems[0].message


def test_no_overlap_is_no_problem():
    report = doctor(data=[PERICLASE], compare_with=[cscl()])
    assert (report.overlap.formula, report.overlap.prototype, report.overlap.structure) == (0, 0, 0)
    assert not report.problems
