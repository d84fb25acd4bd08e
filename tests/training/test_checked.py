"""Checks of many crystals: the same findings as of few, found once, by any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
from small_systems import cscl, iron

from matgl_ssl.crystals import Crystal, CrystalDataset, check_dataset
from matgl_ssl.errors import NothingLeftError
from matgl_ssl.training import checked as module
from matgl_ssl.training.checked import checked

LIMITS = {"element_types": ("Cs", "Cl", "Fe"), "cutoff": 5.0, "min_distance": 0.5}


@pytest.fixture
def crystals(monkeypatch) -> CrystalDataset:
    monkeypatch.setattr(module, "FEW", 5)
    monkeypatch.setattr(module, "_CHUNK", 4)
    close = Crystal(np.array([26, 26]), np.array([[0.0, 0, 0], [0, 0, 0.01]]), 3.0 * np.eye(3))
    unknown = Crystal(np.array([14]), np.zeros((1, 3)), 3.0 * np.eye(3))
    made = [cscl(), close, iron(), unknown, *[close] * 4, iron(), cscl()]
    return CrystalDataset.from_crystals(
        [Crystal(c.numbers, c.frac_coords, c.lattice, id=f"c{i}") for i, c in enumerate(made)]
    )


@pytest.mark.parametrize("selected", [False, True])
def test_the_same_as_check_dataset_and_only_once(crystals, monkeypatch, selected):
    crystals = crystals.select([9, 8, 7, 3, 2, 1, 0]) if selected else crystals
    expected, report = check_dataset(crystals, **LIMITS)
    first, found = checked(crystals, num_workers=2, **LIMITS)
    assert first.ids == expected.ids
    assert found == report
    monkeypatch.setattr(module, "parallel", lambda *args, **kwargs: pytest.fail("checked again"))
    again, found = checked(crystals, **LIMITS)
    assert (again.ids, found) == (expected.ids, report)


def test_other_limits_and_other_names_are_other_checks(crystals):
    assert len(checked(crystals, **LIMITS)[0]) == 4
    assert len(checked(crystals, **{**LIMITS, "element_types": ("Fe",)})[0]) == 2
    renamed = CrystalDataset.from_crystals(
        [Crystal(c.numbers, c.frac_coords, c.lattice, id=f"d{i}") for i, c in enumerate(crystals)]
    )
    assert {finding.id[0] for finding in checked(renamed, **LIMITS)[1].findings} == {"d"}


def test_nothing_left_is_said_as_ever(crystals):
    with pytest.raises(NothingLeftError, match="nothing left of 10 crystals"):
        checked(crystals, **{**LIMITS, "element_types": ("H",)})
