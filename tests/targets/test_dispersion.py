"""London dispersion by dftd4."""

from __future__ import annotations

import sys
from typing import ClassVar

import numpy as np
import pytest
from ase.build import bulk

from matgl_ssl.crystals import Crystal
from matgl_ssl.errors import ConfigError
from matgl_ssl.targets import AtomDispersion, CrystalDispersion, Target, dispersion
from matgl_ssl.testing import TargetTests

HARTREE, BOHR = 27.2114, 0.529177


class TestDispersion(TargetTests):
    targets: ClassVar[list[Target]] = [AtomDispersion(), CrystalDispersion()]

    @pytest.fixture(autouse=True, scope="class")
    def library(self):
        pytest.importorskip("dftd4")


def test_two_argon_atoms_attract_each_other_by_their_c6():
    pytest.importorskip("dftd4")
    distance = 9.0
    pair = Crystal(np.array([18, 18]), np.array([[0, 0, 0], [distance / 60, 0, 0]]), 60.0 * np.eye(3))
    energy = 2 * CrystalDispersion()(pair)[0]
    c6 = 10 ** AtomDispersion()(pair)[0, 0]
    assert c6 == pytest.approx(64.3, rel=0.03)  # Hartree Bohr⁶, from dipole oscillator strengths
    leading = -c6 / (distance / BOHR) ** 6 * HARTREE
    assert energy == pytest.approx(leading, rel=0.25)  # C8 adds some
    assert energy < leading


def test_argon_is_bound_by_it():
    """The crystal's energy of cohesion is 80 meV an atom."""
    pytest.importorskip("dftd4")
    argon = Crystal.from_atoms(bulk("Ar", "fcc", a=5.26))
    assert -0.15 < CrystalDispersion()(argon)[0] < -0.05


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dftd4", None)
    dispersion._library.cache_clear()
    dispersion._dispersion.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'matgl_ssl\[dispersion\]'"):
        CrystalDispersion()(Crystal.from_atoms(bulk("Ar", "fcc", a=5.3)))
    dispersion._library.cache_clear()
