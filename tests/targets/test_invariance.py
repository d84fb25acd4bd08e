"""No target depends on how a crystal is written down, or invents a number."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from pymatgen.core import Lattice
from small_systems import rattled

from matgl_ssl import targets
from matgl_ssl.crystals import Crystal
from matgl_ssl.targets import Target
from matgl_ssl.testing import TargetTests
from matgl_ssl.testing.targets import CRYSTALS, DESCRIPTIONS, turned


class TestTargets(TargetTests):
    targets: ClassVar[list[Target]] = [
        targets.AngularFingerprint(), targets.AtomBonds(), targets.AtomTightBinding(), targets.AtomVibrations(),
        targets.CompositionStatistics(), targets.Coordination(), targets.CrystalBonds(), targets.CrystalTightBinding(),
        targets.CrystalVibrations(), targets.Density(), targets.Elasticity(), targets.EwaldEnergy(),
        targets.PowderPattern(), targets.PromolecularDensity(), targets.RadialFingerprint(), targets.Slab(),
        targets.SpaceGroup(), targets.VibrationalSpectrum(),
    ]  # fmt: skip


def test_statistics_of_atoms_do_not_depend_on_the_description():
    """To 1e-5 of their spread: rounding shows in deviations of atoms that are nearly alike."""
    statistics = targets.AtomStatistics()
    spread = np.nanstd([statistics(crystal) for crystal in CRYSTALS.values()], axis=0)
    for crystal in CRYSTALS.values():
        for describe in DESCRIPTIONS.values():
            difference = np.abs(statistics(describe(crystal)[0]) - statistics(crystal))
            assert not (difference > 1e-5 * np.where(spread > 1e-12, spread, 1.0)).any()


def test_sodium_has_no_gap_in_any_cell():
    gap = targets.CrystalTightBinding()
    for describe in DESCRIPTIONS.values():
        assert gap(describe(CRYSTALS["bcc"])[0])[0] == 0


def test_space_groups_near_the_tolerance_do_not_depend_on_the_order_of_the_atoms():
    """Displacements of about 0.1 Å, where spglib finds another group when it starts from another atom."""
    perovskite = Crystal(
        np.array([38, 22, 8, 8, 8]),
        np.array([[0.5] * 3, [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]),
        3.9 * np.eye(3),
    )
    group, rng = targets.SpaceGroup(), np.random.default_rng(0)
    for seed in range(25):
        crystal = rattled(perovskite, 0.04, seed=seed)
        orders = [rng.permutation(5) for _ in range(4)]
        found = {group(Crystal(crystal.numbers[o], crystal.frac_coords[o], crystal.lattice))[0] for o in orders}
        assert len(found) == 1, (seed, found)


@pytest.mark.parametrize("handed", [1, -1])
def test_mirror_images_have_one_space_group(handed):
    """Selenium, three atoms around a screw axis to the left or to the right."""
    lattice = np.array(Lattice.hexagonal(4.37, 4.95).matrix)
    x = 0.225
    selenium = Crystal(np.full(3, 34), np.array([[x, 0, 1 / 3], [0, x, 2 / 3], [-x, -x, 0]]), lattice)
    assert targets.SpaceGroup()(turned(np.diag([1, 1, handed]))(selenium)[0]) == 152
