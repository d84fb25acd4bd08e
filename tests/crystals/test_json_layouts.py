"""JSON and Parquet as the field's libraries write them: pandas, monty, pymatgen, JARVIS, OPTIMADE, LeMat-Bulk."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from monty.serialization import dumpfn
from pymatgen.entries.computed_entries import ComputedStructureEntry

from matgl_ssl.cli import main
from matgl_ssl.crystals import read_crystals
from matgl_ssl.crystals.tables import cache_directory
from matgl_ssl.errors import DataError

GAPS = [0.5, 1.5, 2.5, 3.5]
IDS = ["mb-1", "mb-2", "mb-3", "mb-4"]
FORMULAS = ["NaCl", "LiF", "KBr", "MgO"]


def check(dataset, salts, column="gap", ids=IDS) -> None:
    assert dataset.ids == ids
    np.testing.assert_array_equal(dataset.column(column), GAPS)
    for crystal, structure in zip(dataset, salts, strict=True):
        assert crystal.numbers.tolist() == list(structure.atomic_numbers)
        np.testing.assert_allclose(crystal.lattice, structure.lattice.matrix, atol=1e-12)
        np.testing.assert_allclose(crystal.frac_coords, structure.frac_coords, atol=1e-12)


@pytest.mark.parametrize("orient", ["split", "records", "columns", "index", "table"])
@pytest.mark.parametrize("named", [True, False])
def test_pandas_orients(salts, tmp_path, orient, named):
    index = IDS if named and orient != "records" else None
    frame = pd.DataFrame({"structure": [s.as_dict() for s in salts], "last phdos peak": GAPS}, index=index)
    frame.to_json(tmp_path / "t.json.gz", orient=orient)
    expected = IDS if index else [str(i) if orient == "table" else f"t-{i}" for i in range(4)]
    dataset = read_crystals(tmp_path / "t.json.gz", columns=["last phdos peak"])
    check(dataset, salts, "last phdos peak", expected)


def test_jarvis_lists_and_their_na(salts, tmp_path):
    rows = [
        {
            "jid": id_, "optb88vdw_bandgap": gap, "bulk_modulus_kv": "na" if i else 12.5, "epsx": "na", "formula": "x",
            "atoms": {
                "lattice_mat": s.lattice.matrix.tolist(), "elements": [site.specie.symbol for site in s],
                "coords": (s.cart_coords if i == 2 else s.frac_coords).tolist(), "cartesian": i == 2,
                "abc": list(s.lattice.abc), "angles": list(s.lattice.angles), "props": [""] * len(s),
            },
        }
        for i, (id_, gap, s) in enumerate(zip(IDS, GAPS, salts, strict=True))
    ]  # fmt: skip
    (tmp_path / "dft_3d.json").write_text(json.dumps(rows))
    dataset = read_crystals(tmp_path / "dft_3d.json")
    check(dataset, salts, "optb88vdw_bandgap")
    np.testing.assert_array_equal(dataset.column("bulk_modulus_kv"), [12.5, np.nan, np.nan, np.nan])
    assert dataset.column("formula").tolist() == ["x"] * 4
    assert all(value is None for value in dataset.column("epsx"))


def test_monty_writes_lists_of_structures_entries_and_documents(salts, tmp_path):
    dumpfn(salts, tmp_path / "s.json")
    assert read_crystals(tmp_path / "s.json").formulas() == FORMULAS
    oxidised = [s.copy().add_oxidation_state_by_guess() for s in salts]
    dumpfn(oxidised, tmp_path / "o.json.gz")
    assert read_crystals(tmp_path / "o.json.gz").formulas() == FORMULAS
    entries = [ComputedStructureEntry(s, e, entry_id=i) for s, e, i in zip(salts, GAPS, IDS, strict=True)]
    dumpfn(entries, tmp_path / "e.json")
    check(read_crystals(tmp_path / "e.json", columns=["energy"]), salts, "energy")
    documents = [
        {"@module": "emmet.core.summary", "@class": "SummaryDoc", "material_id": i, "structure": s, "band_gap": g}
        for s, g, i in zip(salts, GAPS, IDS, strict=True)
    ]
    dumpfn(documents, tmp_path / "docs.json")
    check(read_crystals(tmp_path / "docs.json"), salts, "band_gap")
    dumpfn(dict(zip(IDS, salts, strict=True)), tmp_path / "by_id.json")
    assert read_crystals(tmp_path / "by_id.json").ids == IDS
    frame = pd.DataFrame({"computed_structure_entry": [e.as_dict() for e in entries], "material_id": IDS, "gap": GAPS})
    frame.to_json(tmp_path / "wbm.json.bz2")
    check(read_crystals(tmp_path / "wbm.json.bz2"), salts)


def test_lattices_by_lengths_and_sites_by_cartesian_coordinates(salts, tmp_path):
    content = [s.as_dict() for s in salts]
    for each in content:
        each["lattice"].pop("matrix")
        for site in each["sites"]:
            site.pop("abc")
    (tmp_path / "t.json").write_text(json.dumps(content))
    for crystal, structure in zip(read_crystals(tmp_path / "t.json"), salts, strict=True):
        np.testing.assert_allclose(crystal.cart_coords, structure.cart_coords, atol=1e-9)


def _optimade(salts) -> list[dict]:
    adapters = pytest.importorskip("optimade.adapters.structures.pymatgen")
    attributes = [adapters.from_pymatgen(s).model_dump(mode="json") for s in salts]
    return [
        {"id": i, "type": "structures", "attributes": {**a, "_mp_gap": g}}
        for i, a, g in zip(IDS, attributes, GAPS, strict=True)
    ]


def test_an_optimade_response(salts, tmp_path):
    resources = _optimade(salts)
    (tmp_path / "r.json").write_text(json.dumps({"data": resources, "meta": {"data_returned": 4}, "links": {}}))
    check(read_crystals(tmp_path / "r.json"), salts, "_mp_gap")
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, resources)))
    check(read_crystals(tmp_path / "r.jsonl"), salts, "_mp_gap")


def test_optimades_vacancies_mixtures_and_slabs_are_refused(salts, tmp_path):
    resources = _optimade(salts)
    changes = [
        {"species": [{"name": "Na", "chemical_symbols": ["vacancy"], "concentration": [1.0]}]},
        {"species": [{"name": "F", "chemical_symbols": ["F", "vacancy"], "concentration": [0.5, 0.5]}]},
        {"dimension_types": [1, 1, 0], "nperiodic_dimensions": 2},
        {},
    ]
    for resource, change in zip(resources, changes, strict=True):
        resource["attributes"].update(change)
    (tmp_path / "r.json").write_text(json.dumps({"data": resources}))
    dataset = read_crystals(tmp_path / "r.json")
    assert dataset.ids == ["mb-4"]
    assert [finding.code for finding in dataset.rejected] == ["unreadable", "disordered", "not-periodic"]


def _lemat(salts, **more) -> pa.Table:
    species = [
        json.dumps([{"name": e.symbol, "chemical_symbols": [e.symbol], "concentration": [1.0]} for e in s.elements])
        for s in salts
    ]
    return pa.table({
        "elements": [[e.symbol for e in s.elements] for s in salts], "nsites": [len(s) for s in salts],
        "lattice_vectors": [s.lattice.matrix.tolist() for s in salts], "immutable_id": IDS, "species": species,
        "cartesian_site_positions": [s.cart_coords.tolist() for s in salts],
        "dimension_types": [[1, 1, 1]] * len(salts),
        "species_at_sites": [[site.specie.symbol for site in s] for s in salts], "energy": GAPS,
        "forces": [[[0.0, 0.0, 0.1]] * len(s) for s in salts], **more,
    })  # fmt: skip


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_lemat_bulks_columns(salts, tmp_path, suffix):
    table, path = _lemat(salts), tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path, row_group_size=2)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as sink:
            sink.write_table(table)
    dataset = read_crystals(path, columns=["energy", "forces"])
    check(dataset, salts, "energy")
    assert dataset.label_names == ["energy", "forces"]
    assert dataset[1].labels["forces"].shape == (8, 3)
    assert dataset.table.cache_files, "on disk"
    before = set(cache_directory().rglob("*"))
    assert read_crystals(path, columns=["energy", "forces"]).ids == IDS
    assert set(cache_directory().rglob("*")) == before, "converted once"
    with pytest.raises(DataError, match="Did you mean 'energy'"):
        read_crystals(path, columns=["energi"])


def test_a_bad_row_of_such_a_table_costs_no_other_also_out_of_the_cache(salts, tmp_path):
    cells = [s.lattice.matrix.tolist() for s in salts]
    table = _lemat(salts, lattice_vectors=[cells[0], None, cells[2][:2], cells[3]])
    pq.write_table(table, tmp_path / "t.parquet")
    for _ in range(2):
        dataset = read_crystals(tmp_path / "t.parquet")
        assert dataset.ids == ["mb-1", "mb-4"]
        assert dataset.column("energy").tolist() == [0.5, 3.5]
        assert [(finding.id, finding.code) for finding in dataset.rejected] == [
            ("mb-2", "unreadable"), ("mb-3", "unreadable"),
        ]  # fmt: skip
    pq.write_table(table.slice(1, 2), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="none of 2 rows is a crystal"):
        read_crystals(tmp_path / "t.parquet")


@pytest.mark.parametrize("column", ["cif", "structure", "POSCAR"])
def test_text_in_parquet_with_hugging_faces_word_for_images(salts, tmp_path, column):
    """What the metadata says of a column would have opened paths, and requested addresses."""
    text = [
        s.as_dict() and (json.dumps(s.as_dict()) if column == "structure" else s.to(fmt=column.lower())) for s in salts
    ]
    picture = [{"bytes": None, "path": str(tmp_path / "nowhere.png")}] * 4
    table = pa.table({"material_id": IDS, column: text, "gap": GAPS, "picture": picture})
    features = {"info": {"features": {"picture": {"_type": "Image"}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / "t.parquet")
    dataset = read_crystals(tmp_path / "t.parquet")
    assert dataset.ids == IDS
    assert dataset.formulas() == FORMULAS
    assert [row.labels["gap"] for row in dataset] == GAPS


def test_ids_and_labels_of_two_kinds_that_nobody_asked_for(salts, tmp_path, caplog):
    rows = [{"structure": s.as_dict(), "mp_id": i, "gap": g} for s, i, g in zip(salts, IDS, GAPS, strict=True)]
    rows[1]["mixed"], rows[2]["mixed"] = 1.5, "1,5"
    rows[0]["hash"], rows[0]["nested"] = 2**70, {"a": 1}
    (tmp_path / "t.json").write_text(json.dumps(rows))
    dataset = read_crystals(tmp_path / "t.json")
    check(dataset, salts)
    assert dataset.label_names == ["mp_id", "gap"]
    assert "'mixed'" in caplog.text
    with pytest.raises(DataError, match=r"'mixed' .* mb-3 has '1,5'|'mixed' .* mb-2 has 1.5"):
        read_crystals(tmp_path / "t.json", columns=["mixed"])
    check(read_crystals(tmp_path / "t.json", columns=["gap"]), salts)


def test_the_command_reads_matbench(salts, tmp_path, capsys):
    content = {"index": [0, 1, 2, 3], "columns": ["structure", "exfoliation_en"],
               "data": [[s.as_dict(), gap] for s, gap in zip(salts, GAPS, strict=True)]}  # fmt: skip
    with gzip.open(tmp_path / "matbench_jdft2d.json.gz", "wt") as file:
        json.dump(content, file)
    assert main(["doctor", "--data", str(tmp_path / "matbench_jdft2d.json.gz"), "-m", "MEGNet"]) == 0
    assert "4 of 4 crystals are usable" in capsys.readouterr().out
