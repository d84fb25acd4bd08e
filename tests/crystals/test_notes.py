"""What readers cannot keep, and what libraries warn of, is said once with a count."""

from __future__ import annotations

import json
import logging
import warnings

import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from pymatgen.core import Lattice, Structure

from matgl_ssl.crystals import Crystal, read_crystals
from matgl_ssl.crystals.notes import Notes


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, "matgl_ssl")
    return lambda: [message.partition(": ")[2] for message in caplog.messages]


def one(species) -> Structure:
    return Structure(Lattice.cubic(4.3), [species, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def decorated(nacl: Structure) -> Structure:
    nacl = nacl.copy()
    nacl.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    nacl.add_site_property("magmom", [0.5] * len(nacl))
    nacl.add_site_property("selective_dynamics", [[True, True, False]] * len(nacl))
    return nacl


def test_oxidation_states_moments_and_constraints(nacl, said):
    frozen = bulk("Cu", cubic=True)
    frozen.set_constraint(FixAtoms([0]))
    frozen.set_initial_magnetic_moments([1.0] * 4)
    assert len(read_crystals([nacl, decorated(nacl), decorated(nacl), frozen])) == 4
    assert set(said()) == {
        "oxidation states are left behind (2 crystals, 1 first).",
        "magnetic moments are left behind (3 crystals, 1 first).",
        "selective dynamics are left behind (2 crystals, 1 first).",
        "constraints are left behind (3).",
    }


def test_isotopes_and_occupancies_that_almost_are_one(said):
    read_crystals([one("D"), one({"Fe": 0.9999}), one({"Fe": 1 - 1e-8})])
    assert set(said()) == {
        "isotopes are left behind (0).",
        "occupancies that almost are 1 are left behind (1).",
    }


def test_what_has_nothing_to_lose_is_read_in_silence(nacl, quartz, said):
    read_crystals([nacl, quartz, bulk("Cu")])
    assert said() == []


def test_warnings_of_libraries_that_differ_in_numbers_are_one(nacl, said):
    notes = Notes()
    with notes.listening():
        for i in range(3):
            warnings.warn(f"{i + 1} coordinates rounded", stacklevel=1)
            notes.about(Crystal.from_structure(nacl, id=str(i)), nacl)
    notes.tell("s")
    assert said() == ["1 coordinates rounded (3 crystals, 0 first)."]


def test_kinds_of_warnings_are_not_told_without_end(nacl, said):
    notes = Notes()
    for i in range(100):
        with notes.listening():
            warnings.warn("about " + "x" * (i + 1), stacklevel=1)
        notes.about(Crystal.from_structure(nacl, id=str(i)), nacl)
    notes.tell("s")
    assert len(said()) == 21


def test_what_is_not_read_is_not_remarked(tmp_path, nacl, said):
    alloy = decorated(nacl)
    alloy[0] = {"Na+": 0.5, "K+": 0.5}
    rows = [{"structure": each.as_dict()} for each in (alloy, nacl)]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    assert len(read_crystals(tmp_path / "x.json")) == 1
    assert not any("left behind" in message for message in said())
