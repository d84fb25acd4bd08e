"""Labels against physics: what is wrong is caught, what is right is confirmed, and no more is said than is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from strained_metals import labelled, metals

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.physics import extent, named_extent, physics, says_per_atom, trained_extent
from matgl_ssl.crystals.physics.frames import frames_of
from matgl_ssl.crystals.physics.stiffness import stiffness
from matgl_ssl.crystals.physics.work import work

GPA, KBAR, HARTREE, BOHR = 160.21766, 1602.1766, 27.211386, 0.529177


def problems(crystals: CrystalDataset) -> dict[str, str]:
    return {remark.subject: str(remark) for remark in physics(crystals) if remark.ok is False}


def times(factor):
    return lambda label, crystal: label * factor


def one_size(crystal):
    return len(crystal) == 8


class TestWhatIsRight:
    def test_is_confirmed(self):
        remarks = physics(labelled())
        assert all(remark.ok for remark in remarks), list(map(str, remarks))
        assert {remark.code for remark in remarks} == {"extent", "force-sum", "force-unit", "stress-unit"}

    @pytest.mark.parametrize("names", [["energy"], ["forces"], ["stress"], ["energy", "forces"], ["forces", "stress"]])
    def test_is_not_accused_by_part_of_the_labels(self, names):
        assert not problems(labelled(*names))

    def test_differences_of_energy_need_both_works(self):
        found = work(frames_of(labelled()))
        assert found.n_pairs > 50
        assert found.needed == (True, True)
        assert found.error < 0.5

    def test_bulk_moduli_are_those_of_the_metals(self):
        assert 30 < stiffness(frames_of(labelled("stress"))).modulus * GPA < 250


class TestStresses:
    @pytest.mark.parametrize(
        ("factor", "said"),
        [(GPA, "GPa"), (KBAR, "kbar"), (-1, "opposite sign"), (-KBAR, "kbar with the opposite sign")],
    )
    def test_unit_and_sign_show_in_the_energies(self, factor, said):
        found = problems(labelled(stress=times(factor)))
        assert found.keys() == {"stress"}
        assert said in found["stress"]
        assert ("-compression" in found["stress"]) == (factor < 0)

    @pytest.mark.parametrize(
        ("factor", "said"),
        [
            (GPA, "GPa"),
            (KBAR, "kbar"),
            (-1, "compressed cells have positive"),
            (-KBAR, "--stress-unit kbar-compression"),
        ],
    )
    def test_or_without_energies_in_the_bulk_moduli(self, factor, said):
        assert said in problems(labelled("stress", stress=times(factor)))["stress"]

    def test_a_single_crystal_can_only_be_too_large(self):
        alone = {"only": lambda crystal: crystal.id == "Cu4-0"}
        assert physics(labelled("stress", **alone))[0].ok is None
        assert "GPa or kbar" in problems(labelled("stress", stress=times(10 * KBAR), **alone))["stress"]


class TestForces:
    def test_of_the_wrong_sign(self):
        assert "opposite sign" in problems(labelled(forces=times(-1)))["forces"]

    def test_that_do_not_sum_to_zero(self):
        found = problems(labelled("forces", forces=lambda label, crystal: label + 0.3))
        assert "54 of 54 crystals do not sum to zero" in found["forces"]

    def test_in_millielectronvolts(self):
        assert "meV" in problems(labelled("energy", "forces", forces=times(1000)))["forces"]
        assert "meV" in problems(labelled("forces", forces=times(1000)))["forces"]

    def test_of_other_crystals_are_no_evidence(self):
        forces = [crystal.labels["forces"] for crystal in metals()]
        shuffled = {c.id: forces[(i // 6) * 6 + (i + 1) % 6] for i, c in enumerate(metals())}
        assert work(frames_of(labelled("energy", "forces", forces=lambda label, c: shuffled[c.id]))) is None


class TestEnergies:
    def test_in_hartree(self):
        assert "Ha" in problems(labelled(energy=times(1 / HARTREE)))["energy"]

    def test_and_all_in_atomic_units(self):
        units = {"energy": times(1 / HARTREE), "forces": times(BOHR / HARTREE), "stress": times(BOHR**3 / HARTREE)}
        found = problems(labelled(**units))
        assert "Ha or Ry" in found["energy"]
        assert "Ha/Bohr" in found["forces"]
        assert "Ha/Bohr³" in found["stress"]

    def test_per_atom_by_cells_of_several_sizes(self):
        found = problems(labelled("energy", energy=lambda label, crystal: label / len(crystal)))
        assert "--energy-unit eV/atom" in found["energy"]

    def test_per_atom_by_forces_where_all_cells_have_one_size(self):
        found = problems(labelled(only=one_size, energy=lambda label, crystal: label / len(crystal)))
        assert found.keys() == {"energy"}
        assert "--energy-unit eV/atom" in found["energy"]


class TestExtent:
    SIZES = np.tile([2, 4, 8, 16], 10)
    FORMULAS = tuple(f"X{i // 4}" for i in range(40))
    LABEL = np.repeat(np.random.default_rng(0).uniform(-5, -1, 10), 4)

    @pytest.mark.parametrize("noise", [0.0, 0.2])
    def test_within_formulas(self, noise):
        label = self.LABEL * (1 + np.random.default_rng(1).normal(0, noise, 40))
        assert extent(label, self.SIZES, self.FORMULAS).kind == "intensive"
        assert extent(label * self.SIZES, self.SIZES, self.FORMULAS).kind == "extensive"

    def test_over_all_crystals_where_formulas_have_one_size(self):
        sizes, names = np.random.default_rng(0).integers(2, 40, 300), list(map(str, range(300)))
        label = np.random.default_rng(1).uniform(-5, -3, 300)
        assert extent(label, sizes, names).kind == "intensive"
        assert extent(label * sizes, sizes, names).kind == "extensive"

    def test_noise_and_single_sizes_tell_nothing(self):
        noise = np.random.default_rng(2).normal(size=40) ** 3
        assert extent(noise, self.SIZES, self.FORMULAS).kind is None
        assert extent(self.LABEL, np.full(40, 8), self.FORMULAS).kind is None
        assert extent(np.zeros(40), self.SIZES, self.FORMULAS).kind is None
        assert extent(np.full(0, np.nan), np.zeros(0), []).kind is None

    def test_names_that_promise_something_else(self):
        grows = extent(self.LABEL * self.SIZES, self.SIZES, self.FORMULAS)
        stays = extent(self.LABEL, self.SIZES, self.FORMULAS)
        assert named_extent("energy_per_atom", grows).ok is False
        assert named_extent("energy", stays).ok is False
        assert named_extent("energy", grows).ok
        assert named_extent("e_form", grows).ok

    def test_training_on_it(self):
        grows = extent(self.LABEL * self.SIZES, self.SIZES, self.FORMULAS)
        stays = extent(self.LABEL, self.SIZES, self.FORMULAS)
        assert "--extensive" in str(trained_extent("energy", grows, extensive=False))
        assert "Drop --extensive" in str(trained_extent("energy", stays, extensive=True))
        assert (
            trained_extent("energy", grows, extensive=True) is trained_extent("energy", stays, extensive=False) is None
        )

    @pytest.mark.parametrize("name", ["energy_per_atom", "formation_energy_peratom", "e/atom", "Energy per atom"])
    def test_names_that_say_per_atom(self, name):
        assert says_per_atom(name)

    @pytest.mark.parametrize("name", ["energy", "atomisation_energy", "permittivity", "atoms"])
    def test_names_that_do_not(self, name):
        assert not says_per_atom(name)


def test_nothing_to_say_without_labels(tmp_path: Path):
    assert physics(CrystalDataset.from_crystals([])) == []
    assert physics(labelled("energy").select_labels([])) == []
