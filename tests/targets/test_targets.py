"""Each target against a calculation of its own: loops over images, pymatgen's analyses, closed forms."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS, WAVELENGTHS
from pymatgen.analysis.local_env import CovalentRadius, EconNN
from pymatgen.core import Element, Lattice, Structure
from small_systems import cscl, from_spacegroup, iron, nacl, rattled, skewed, supercell

from matgl_ssl.crystals import Crystal
from matgl_ssl.crystals.elements import PROPERTIES, element_table, standardised_element_table
from matgl_ssl.crystals.readers import read_crystals
from matgl_ssl.errors import ConfigError
from matgl_ssl.targets import (
    AngularFingerprint,
    AtomBonds,
    AtomStatistics,
    AtomVibrations,
    CompositionStatistics,
    Coordination,
    CrystalBonds,
    Density,
    EwaldEnergy,
    PowderPattern,
    RadialFingerprint,
    SpaceGroup,
)
from matgl_ssl.targets.composition_statistics import FREE_ATOMS
from matgl_ssl.targets.ewald_energy import oxidation_states
from matgl_ssl.targets.space_group import _UNHANDED

ALL = [
    RadialFingerprint(), AngularFingerprint(), Coordination(), Density(), CompositionStatistics(), SpaceGroup(),
    PowderPattern(), EwaldEnergy(), AtomBonds(), CrystalBonds(), AtomVibrations(),
]  # fmt: skip


def helium_salt() -> Crystal:
    """CsCl's cell with helium, which has no electronegativity, in place of chlorine."""
    return dataclasses.replace(cscl(), numbers=np.array([55, 2]))


def oxide() -> Crystal:
    """The skewed cell as SiO2, which has oxidation states."""
    return dataclasses.replace(skewed(), numbers=np.array([14, 8, 8, 14, 8, 8]))


def images(crystal: Crystal, atom: int, cutoff: float):
    """Vectors to, and elements of, all neighbours, by walking over the images."""
    heights = crystal.volume / np.linalg.norm(np.cross(crystal.lattice[[1, 2, 0]], crystal.lattice[[2, 0, 1]]), axis=1)
    reach = np.ceil(cutoff / heights + 3).astype(int)
    for shift in itertools.product(*(range(-n, n + 1) for n in reach)):
        for other in range(len(crystal)):
            vector = crystal.cart_coords[other] + np.array(shift) @ crystal.lattice - crystal.cart_coords[atom]
            if 1e-6 < np.linalg.norm(vector) < cutoff:
                yield vector, int(crystal.numbers[other])


def fading(r: float, cutoff: float) -> float:
    return (1 + math.cos(math.pi * r / cutoff)) / 2


# --- elements


def test_elemental_properties_are_those_of_the_table():
    table = element_table(PROPERTIES)
    assert table.shape == (119, 12)
    iron_row = dict(zip(PROPERTIES, table[26], strict=True))
    assert iron_row == pytest.approx(
        {
            "one": 1, "electronegativity": 1.83, "covalent-radius": CovalentRadius.radius["Fe"], "mass": 55.845,
            "group": 8, "period": 4, "mendeleev-number": 61, "ionization-energy": 7.902, "electron-affinity": 0.153,
            "atomic-number": 26, "atomic-radius": 1.4, "density": 7874,
        }, rel=1e-2,
    )  # fmt: skip
    of_free_atoms = table[:, [PROPERTIES.index(name) for name in FREE_ATOMS]]
    assert np.isnan(of_free_atoms[[2, 10, 18], 0]).all()  # He, Ne, Ar
    assert not np.isnan(of_free_atoms[3:10]).any()
    assert not np.isnan(np.delete(of_free_atoms[1:95], [1, 9, 17], axis=0)).any()


def test_standardised_properties_have_mean_zero_and_the_count_stays_one():
    table = standardised_element_table(PROPERTIES)[1:95]
    assert (table[:, 0] == 1).all()
    assert np.nanmean(table[:, 1:], axis=0) == pytest.approx(0, abs=1e-12)
    assert np.nanstd(table[:, 1:], axis=0) == pytest.approx(1)


def test_unknown_property_is_named():
    with pytest.raises(ConfigError, match=r"colour.*electronegativity"):
        element_table(("colour",))


# --- atoms


@pytest.mark.parametrize("make", [nacl, skewed, iron])
def test_radial_fingerprint_is_the_sum_over_images(make):
    crystal, target = make(), RadialFingerprint()
    weights = standardised_element_table(target.properties)
    result = target(crystal)
    assert result.shape == (len(crystal), target.size) == (len(crystal), 40)
    for atom in range(min(len(crystal), 3)):
        expected = np.zeros((len(target.properties), len(target.radii)))
        for vector, z in images(crystal, atom, target.cutoff):
            r = float(np.linalg.norm(vector))
            shells = [math.exp(-target.eta * (r - center) ** 2) * fading(r, target.cutoff) for center in target.radii]
            expected += np.outer(weights[z], shells)
        assert result[atom] == pytest.approx(expected.ravel(), abs=1e-9)


@pytest.mark.parametrize("make", [nacl, skewed, iron])
def test_angular_fingerprint_is_the_sum_over_pairs_of_images(make):
    crystal, target = make(), AngularFingerprint()
    weights = standardised_element_table(target.properties)
    result = target(crystal)
    assert result.shape == (len(crystal), target.size) == (len(crystal), 24)
    for atom in range(min(len(crystal), 2)):
        expected = np.zeros((len(target.properties), 2, len(target.zetas)))
        for (v, zv), (w, zw) in itertools.combinations(list(images(crystal, atom, target.cutoff)), 2):
            a, b = float(np.linalg.norm(v)), float(np.linalg.norm(w))
            radial = math.exp(-target.eta * (a * a + b * b)) * fading(a, target.cutoff) * fading(b, target.cutoff)
            cosine = max(-1.0, min(1.0, float(v @ w) / (a * b)))
            angular = [[2 ** (1 - zeta) * (1 + sign * cosine) ** zeta for zeta in target.zetas] for sign in (1, -1)]
            expected += radial * (weights[zv] * weights[zw])[:, None, None] * np.array(angular)
        assert result[atom] == pytest.approx(expected.ravel(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("make", [nacl, skewed, cscl, iron])
def test_coordination_is_that_of_pymatgen(make):
    crystal = make()
    structure, result = crystal.to_structure(), Coordination()(crystal)
    econ = EconNN(tol=0.0, cutoff=8.0)
    for atom in range(len(crystal)):
        assert result[atom, 0] == pytest.approx(min(n.nn_distance for n in structure.get_neighbors(structure[atom], 6)))
        weights = [n["weight"] for n in econ.get_nn_info(structure, atom)]
        assert result[atom, 1] == pytest.approx(sum(weights), abs=2e-3)  # pymatgen iterates to 1e-4


def test_coordination_of_known_crystals():
    diamond = from_spacegroup("Fd-3m", 3.567, ["C"], [[0, 0, 0]])
    assert Coordination()(diamond) == pytest.approx(np.array([[3.567 * math.sqrt(3) / 4, 4.0]] * 8), abs=1e-4)
    salt = from_spacegroup("Fm-3m", 5.64, ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    assert Coordination()(salt) == pytest.approx(np.array([[2.82, 6.0]] * 8), abs=5e-2)


def test_lone_atoms_have_no_coordination_and_an_empty_fingerprint():
    lone = Crystal(np.array([18]), np.zeros((1, 3)), 9 * np.eye(3))
    assert np.isnan(Coordination()(lone)).all()
    for target in (RadialFingerprint(), AngularFingerprint()):
        assert (target(lone) == 0).all()
    apart = Crystal(np.array([6, 6, 8]), np.array([[0, 0, 0], [0.12, 0, 0], [0.5, 0.5, 0.5]]), 10 * np.eye(3))
    assert Coordination()(apart)[:2] == pytest.approx(np.array([[1.2, 1.0]] * 2))
    assert np.isnan(Coordination()(apart)[2]).all()


@pytest.mark.parametrize("target", [RadialFingerprint(), AngularFingerprint()])
def test_what_a_neighbour_lacks_is_missing_in_its_columns_only(target):
    columns = target(helium_salt()).reshape(2, len(target.properties), -1)
    missing = np.isnan(columns).any(axis=(0, 2))
    assert dict(zip(target.properties, missing, strict=True))["electronegativity"]
    assert missing.sum() == 1
    assert np.isfinite(columns[:, ~missing]).all()


# --- crystals


def test_density_is_that_of_pymatgen():
    crystal = skewed()
    structure = crystal.to_structure()
    density, volume, packing = Density()(crystal)
    assert density == pytest.approx(structure.density, rel=1e-4)
    assert volume == pytest.approx(structure.volume / 6)
    radii = [CovalentRadius.radius[s] for s in crystal.symbols]
    assert packing == pytest.approx(sum(4 / 3 * math.pi * r**3 for r in radii) / structure.volume)


def test_touching_spheres_fill_what_kepler_said():
    a = 2 * math.sqrt(2) * CovalentRadius.radius["Cu"]
    assert Density()(from_spacegroup("Fm-3m", a, ["Cu"], [[0, 0, 0]]))[2] == pytest.approx(math.pi / math.sqrt(18))


def test_composition_statistics_are_those_over_atoms():
    crystal, target = skewed(), CompositionStatistics()
    result = target(crystal).reshape(3, -1)
    elements = [Element(s) for s in crystal.symbols]
    for name, get in (
        ("electronegativity", lambda e: e.X), ("mass", lambda e: float(e.atomic_mass)), ("group", lambda e: e.group),
        ("period", lambda e: e.row), ("mendeleev-number", lambda e: e.mendeleev_no),
    ):  # fmt: skip
        values = np.array([get(e) for e in elements], dtype=float)
        expected = [values.mean(), values.max() - values.min(), math.sqrt(((values - values.mean()) ** 2).mean())]
        assert result[:, target.properties.index(name)] == pytest.approx(expected)
    missing = np.isnan(CompositionStatistics()(helium_salt()).reshape(3, -1))
    assert [name for name, m in zip(target.properties, missing.T, strict=True) if m.any()] == ["electronegativity"]


@pytest.mark.parametrize(("make", "number"), [(cscl, 221), (iron, 229), (skewed, 1)])
def test_space_groups_that_are_known(make, number):
    assert SpaceGroup()(make()).tolist() == [number]


def test_space_group_of_coincident_atoms_is_missing():
    assert np.isnan(SpaceGroup()(Crystal(np.array([1, 1]), np.zeros((2, 3)), 3 * np.eye(3)))).all()


@pytest.mark.data
def test_space_groups_are_those_of_the_data(data_dir):
    crystals = read_crystals(data_dir / "mp37k" / "val.parquet", columns=["spacegroup"])
    rows = np.random.default_rng(0).choice(len(crystals), 300, replace=False)
    chosen = crystals.rows(rows)
    expected = [int(c.labels["spacegroup"]) for c in chosen]
    assert [SpaceGroup()(c)[0] for c in chosen] == [_UNHANDED.get(number, number) for number in expected]


def scattered(crystal: Crystal, target: PowderPattern) -> np.ndarray:
    """Kinematic intensities, one reflection after the other."""
    wavelength, (low, high) = WAVELENGTHS["CuKa"], target.two_theta
    width = (high - low) / target.n_bins
    centers = low + width * (np.arange(target.n_bins) + 0.5)
    reciprocal, pattern = np.linalg.inv(crystal.lattice).T, np.zeros(target.n_bins)
    most = np.ceil(np.linalg.norm(crystal.lattice, axis=1) * 2 / wavelength).astype(int)
    for hkl in itertools.product(*(range(-n, n + 1) for n in most)):
        s = np.linalg.norm(np.array(hkl) @ reciprocal) / 2
        if not 0 < s * wavelength < math.sin(math.radians(high + 4 * width) / 2):
            continue
        theta = math.asin(s * wavelength)
        amplitude = 0.0
        for z, x in zip(crystal.numbers, crystal.frac_coords, strict=True):
            terms = ATOMIC_SCATTERING_PARAMS[Element.from_Z(int(z)).symbol]
            form = z - 41.78214 * s**2 * sum(a * math.exp(-b * s**2) for a, b in terms)
            amplitude += form * np.exp(2j * math.pi * (np.array(hkl) @ x))
        lorentz = (1 + math.cos(2 * theta) ** 2) / (math.sin(theta) ** 2 * math.cos(theta))
        pattern += abs(amplitude) ** 2 * lorentz * np.exp(-0.5 * ((centers - math.degrees(2 * theta)) / width) ** 2)
    return pattern / pattern.sum()


@pytest.mark.parametrize("make", [cscl, iron, skewed])
def test_powder_pattern_is_that_of_the_reflections(make):
    result = PowderPattern()(make())
    assert result.shape == (40,)
    assert result.sum() == pytest.approx(1)
    assert result == pytest.approx(scattered(make(), PowderPattern()), abs=2e-5)  # pymatgen drops the weakest peaks


def test_powder_pattern_without_form_factors_is_missing():
    assert np.isnan(PowderPattern()(dataclasses.replace(iron(), numbers=np.array([110])))).all()


@pytest.mark.parametrize(
    ("group", "species", "coords", "a", "bond", "madelung", "charge"),
    [
        ("Fm-3m", ["Na", "Cl"], [[0, 0, 0], [0.5] * 3], 5.64, 0.5, 1.747565, 1),
        ("Pm-3m", ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3], 4.12, math.sqrt(3) / 2, 1.762675, 1),
        ("F-43m", ["Zn", "S"], [[0, 0, 0], [0.25] * 3], 5.41, math.sqrt(3) / 4, 1.638055, 2),
        ("Fm-3m", ["Mg", "O"], [[0, 0, 0], [0.5] * 3], 4.21, 0.5, 1.747565, 2),
    ],
)
def test_ewald_energy_is_madelungs(group, species, coords, a, bond, madelung, charge):
    crystal = from_spacegroup(group, a, species, coords)
    expected = -madelung * charge**2 * 14.399645 / (a * bond) / 2
    assert EwaldEnergy()(crystal) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("numbers", [[26, 26], [3, 55], [17, 17]])
def test_without_a_charged_guess_there_is_no_ewald_energy(numbers):
    assert np.isnan(EwaldEnergy()(dataclasses.replace(cscl(), numbers=np.array(numbers)))).all()


def test_oxidation_states_are_guessed_once_a_formula_and_not_for_long_ones():
    oxidation_states.cache_clear()
    for crystal in (nacl(), supercell(nacl(), (2, 1, 1)), nacl()):
        EwaldEnergy()(crystal)
    assert oxidation_states.cache_info().misses == 1
    assert oxidation_states("Fe3O4", 40) == pytest.approx({"Fe": 8 / 3, "O": -2})
    assert oxidation_states("Fe3O4", 6) is None


# --- all


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.diag(r)) * np.sign(np.linalg.det(q * np.sign(np.diag(r))))


def permuted(crystal: Crystal):
    order = np.random.default_rng(1).permutation(len(crystal))
    return Crystal(crystal.numbers[order], crystal.frac_coords[order], crystal.lattice), order


def translated(crystal: Crystal):
    return dataclasses.replace(crystal, frac_coords=crystal.frac_coords + np.array([0.3, -1.2, 0.77])), np.arange(
        len(crystal)
    )


def rotated(crystal: Crystal):
    return dataclasses.replace(crystal, lattice=crystal.lattice @ rotation(2)), np.arange(len(crystal))


def repeated(crystal: Crystal):
    return supercell(crystal, (2, 1, 2)), np.tile(np.arange(len(crystal)), 4)


@pytest.mark.parametrize("target", ALL, ids=lambda t: t.name)
@pytest.mark.parametrize("change", [permuted, translated, rotated, repeated])
@pytest.mark.parametrize("make", [oxide, lambda: rattled(cscl(), 0.3, seed=6)], ids=["oxide", "rattled"])
def test_targets_do_not_depend_on_how_the_crystal_is_written_down(target, change, make):
    crystal = make()
    changed, origin = change(crystal)
    before, after = target(crystal), target(changed)
    assert before.shape == ((len(crystal), target.size) if target.level == "atom" else (target.size,))
    assert after == pytest.approx(before[origin] if target.level == "atom" else before, rel=1e-5, abs=1e-6)
    assert np.isfinite(before).all()


def test_columns_tell_targets_apart():
    assert len({t.column for t in [*ALL, RadialFingerprint(cutoff=6.0)]}) == len(ALL) + 1
    assert RadialFingerprint() == RadialFingerprint()


def test_structures_of_pymatgen_agree():
    """Against a structure written by pymatgen in another setting of the same lattice."""
    lattice = Lattice.hexagonal(3.2, 5.2)
    zno = Structure.from_spacegroup("P6_3mc", lattice, ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]])
    one, other = Crystal.from_structure(zno), Crystal.from_structure(zno.get_reduced_structure("niggli"))
    for target in ALL:
        if target.level == "crystal":
            assert target(other) == pytest.approx(target(one), rel=1e-5, abs=1e-6)
    assert SpaceGroup()(one) == 186


def test_statistics_of_atoms_leave_out_atoms_of_which_something_is_unknown():
    crystal = rattled(nacl(), 0.1, seed=1)
    bonds, statistics = AtomBonds()(crystal), AtomStatistics()(crystal)
    assert statistics.shape == (AtomStatistics().size,)
    np.testing.assert_allclose(statistics[:16], [*bonds.min(0), *bonds.max(0), *bonds.mean(0), *bonds.std(0)])
    assert np.isnan(AtomStatistics()(helium_salt())[:16]).all()
