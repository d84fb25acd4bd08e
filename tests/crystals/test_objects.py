"""Python objects: frames, pairs, rows, columns, generators, open databases."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from pymatgen.core import IStructure

from matgl_ssl import embed
from matgl_ssl.crystals import Crystal, read_crystals
from matgl_ssl.errors import DataError


@pytest.fixture
def two(nacl, quartz):
    return [nacl, quartz]


def forms(two) -> dict[str, object]:
    """A column of structures in each of the ways that people keep them."""
    ours = [Crystal.from_structure(s) for s in two]
    return {
        "structure": two, "atoms": [s.to_ase_atoms() for s in two], "crystal": ours,
        "cif": [s.to(fmt="cif") for s in two],
        "initial_structure": [s.as_dict() for s in two], "whatever": [json.dumps(s.as_dict()) for s in two],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["structure", "atoms", "crystal", "cif", "initial_structure", "whatever"])
def test_pandas_frames(two, name):
    frame = pd.DataFrame({name: forms(two)[name], "gap": [8.5, None], "note": ["a", None]}, index=["salt", "glass"])
    dataset = read_crystals(frame)
    assert dataset.ids == ["salt", "glass"]
    assert dataset.formulas() == ["NaCl", "SiO2"]
    np.testing.assert_array_equal(dataset.column("gap"), [8.5, np.nan])
    assert dataset.column("note").tolist() == ["a", None]
    assert read_crystals(frame.reset_index(names="mp_id"), columns=["gap"]).ids == ["salt", "glass"]
    assert read_crystals(frame.reset_index(drop=True)).ids == ["0", "1"]
    assert read_crystals(frame[name]).formulas() == ["NaCl", "SiO2"]


def test_other_columns_of_a_frame_are_not_looked_at(two):
    class Trap:
        def __getattribute__(self, name):
            pytest.fail(f"asked for {name}")

    frame = pd.DataFrame({"structure": two, "gap": [1, 2], "trap": [1, 2]})
    frame["trap"] = frame["trap"].astype(object)
    frame.iloc[0, 2] = Trap
    assert read_crystals(frame, columns=["gap"]).label_names == ["gap"]
    with pytest.raises(DataError, match="Did you mean 'gap'"):
        read_crystals(frame, columns=["gaps"])


def test_frames_of_plain_columns(two):
    columns = {
        "numbers": [list(s.atomic_numbers) for s in two], "positions": [s.cart_coords for s in two],
        "cell": [s.lattice.matrix for s in two], "energy": [-1.0, -2.0],
    }  # fmt: skip
    for source in (pd.DataFrame(columns), columns):
        dataset = read_crystals(source)
        assert dataset.formulas() == ["NaCl", "SiO2"]
        assert dataset.label_names == ["energy"]
        np.testing.assert_allclose(dataset[1].cart_coords, two[1].cart_coords)


@pytest.mark.parametrize("name", ["initial_structure", "cif"])
def test_polars_frames(two, name):
    polars = pytest.importorskip("polars")
    values = [s.to(fmt="cif") for s in two] if name == "cif" else [json.dumps(s.as_dict()) for s in two]
    frame = polars.DataFrame({"jid": ["a", "b"], name: values, "gap": [8.5, None]})
    for source in (frame, frame.lazy()):
        dataset = read_crystals(source, columns=["gap"])
        assert dataset.ids == ["a", "b"]
        assert dataset.formulas() == ["NaCl", "SiO2"]
        np.testing.assert_array_equal(dataset.column("gap"), [8.5, np.nan])


def test_pairs_rows_and_generators(two):
    pairs = list(zip(two, [8.5, 5.7], strict=True))
    for source in (pairs, iter(pairs), (pair for pair in pairs), tuple(pairs)):
        dataset = read_crystals(source, columns=["gap"])
        assert dataset.column("gap").tolist() == [8.5, 5.7]
    assert read_crystals(pairs).column("gap").tolist() == [8.5, 5.7], "it has one label, whatever that is called"
    labelled = [(two[0], {"gap": 8.5, "id": "salt"}), (two[1].to_ase_atoms(), {"gap": 5.7, "forces": np.zeros((6, 3))})]
    dataset = read_crystals(labelled)
    assert dataset.ids == ["salt", "1"]
    assert dataset.column("gap").tolist() == [8.5, 5.7]
    assert dataset[1].labels["forces"].shape == (6, 3)
    rows = [{"structure": two[0], "gap": 1.0}, {"atoms": two[1].to_ase_atoms(), "gap": 2.0}, two[0].as_dict()]
    np.testing.assert_array_equal(read_crystals(rows).column("gap"), [1.0, 2.0, np.nan])
    assert read_crystals(IStructure.from_sites(two[0])).formulas() == ["NaCl"]
    assert read_crystals(two[0].as_dict()).formulas() == ["NaCl"]
    with pytest.raises(DataError, match="of different kinds"):
        read_crystals([(two[0], {"gap": 1.0}), (two[1], {"gap": "wide"})], columns=["gap"])


def test_an_open_database_of_ase(tmp_path):
    copper = bulk("Cu")
    copper.calc = SinglePointCalculator(copper, energy=-3.5, forces=np.zeros((1, 3)))
    with connect(tmp_path / "t.db") as database:
        database.write(copper, gap=0.0, name="copper")
        database.write(Atoms("H2", positions=np.eye(3)[:2]))
    dataset = read_crystals(connect(tmp_path / "t.db"))
    assert dataset.ids == ["copper"]
    assert dataset[0].labels["energy"] == -3.5
    assert dataset[0].labels["gap"] == 0.0
    assert [finding.code for finding in dataset.rejected] == ["not-periodic"]


def test_a_verb_takes_a_frame(two, tmp_path):
    frame = pd.DataFrame({"structure": [two[0]] * 2}, index=["a", "b"])
    result = embed(model="MEGNet", data=frame, accelerator="cpu")
    assert list(result.ids) == ["a", "b"]
