"""The suite of targets: none depends on how a crystal is written down, and none invents a number."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest

from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.crystals.readers import read_crystals
from matgl_ssl.targets import Target, with_targets

from .systems import cscl, iron, nacl, rattled, skewed

Description = Callable[[Crystal], tuple[Crystal, np.ndarray]]
"""The crystal described in another way, and of each atom there, which it is here."""


def in_cell(*rows: tuple[int, int, int]) -> Description:
    """In the cell of other lattice vectors, given in lattice vectors."""
    matrix = np.array(rows)

    def describe(crystal: Crystal) -> tuple[Crystal, np.ndarray]:
        reach = np.abs(matrix).sum() + 1
        points = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
        inside = points @ np.linalg.inv(matrix)
        points = points[((inside > -1e-9) & (inside < 1 - 1e-9)).all(axis=1)]
        places = (crystal.frac_coords[None] + points[:, None]).reshape(-1, 3) @ np.linalg.inv(matrix)
        n = len(points)
        return Crystal(np.tile(crystal.numbers, n), places, matrix @ crystal.lattice), np.tile(
            np.arange(len(crystal)), n
        )

    return describe


def moved(change: Callable[[np.ndarray], np.ndarray]) -> Description:
    """With other fractional coordinates."""
    return lambda c: (Crystal(c.numbers, change(c.frac_coords), c.lattice), np.arange(len(c)))


def turned(matrix: np.ndarray) -> Description:
    """Rotated or mirrored."""
    return lambda c: (Crystal(c.numbers, c.frac_coords, c.lattice @ matrix), np.arange(len(c)))


def permuted(crystal: Crystal) -> tuple[Crystal, np.ndarray]:
    """With the atoms in another order."""
    order = np.random.default_rng(5).permutation(len(crystal))
    return Crystal(crystal.numbers[order], crystal.frac_coords[order], crystal.lattice), order


def one_after_the_other(*descriptions: Description) -> Description:
    """Described in another way, and that in another."""

    def describe(crystal: Crystal) -> tuple[Crystal, np.ndarray]:
        atoms = np.arange(len(crystal))
        for description in descriptions:
            crystal, order = description(crystal)
            atoms = atoms[order]
        return crystal, atoms

    return describe


ROTATION = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))[0]
DESCRIPTIONS: dict[str, Description] = {
    "permuted": permuted,
    "shifted": moved(lambda x: x + np.array([0.1234, -0.37, 0.77])),
    "wrapped otherwise": moved(lambda x: x + np.random.default_rng(6).integers(-3, 4, x.shape)),
    "rotated": turned(ROTATION),
    "mirrored": turned(ROTATION @ np.diag([1, 1, -1])),
    "rounded": moved(lambda x: x + np.random.default_rng(8).normal(0, 1e-11, x.shape)),
    "axes cycled": in_cell((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    "left-handed": in_cell((0, 1, 0), (1, 0, 0), (0, 0, 1)),
    "sheared": in_cell((1, 0, 0), (1, 1, 0), (0, 0, 1)),
    "skewed": in_cell((1, 0, 0), (0, 1, 0), (7, -3, 1)),
    "body-centred": in_cell((0, 1, 1), (1, 0, 1), (1, 1, 0)),
    "face-centred": in_cell((-1, 1, 1), (1, -1, 1), (1, 1, -1)),
    "repeated": in_cell((2, 0, 0), (0, 1, 0), (0, 0, 1)),
    "repeated obliquely": in_cell((1, 1, 0), (-1, 1, 0), (0, 0, 1)),
}
DESCRIPTIONS["all of it"] = one_after_the_other(
    DESCRIPTIONS["body-centred"], permuted, DESCRIPTIONS["shifted"], DESCRIPTIONS["rotated"], DESCRIPTIONS["sheared"]
)


def _lattice_of(a: float, b: float, c: float, alpha: float, beta: float, gamma: float) -> np.ndarray:
    from pymatgen.core import Lattice

    return np.array(Lattice.from_parameters(a, b, c, alpha, beta, gamma).matrix)


def _battery() -> dict[str, Crystal]:
    """One of each kind of lattice whose reduced cell is not unique, and round numbers where targets have edges."""
    from ase.build import bulk

    sodium, copper, salt, zinc, oxide = read_crystals(
        [bulk("Na", "bcc", a=4.29), bulk("Cu", "fcc", a=3.61), bulk("NaCl", "rocksalt", a=5.64),
         bulk("Zn", "hcp", a=2.66, c=4.95), bulk("ZnO", "wurtzite", a=3.25, c=5.2, u=0.38)]
    )  # fmt: skip
    tetragonal = np.array([[-1.9, 1.9, 4.75], [1.9, -1.9, 4.75], [1.9, 1.9, -4.75]])
    anatase = Crystal(
        np.array([22, 22, 8, 8, 8, 8]),
        np.array([[0, 0, 0], [0.75, 0.25, 0.5], [0.208] * 2 + [0], [0.792] * 2 + [0],
                  [0.958, 0.458, 0.5], [0.542, 0.042, 0.5]]),
        tetragonal,
    )  # fmt: skip
    layers = Crystal(np.array([42, 16, 16]), np.array([[0, 0, 0], [0.3, 0.3, 0.25], [0.7, 0.7, 0.75]]),
                     _lattice_of(3.1, 3.1, 11.0, 90, 90, 84.0))  # fmt: skip
    return {
        "bcc": sodium, "fcc": copper, "rocksalt": salt, "hcp": zinc, "wurtzite": oxide, "body-centred": anatase,
        "layers": layers, "triclinic": skewed(), "rattled": rattled(cscl(), 0.2, seed=3),
        "4 Å": Crystal(np.array([3]), np.zeros((1, 3)), 4.0 * np.eye(3)),
        "6 Å": Crystal(np.array([55]), np.zeros((1, 3)), 6.0 * np.eye(3)),
        "4.8 Å": Crystal(np.array([11, 17]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), np.diag([4.8, 4.8, 8.0])),
    }  # fmt: skip


CRYSTALS = _battery()


class TargetTests:
    """What every target must keep: inherit it and say which targets.

    Attributes:
        targets: They are compared with themselves, to a millionth of their spread over the crystals.
    """

    targets: ClassVar[list[Target]]

    @pytest.fixture(scope="class")
    def expected(self) -> dict[str, list[np.ndarray]]:
        """Of each crystal, what each target gives."""
        return {kind: [target(crystal) for target in self.targets] for kind, crystal in CRYSTALS.items()}

    @pytest.mark.parametrize("name", DESCRIPTIONS)
    def test_the_description_does_not_matter(self, name: str, expected: dict[str, list[np.ndarray]]) -> None:
        """Whatever cell, origin, orientation, order of atoms or rounding a crystal is given in."""
        spreads = [np.nanstd(np.vstack(values), axis=0) for values in zip(*expected.values(), strict=True)]
        for kind, crystal in CRYSTALS.items():
            described, atoms = DESCRIPTIONS[name](crystal)
            for target, values, spread in zip(self.targets, expected[kind], spreads, strict=True):
                found, wanted = target(described), values[atoms] if target.level == "atom" else values
                assert found.shape == wanted.shape
                assert (np.isnan(found) == np.isnan(wanted)).all(), (target.name, kind)
                difference = np.abs(found - wanted) / np.where(spread > 1e-12, spread, 1.0)
                assert not (difference > 1e-6).any(), (target.name, kind, np.nanmax(difference))

    def test_crystals_of_the_battery_are_told_apart(self, expected: dict[str, list[np.ndarray]]) -> None:
        """A target that is the same for all crystals teaches nothing."""
        for target, values in zip(self.targets, zip(*expected.values(), strict=True), strict=True):
            assert np.nanmax(np.nanstd(np.vstack(values), axis=0)) > 1e-3, target.name

    def test_what_cannot_be_computed_is_missing(self) -> None:
        """NaN for odd crystals, neither an error nor an infinite number."""
        lone = Crystal(np.array([18]), np.zeros((1, 3)), 30 * np.eye(3))
        superheavy = Crystal(np.array([110]), np.zeros((1, 3)), 3 * np.eye(3))
        for target in self.targets:
            for crystal in (lone, superheavy, iron()):
                values = target(crystal)
                assert values.shape == ((len(crystal), target.size) if target.level == "atom" else (target.size,))
                assert not np.isinf(values).any(), target.name

    def test_it_says_what_it_is(self) -> None:
        """A name and a version, equal when its fields are, and a copy in another process is the same column."""
        for target in self.targets:
            assert target.name
            assert isinstance(target.version, int)
            copy = dataclasses.replace(target)
            assert (copy, hash(copy), copy.column) == (target, hash(target), target.column)
            if target.parallel:
                assert pickle.loads(pickle.dumps(target)).column == target.column  # noqa: S301 - made here

    def test_columns_are_what_it_computes(self) -> None:
        """Through the cache and back, for several crystals at once."""
        table = CrystalDataset.from_crystals([nacl(), skewed(), iron()])
        for _ in range(2):  # the second time from the cache
            found = with_targets(table, self.targets)
            for target in self.targets:
                values = zip(found.column(target.column), (nacl(), skewed(), iron()), strict=True)
                for stored, crystal in values:
                    np.testing.assert_allclose(np.ravel(stored), np.ravel(target(crystal)), rtol=1e-12, atol=1e-12)
