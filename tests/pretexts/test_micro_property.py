"""Micro-properties of masked atoms, and the tables behind them."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet
import pytest
import torch
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from small_systems import ELEMENTS, cscl, from_spacegroup, iron, nacl, rattled, skewed, small_encoder, small_model

from matgl_ssl.backends import MASK, Potential
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ConfigError, DataError
from matgl_ssl.hub import save_model
from matgl_ssl.pretexts import Mixture
from matgl_ssl.pretexts.element_tables import ATOMIC_STIFFNESS, atomic_stiffness, valence_electrons
from matgl_ssl.pretexts.masked_atoms import MaskedAtoms
from matgl_ssl.pretexts.micro_property import MicroProperty
from matgl_ssl.targets import with_targets
from matgl_ssl.testing import answer, assert_two_processes_agree, losses_while_learning, view_batches

GPA = 160.21766
NAMES = ("M3GNet", "MEGNet")
URANIUM = from_spacegroup("Fm-3m", 4.9, ["U", "C"], [[0, 0, 0], [0.5] * 3], id="uc")
CRYSTALS = [nacl(), cscl(), skewed(), URANIUM, rattled(nacl(), 0.1, seed=5)]


# --- tables


def test_the_stiffness_table_has_the_62_published_elements():
    values = np.array(list(ATOMIC_STIFFNESS.values()))
    assert len(values) == 62
    assert (round(values.mean(), 2), round(values.std(), 2), values.max()) == (12.0, 8.63, ATOMIC_STIFFNESS["Os"])
    for symbol in ("H", "He", "Xe", "La", "Lu", "Po", "U"):
        assert atomic_stiffness(symbol) is None


def test_diamonds_bulk_modulus_follows_from_its_stiffness():
    assert GPA * ATOMIC_STIFFNESS["C"] / 5.67 == pytest.approx(443, rel=0.03)


@pytest.mark.data
@pytest.mark.parametrize(("symbol", "spacegroup"), [("Os", 194), ("W", 229), ("Fe", 229)])
def test_metals_bulk_moduli_follow_from_their_stiffness(symbol, spacegroup, data_dir):
    table = pyarrow.parquet.read_table(data_dir / "tasks" / "mp_elasticity_3191.parquet").to_pylist()
    found = []
    for row in table:
        if row["formula"] == symbol:
            lattice, coords = np.reshape(row["lattice"], (3, 3)), np.reshape(row["frac_coords"], (-1, 3))
            structure = Structure(lattice, row["numbers"], coords)
            if SpacegroupAnalyzer(structure, 0.1).get_space_group_number() == spacegroup:
                found.append((row["bulk_modulus_vrh"], structure.volume / len(structure)))
    [(modulus, volume)] = found
    assert GPA * ATOMIC_STIFFNESS[symbol] / volume == pytest.approx(modulus, rel=0.03)


@pytest.mark.parametrize(
    ("symbol", "electrons"),
    [
        ("H", 1), ("He", 2), ("Na", 1), ("Mg", 2), ("Si", 4), ("O", 6), ("Ar", 8), ("Fe", 8), ("Zn", 12), ("La", 3),
        ("Lu", 17), ("Hf", 4), ("Hg", 12), ("Tl", 3), ("Ac", 3), ("U", 6), ("Fm", 14), ("Rn", 8), ("Sc", 3),
    ],
)  # fmt: skip
def test_valence_electrons_are_those_of_dssl(symbol, electrons):
    assert valence_electrons(symbol) == electrons


# --- the pretext


def parts(pretext, encoder, crystals):
    batch = view_batches(pretext, encoder, crystals)
    mask = batch["masked"].atom[MASK]
    vectors = encoder(batch["masked"]).node[-1][mask].detach().double()
    predicted = (vectors @ pretext.head.weight.detach().double().T + pretext.head.bias.detach().double()).numpy()
    return batch, predicted, [ELEMENTS[t] for t in batch["masked"].node_type[mask].tolist()]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", ["ignore", "zero"])
def test_stiffness_is_the_mean_absolute_error_in_ev(name, missing):
    encoder = small_encoder(name)
    pretext = MicroProperty(encoder, missing=missing, fraction=0.6)
    batch, predicted, symbols = parts(pretext, encoder, CRYSTALS)
    assert "U" in symbols
    assert len(symbols) == 5 + 2 + 4 + 5 + 5
    errors = [
        abs(p - ATOMIC_STIFFNESS.get(s, 0.0))
        for p, s in zip(predicted[:, 0], symbols, strict=True)
        if missing == "zero" or s in ATOMIC_STIFFNESS
    ]
    assert answer(pretext, encoder, batch).loss.item() == pytest.approx(np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_valence_electrons_are_classified_among_17(name):
    encoder = small_encoder(name)
    pretext = MicroProperty(encoder, table="valence-electrons")
    batch, predicted, symbols = parts(pretext, encoder, CRYSTALS)
    assert predicted.shape[1] == 17
    valence = {"H": 1, "C": 4, "O": 6, "Na": 1, "Mg": 2, "Si": 4, "Cl": 7, "Fe": 8, "Cs": 1, "La": 3, "U": 6}
    labels = np.array([valence[s] - 1 for s in symbols])
    rows = np.arange(len(labels))
    expected = np.mean(np.log(np.exp(predicted).sum(1)) - predicted[rows, labels])
    output = answer(pretext, encoder, batch)
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)
    assert float(output.metrics["accuracy"]) == pytest.approx(np.mean(predicted.argmax(1) == labels))


def test_nothing_to_tell_gives_no_loss_and_no_gradient():
    encoder = small_encoder("MEGNet")
    pretext = MicroProperty(encoder)
    # Only the uranium atoms are masked.
    batch = view_batches(pretext, encoder, [URANIUM])
    batch["masked"].atom[MASK] = batch["masked"].node_type == ELEMENTS.index("U")
    output = answer(pretext, encoder, batch)
    output.loss.backward()
    assert output.loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in encoder.parameters())


def test_it_shares_the_view_of_masked_atoms():
    encoder = small_encoder("MEGNet")
    for shared in ({}, {"distances": "hidden"}, {"resample": "never"}):
        pretexts = {"a": MaskedAtoms(encoder, **shared), "b": MicroProperty(encoder, **shared)}
        assert len(Mixture(pretexts, {"a": 1.0, "b": 1.0}).views) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("table", ["atomic-stiffness", "valence-electrons"])
def test_it_can_be_learned(name, table):
    torch.manual_seed(0)
    encoder = small_encoder(name)
    losses = losses_while_learning(MicroProperty(encoder, table=table), encoder, CRYSTALS, steps=60, lr=0.02)
    assert losses[-1] < 0.5 * losses[0]


def test_a_masked_one_atom_cell_does_no_harm():
    encoder = small_encoder("M3GNet")
    pretext = MicroProperty(encoder)
    output = answer(pretext, encoder, view_batches(pretext, encoder, [iron()]))
    output.loss.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in encoder.parameters())


@pytest.fixture(scope="module")
def potential(tmp_path_factory) -> str:
    """Knows all elements of the tests but sodium and uranium."""
    elements = tuple(e for e in ELEMENTS if e not in ("Na", "U"))
    model = small_model("M3GNet", is_intensive=False, cutoff=4.0, threebody_cutoff=4.0, element_types=elements)
    folder = tmp_path_factory.mktemp("potential") / "potential"
    return str(save_model(Potential(model).eval(), folder, kind="potential", readout="trained"))


@pytest.mark.parametrize("missing", ["ignore", "zero"])
def test_environment_stiffness_is_that_of_the_atom_itself(potential, missing):
    encoder = small_encoder("MEGNet")
    pretext = MicroProperty(encoder, table="environment-stiffness", potential=potential, missing=missing, fraction=0.6)
    [target] = pretext.targets
    crystals = [skewed(), nacl()]
    table = with_targets(CrystalDataset.from_crystals(crystals), pretext.targets)
    pretext.prepare(table)
    batch = view_batches(pretext, encoder, table.rows([0, 1]))
    mask = batch["masked"].atom[MASK]
    stiffness = np.concatenate([target(c)[:, 0] for c in crystals])
    assert np.isfinite(stiffness).tolist() == [True] * 6 + [False] * 8
    predicted = pretext.head(encoder(batch["masked"]).node[-1])[:, 0].detach().numpy()
    scaled = (np.nan_to_num(stiffness) - stiffness[:6].mean()) / stiffness[:6].std()
    errors = np.abs(predicted - scaled)[mask.numpy()]
    errors = errors if missing == "zero" else errors[: int(mask[:6].sum())]
    assert answer(pretext, encoder, batch).loss.item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_a_potential_that_knows_none_of_the_crystals_is_refused(potential):
    pretext = MicroProperty(small_encoder("MEGNet"), table="environment-stiffness", potential=potential)
    table = with_targets(CrystalDataset.from_crystals([nacl()]), pretext.targets)
    with pytest.raises(DataError, match="must know every element"):
        pretext.prepare(table)


def test_environment_stiffness_on_two_processes(potential, tmp_path):
    arguments = {"table": "environment-stiffness", "potential": potential}
    assert_two_processes_agree("MEGNet", {"micro-property": arguments}, CRYSTALS, tmp_path)


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("arguments", [{}, {"missing": "zero"}, {"table": "valence-electrons"}], ids=str)
def test_two_processes(model, arguments, tmp_path):
    assert_two_processes_agree(model, {"micro-property": arguments}, CRYSTALS, tmp_path)


def test_a_rank_without_anything_to_tell_counts_nothing(tmp_path):
    crystals = [URANIUM, URANIUM, nacl(), skewed(), cscl()]
    assert_two_processes_agree("MEGNet", {"micro-property": {}}, crystals, tmp_path, first=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table": "environment-stiffness"}, "needs a potential"),
        ({"potential": "somewhere"}, "no other does"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        MicroProperty(small_encoder("MEGNet"), **arguments)
