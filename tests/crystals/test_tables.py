"""Text tables: with structures in them, or beside the files that hold them."""

from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matgl_ssl.cli import main
from matgl_ssl.crystals import read_crystals
from matgl_ssl.errors import DataError

GAPS = [0.5, 1.5, 2.5, 3.5]
IDS = ["mp-1.5", "mp-2", "mp-3", "mp-4"]


def formulas(dataset) -> dict[str, str]:
    return dict(zip(dataset.ids, dataset.formulas(), strict=True))


def by_id(dataset, name: str) -> dict[str, float]:
    return dict(zip(dataset.ids, dataset.column(name).tolist(), strict=True))


EXPECTED = dict(zip(IDS, ["NaCl", "LiF", "KBr", "MgO"], strict=True))


@pytest.mark.parametrize("fmt", ["cif", "poscar", "json"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("t.csv", {}), ("t.csv", {"sep": ";"}), ("t.tsv", {"sep": "\t"}), ("t.csv.gz", {"lineterminator": "\r\n"}),
     ("t.csv", {"encoding": "utf-8-sig"}), ("t.csv", {"quoting": 1})],
)  # fmt: skip
def test_a_column_of_structures_as_text(salts, tmp_path, fmt, name, options):
    column = {"cif": "CIF string", "poscar": "poscar", "json": "structure"}[fmt]
    frame = pd.DataFrame({"id": IDS, "band gap (eV)": GAPS, column: [s.to(fmt=fmt) for s in salts], "what": "a, b"})
    frame.to_csv(tmp_path / name, index=False, **options)
    dataset = read_crystals(tmp_path / name, columns=["band gap (eV)"])
    assert formulas(dataset) == EXPECTED
    np.testing.assert_array_equal(dataset.column("band gap (eV)"), GAPS)
    assert read_crystals(tmp_path / name).column("what").tolist() == ["a, b"] * 4


def test_a_column_of_another_name_is_found_by_what_it_holds(salts, tmp_path):
    frame = pd.DataFrame({"material_id": IDS, "blob": [s.to(fmt="cif") for s in salts], "structure": "rocksalt"})
    frame.to_csv(tmp_path / "t.csv", index=False)
    dataset = read_crystals(tmp_path / "t.csv")
    assert formulas(dataset) == EXPECTED
    assert dataset.column("structure").tolist() == ["rocksalt"] * 4


def test_values_are_numbers_where_all_of_them_are(salts, tmp_path):
    text = pd.DataFrame({
        "cif": [s.to(fmt="cif") for s in salts], "gap": ["1.5", "na", "", "2"],
        "formula": ["NaCl", "LiF", "NaN", "MgO"],
        "metal": ["True", "False", "true", ""], "group": ["225", "225", "225", "225"], "k": ["1", "2", "1,3", "4"],
        "big": [str(2**70)] * 4, "element": ["Na", "Li", "K", "Mg"],
    })  # fmt: skip
    text.to_csv(tmp_path / "t.csv", index=False)
    dataset = read_crystals(tmp_path / "t.csv")
    np.testing.assert_array_equal(dataset.column("gap"), [1.5, np.nan, np.nan, 2.0])
    assert dataset.column("formula").tolist() == ["NaCl", "LiF", "NaN", "MgO"]
    assert dataset.column("element").tolist() == ["Na", "Li", "K", "Mg"]
    assert dataset.column("group").tolist() == [225] * 4
    np.testing.assert_array_equal(dataset.column("metal"), [1, 0, 1, np.nan])
    assert "big" not in dataset.label_names
    with pytest.raises(DataError, match=r"'k'.* t-2 has '1,3', where most are numbers"):
        read_crystals(tmp_path / "t.csv", columns=["k"])


def test_one_bad_row_costs_no_other(salts, tmp_path):
    cifs = [json.dumps(s.as_dict()).replace('"', '""') for s in salts]
    rows = [f'{i},"{c}",{g}' for i, c, g in zip(IDS, cifs, GAPS, strict=True)]
    rows[1], rows[2] = "mp-2,data_broken,1", rows[2] + ",too,many"
    (tmp_path / "t.csv").write_text("id,structure,gap\n\n" + "\n\n".join(rows) + "\n")
    dataset = read_crystals(tmp_path / "t.csv")
    assert dataset.ids == ["mp-1.5", "mp-4"]
    assert [finding.id for finding in dataset.rejected] == ["mp-2", "t-2"]
    assert "5 values in a table of 3 columns" in dataset.rejected[1].message


HEADS = {"no header": "", "header": "id,gap\n"}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("suffix", ["", ".cif"])
@pytest.mark.parametrize("where", ["folder", "table", "zip"])
def test_a_table_beside_structure_files(salts, tmp_path, head, suffix, where):
    folder = tmp_path / "cgcnn"
    folder.mkdir()
    for id_, structure in zip(IDS, salts, strict=True):
        structure.to(str(folder / f"{id_}.cif"))
    (folder / "atom_init.json").write_text('{"1": [0, 1]}')
    rows = [f"{id_}{suffix},{gap}" for id_, gap in zip(IDS, GAPS, strict=True)]
    (folder / "id_prop.csv").write_text(HEADS[head] + "\n".join(rows))
    source = {"folder": folder, "table": folder / "id_prop.csv", "zip": tmp_path / "cgcnn.zip"}[where]
    if where == "zip":
        shutil.make_archive(str(tmp_path / "cgcnn"), "zip", folder)
    dataset = read_crystals(source, columns=["gap"])
    assert sorted(dataset.formulas()) == sorted(EXPECTED.values())
    assert by_id(dataset, "gap") == {f"{id_}{suffix}": gap for id_, gap in zip(IDS, GAPS, strict=True)}
    assert not dataset.rejected
    with pytest.raises(DataError, match="no column") if head == "header" else _nothing():
        np.testing.assert_array_equal(np.sort(read_crystals(source).column("energy")), GAPS)


class _nothing:
    def __enter__(self): ...
    def __exit__(self, *_): ...


def test_alignns_poscars_with_several_values(salts, tmp_path):
    for id_, structure in zip(IDS, salts, strict=True):
        structure.to(str(tmp_path / f"POSCAR-{id_}.vasp"))
    rows = [f"POSCAR-{id_}.vasp,{gap},{2 * gap}" for id_, gap in zip(IDS, GAPS, strict=True)]
    (tmp_path / "id_prop.csv").write_text("\n".join(rows))
    dataset = read_crystals(tmp_path)
    assert dataset.label_names == ["unnamed_1", "unnamed_2"]
    np.testing.assert_array_equal(dataset.column("unnamed_2"), 2 * dataset.column("unnamed_1"))


def test_gnomes_summary_beside_its_archive(salts, tmp_path):
    (tmp_path / "by_id").mkdir()
    for id_, structure in zip(IDS, salts, strict=True):
        (tmp_path / "by_id" / f"{id_}.CIF").write_text(structure.to(fmt="cif"))
    shutil.make_archive(str(tmp_path / "by_id"), "zip", tmp_path, "by_id")
    shutil.rmtree(tmp_path / "by_id")
    pd.DataFrame({
        "Composition": ["Na1Cl1", "Li1F1", "K1Br1", "Mg1O1"], "MaterialId": IDS, "Elements": ["['Na', 'Cl']"] * 4,
        "Bandgap": [1.0, None, None, 2.0], "Formation Energy Per Atom": GAPS,
    }).to_csv(tmp_path / "stable_materials_summary.csv")  # fmt: skip
    wanted = ["Formation Energy Per Atom", "Bandgap"]
    dataset = read_crystals(tmp_path / "stable_materials_summary.csv", columns=wanted)
    assert formulas(dataset) == EXPECTED
    assert by_id(dataset, wanted[0]) == dict(zip(IDS, GAPS, strict=True))
    assert [by_id(dataset, "Bandgap")[IDS[i]] for i in (0, 3)] == [1.0, 2.0]
    assert dataset.label_names == wanted


def test_wbms_summary_beside_its_frames(salts, tmp_path):
    (tmp_path / "frames").mkdir()
    for id_, structure in zip(IDS, salts, strict=True):
        structure.to_ase_atoms().write(tmp_path / "frames" / f"{id_}.extxyz")
    shutil.make_archive(str(tmp_path / "wbm-initial-atoms.extxyz"), "zip", tmp_path / "frames")
    shutil.rmtree(tmp_path / "frames")
    with gzip.open(tmp_path / "wbm-summary.csv.gz", "wt") as file:
        pd.DataFrame({"material_id": IDS, "formula": "x", "e_form_per_atom_wbm": GAPS}).to_csv(file, index=False)
    dataset = read_crystals(tmp_path / "wbm-summary.csv.gz", columns=["e_form_per_atom_wbm"])
    assert formulas(dataset) == EXPECTED
    assert by_id(dataset, "e_form_per_atom_wbm") == dict(zip(IDS, GAPS, strict=True))


def test_what_does_not_fit_is_told(salts, tmp_path, caplog):
    for id_, structure in zip(IDS, salts, strict=True):
        structure.to(str(tmp_path / f"{id_}.cif"))
    (tmp_path / "id_prop.csv").write_text("mp-1.5,1\nmp-2,2\nmp-9,9\n")
    dataset = read_crystals(tmp_path)
    assert dataset.ids == ["mp-1.5", "mp-2"]
    assert [(finding.id, "no structure file" in finding.message) for finding in dataset.rejected] == [("mp-9", True)]
    assert "2 structure files are named by no row" in caplog.text
    (tmp_path / "id_prop.csv").rename(tmp_path / "train.csv")
    (tmp_path / "test.csv").write_text("mp-3,1\n")
    with pytest.raises(DataError, match=r"several tables name its structure files: .*train\.csv"):
        read_crystals(tmp_path)
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"no column holds structures .*, and none names a structure file"):
        read_crystals(tmp_path / "train.csv")


def test_pickles_are_refused_and_the_line_that_converts_them_works(salts, tmp_path, monkeypatch):
    path = tmp_path / "frame.pkl"
    pd.DataFrame({"structure": salts, "gap": GAPS}, index=IDS).to_pickle(path)
    with pytest.raises(DataError, match="a pickle executes whatever it holds") as refused:
        read_crystals(path)
    line = str(refused.value).partition('python -c "')[2].removesuffix('"')
    exec(line)
    assert formulas(read_crystals(tmp_path / "frame.pkl.json")) == EXPECTED
    with pytest.raises(DataError, match="a pickle executes"):
        read_crystals(shutil.copy(path, tmp_path / "frame.pickle.gz"))


def test_the_command_takes_them(salts, tmp_path, capsys):
    frame = pd.DataFrame({"cif": [s.to(fmt="cif") for s in salts], "gap": GAPS})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert main(["doctor", "--data", str(tmp_path / "t.csv"), "-m", "MEGNet"]) == 0
    assert "4 of 4 crystals are usable" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["csv", "ours", "lemat"])
def test_a_table_without_rows_is_told(tmp_path, layout):
    names = {"ours": ["numbers", "frac_coords", "lattice"],
             "lemat": ["lattice_vectors", "cartesian_site_positions", "species_at_sites"]}.get(layout)  # fmt: skip
    path = tmp_path / ("t.csv" if layout == "csv" else "t.parquet")
    if names:
        pq.write_table(pa.table({name: pa.array([], pa.list_(pa.float64())) for name in names}), path)
    else:
        path.write_text("material_id,cif\n")
    with pytest.raises(DataError, match="the table has no rows"):
        read_crystals(path)
