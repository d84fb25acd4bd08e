"""Readers: every format there and back, and messages that say what to do."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read, write
from pyarrow import feather
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp.inputs import Poscar

from matgl_ssl.crystals import Crystal, CrystalDataset, read_crystals
from matgl_ssl.crystals.layouts import readable
from matgl_ssl.crystals.tables import cache_directory
from matgl_ssl.errors import BadStructureError, DataError


@pytest.fixture
def disordered() -> Structure:
    return Structure(Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]])


@pytest.fixture
def folder(tmp_path, nacl, quartz, disordered):
    """Two good CIFs, one of them deeper, beside four entries of other kinds."""
    root = tmp_path / "cifs"
    (root / "deep").mkdir(parents=True)
    (root / ".cache").mkdir()
    nacl.to(str(root / "nacl_1.5.cif"))
    quartz.to(str(root / "deep" / "quartz.cif"))
    disordered.to(str(root / "alloy.cif"))
    (root / "broken.cif").write_text("no cif at all")
    (root / "empty.cif").write_text("")
    (root / ".cache" / "hidden.cif").write_text("junk")
    (root / "notes.txt").write_text("not a crystal")
    return root


def frames() -> list[Atoms]:
    made = []
    for index in range(3):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=index)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.info.update(group=f"g{index}", weight=0.5 * index, origin=np.ones(3))
        made.append(atoms)
    return made


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR_7", "quartz.vasp", "quartz.cif", "quartz.json"])
def test_one_structure_per_file(quartz, tmp_path, name, suffix):
    path = tmp_path / (name + suffix)
    text = {
        "quartz.cif": lambda: str(CifWriter(quartz, significant_figures=17)),
        "quartz.json": lambda: json.dumps(quartz.as_dict()),
    }.get(name, lambda: Poscar(quartz).get_str(significant_figures=17))()
    path.write_bytes(gzip.compress(text.encode()) if suffix else text.encode())
    (crystal,) = read_crystals(path)
    assert crystal.id == name.removesuffix(".vasp").removesuffix(".cif").removesuffix(".json")
    expected = Crystal.from_structure(quartz)
    np.testing.assert_array_equal(crystal.numbers, expected.numbers)
    difference = crystal.frac_coords - expected.frac_coords
    np.testing.assert_allclose(difference - np.round(difference), 0, atol=1e-12)
    # A CIF holds lengths and angles only: compare what survives a rotation.
    metric = crystal.lattice @ crystal.lattice.T
    np.testing.assert_allclose(metric, expected.lattice @ expected.lattice.T, atol=1e-11)


@pytest.mark.parametrize("name", ["run.extxyz", "run.xyz", "run.extxyz.gz"])
def test_frames_with_labels(tmp_path, name):
    path = tmp_path / name
    write(path, frames(), format="extxyz")
    dataset = read_crystals(path)
    assert dataset.ids == ["run-0", "run-1", "run-2"]
    for crystal, atoms in zip(dataset, read(path, index=":", format="extxyz"), strict=True):
        np.testing.assert_allclose(crystal.to_atoms().positions, atoms.positions, atol=1e-12)
        assert crystal.labels["energy"] == atoms.get_potential_energy()
        np.testing.assert_array_equal(crystal.labels["forces"], atoms.get_forces())
        np.testing.assert_array_equal(crystal.labels["stress"], atoms.get_stress(voigt=False))
        assert {"group", "weight"} < set(crystal.labels)
        np.testing.assert_array_equal(crystal.labels["origin"], np.ones(3))


def test_a_broken_frame_costs_no_other(tmp_path):
    path = tmp_path / "run.extxyz"
    write(path, frames())
    lines = path.read_text().splitlines()
    lines[8] = "Cu 0.1 not a number"
    path.write_text("\n".join(lines[:-1]) + "\n")
    dataset = read_crystals(path)
    assert dataset.ids == ["run-0"]
    assert [(f.id, f.code) for f in dataset.rejected] == [("run-1", "unreadable"), ("run", "unreadable")]
    assert "the file ends after 3 of them" in dataset.rejected[1].message


def test_json_layouts(tmp_path, nacl, quartz):
    good = {
        "structure": quartz.as_dict(),
        "gap": 5.6,
        "material_id": "q",
        "dos": [1, 2],
        "extra": {"a": 1},
        "tags": ["x"],
    }
    record = Crystal.from_structure(nacl)
    row = {
        "numbers": record.numbers.tolist(),
        "frac_coords": record.frac_coords.tolist(),
        "lattice": record.lattice.tolist(),
        "gap": 8.5,
    }
    items = [good, nacl.as_dict(), {**good, "structure": json.dumps(quartz.as_dict())}, {"numbers": [1]}, row]
    (tmp_path / "all.json").write_text(json.dumps(items))
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, items)) + "\n\n")
    for name in ("all.json", "all.jsonl"):
        dataset = read_crystals(tmp_path / name)
        assert dataset.ids == ["q", "all-1", "q", "all-4"]
        assert [(f.id, f.code) for f in dataset.rejected] == [("all-3", "unreadable")]
        assert "no structure among the columns numbers" in dataset.rejected[0].message
        np.testing.assert_array_equal(dataset.column("gap"), [5.6, np.nan, 5.6, 8.5])
        np.testing.assert_array_equal(dataset[0].labels["dos"], [1.0, 2.0])
        assert set(dataset.label_names) == {"gap", "dos"}
        np.testing.assert_array_equal(dataset[0].frac_coords, quartz.frac_coords)
        np.testing.assert_array_equal(dataset[3].lattice, nacl.lattice.matrix)


def test_objects(nacl, quartz, crystals, assert_same):
    atoms = frames()[0]
    mixed = read_crystals([nacl, atoms, crystals[1]])
    assert mixed.ids == ["0", "1", "c-1"]
    assert mixed[1].labels["energy"] == atoms.get_potential_energy()
    assert mixed[0].labels["energy"] is None
    for one in (nacl, atoms, crystals[0]):
        assert len(read_crystals(one)) == 1
    assert_same(read_crystals(crystals[0])[0], crystals[0])
    assert read_crystals(iter([nacl, quartz])).formulas() == ["NaCl", "SiO2"]
    assert read_crystals(mixed) is mixed


def test_atoms_are_not_calculated_anew():
    atoms = bulk("Cu")
    atoms.calc = EMT()
    assert read_crystals(atoms).label_names == []
    atoms.get_potential_energy()
    atoms.positions += 0.1
    atoms.cell[0, 0] += 0.1
    assert read_crystals(atoms).label_names == []


def test_tables(crystals, tmp_path, assert_same):
    dataset = CrystalDataset.from_crystals(crystals)
    dataset.write_parquet(tmp_path / "a[1]" / "t.parquet")
    dataset.table.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict(train=dataset.table, test=dataset.table).save_to_disk(tmp_path / "splits")
    arrow_file = next((tmp_path / "saved").glob("*.arrow"))
    shutil.copy(arrow_file, tmp_path / "t.arrow")
    sources = [tmp_path / "a[1]", "a[1]/t.parquet", "saved", "splits", "t.arrow"]
    for source in [str(tmp_path / name) for name in sources] + [dataset.table]:
        read_back = read_crystals(source)
        for crystal, again in zip(crystals, read_back, strict=True):
            assert_same(crystal, again)
        if source is not dataset.table:
            assert read_back.table.cache_files
        assert read_crystals(source, columns=["phase"]).label_names == ["phase"]
        with pytest.raises(DataError, match="Did you mean 'phase'"):
            read_crystals(source, columns=["phases"])


def test_shards_in_a_folder_are_one_table(crystals, tmp_path):
    CrystalDataset.from_crystals(crystals[:2]).write_parquet(tmp_path / "d" / "0.parquet")
    CrystalDataset.from_crystals(crystals[2:]).write_parquet(tmp_path / "d" / "1.parquet")
    assert read_crystals(tmp_path / "d").ids == [c.id for c in crystals]
    assert read_crystals(str(tmp_path / "d" / "*.parquet")).ids == [c.id for c in crystals]


def test_a_rewritten_file_is_read_anew(crystals, tmp_path):
    path = tmp_path / "t.parquet"
    CrystalDataset.from_crystals(crystals[:2]).write_parquet(path)
    assert len(read_crystals(path)) == 2
    CrystalDataset.from_crystals(crystals).write_parquet(path)
    assert len(read_crystals(path)) == 5


def test_a_table_of_pymatgen_json(nacl, disordered, tmp_path):
    rows = {
        "structure": [json.dumps(s.as_dict()) for s in (nacl, disordered)],
        "gap": [8.5, 0.0],
        "material_id": ["a", "b"],
    }
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "t.parquet")
    dataset = read_crystals(tmp_path / "t.parquet", columns=["gap"])
    assert (dataset.ids, dataset[0].labels) == (["a"], {"gap": 8.5})
    assert [(f.id, f.code) for f in dataset.rejected] == [("b", "disordered")]


def test_a_folder_of_files(folder):
    dataset = read_crystals(folder)
    assert dataset.ids == ["deep/quartz", "nacl_1.5"]
    assert {f.id: f.code for f in dataset.rejected} == {
        "alloy": "disordered",
        "broken": "unreadable",
        "empty": "unreadable",
    }
    assert all(f.id in f.message or f.id == "alloy" for f in dataset.rejected)


def test_files_that_differ_by_their_suffix_keep_it(tmp_path, nacl, quartz):
    for name in ("a.cif", "a.json", "b.json"):
        (nacl if name == "a.cif" else quartz).to(str(tmp_path / name))
    assert read_crystals(tmp_path).ids == ["a.cif", "a.json", "b"]


def test_globs(folder):
    assert read_crystals(str(folder / "*" / "*.cif")).ids == ["deep/quartz"]
    assert read_crystals(str(folder / "**" / "[nq]*.cif")).ids == ["deep/quartz", "nacl_1.5"]
    with pytest.raises(DataError, match="no such file"):
        read_crystals(str(folder / "*.vasp"))


@pytest.mark.parametrize(("name", "error"), [("alloy.cif", BadStructureError), ("broken.cif", DataError)])
def test_raise_policy(folder, name, error):
    with pytest.raises(error, match=name.removesuffix(".cif") if error is DataError else "disordered"):
        read_crystals(folder / name, policy="raise")


def test_nothing_read_is_an_error(folder):
    with pytest.raises(DataError, match=r"no crystal could be read: 1 unreadable; .*the file is empty"):
        read_crystals(folder / "empty.cif")
    with pytest.raises(DataError, match=r"1 not-periodic; .*vacuum"):
        read_crystals(molecule("H2O"))
    with pytest.raises(DataError, match="nothing was given"):
        read_crystals([])


def test_paths_that_do_not_exist(folder, tmp_path):
    with pytest.raises(DataError, match=r"Did you mean .*nacl_1\.5\.cif"):
        read_crystals(folder / "nacl_15.cif")
    with pytest.raises(DataError, match="does not exist either"):
        read_crystals(tmp_path / "nowhere" / "t.parquet")


def test_what_cannot_be_read(folder, tmp_path, crystals):
    with pytest.raises(DataError, match=r"\*\.txt.*Readable are \.cif.*\.parquet.*POSCAR"):
        read_crystals(folder / "notes.txt")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no crystals in this folder"):
        read_crystals(tmp_path / "none")
    with pytest.raises(DataError, match="from a int"):
        read_crystals(3)
    with pytest.raises(DataError, match="entry 1 is a str"):
        read_crystals([crystals[0], "POSCAR"])
    CrystalDataset.from_crystals(crystals).write_parquet(folder / "t.parquet")
    with pytest.raises(DataError, match="tables and structure files together"):
        read_crystals(folder)


def test_bad_tables(tmp_path, crystals):
    datasets.Dataset.from_dict({"atoms": [[1]], "gap": [1.0]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"column 'atoms': \[1\] is no structure, but a list"):
        read_crystals(tmp_path / "t.parquet")
    (tmp_path / "junk.parquet").write_bytes(b"PAR1 junk")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_crystals(tmp_path / "junk.parquet")
    table = CrystalDataset.from_crystals(crystals).table
    with pytest.raises(DataError, match="no rows"):
        read_crystals(table.select([]))
    with pytest.raises(DataError, match="choose one of its splits"):
        read_crystals(datasets.DatasetDict(train=table))


def test_an_unreachable_hub_name_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no such path here, and no Hugging Face dataset .* can be reached"):
        read_crystals("owner/name")


def test_a_local_path_wins_over_the_hub(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matgl_ssl.crystals.hub.read_hub", lambda *_args: pytest.fail("asked the hub"))
    assert read_crystals("cifs/deep").ids == ["quartz"]
    with pytest.raises(DataError, match="Did you mean cifs/deep"):
        read_crystals("cifs/deepp")


def test_real_frames(data_dir):
    path = data_dir / "mlearn" / "Si_test.extxyz.gz"
    dataset = read_crystals(path)
    atoms = read(path, index=-1)
    crystal = dataset[len(dataset) - 1]
    assert crystal.id == f"Si_test-{len(dataset) - 1}"
    assert crystal.labels["energy"] == atoms.get_potential_energy()
    np.testing.assert_array_equal(crystal.labels["forces"], atoms.get_forces())
    np.testing.assert_array_equal(crystal.labels["stress"], atoms.get_stress(voigt=False))
    assert crystal.labels["group"] == atoms.info["group"]


def test_a_broken_block_of_a_cif_is_rejected_and_the_others_keep_their_names(tmp_path, nacl, quartz):
    """pymatgen leaves it out with a warning."""
    good = [str(CifWriter(structure)) for structure in (nacl, quartz, nacl)]
    blocks = [text.replace("data_", f"data_{i}_", 1) for i, text in enumerate(good)]
    blocks[1] = "\n".join("_cell_length_a long" if line.startswith("_cell_length_a") else line
                          for line in blocks[1].splitlines())  # fmt: skip
    path = tmp_path / "m.cif"
    path.write_text("data_global\n_publ_section_title x\n" + "\n".join(blocks))
    found = read_crystals(path)
    assert found.ids == ["m-0", "m-2"]
    assert [(each.id, each.code) for each in found.rejected] == [("m-1", "unreadable")]
    with pytest.raises(DataError, match="m-1"):
        read_crystals(path, policy="raise")
    path.write_text("data_global\n_publ_section_title x\n" + blocks[0])
    assert read_crystals(path).ids == ["m"]


def test_a_broken_line_of_a_jsonl_is_rejected_and_the_others_are_read(tmp_path, nacl):
    lines = [json.dumps(nacl.as_dict()) for _ in range(4)]
    lines[1] = lines[1][:50]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = read_crystals(tmp_path / "a.jsonl")
    assert found.ids == ["a-0", "a-2", "a-3"]
    assert [each.id for each in found.rejected] == ["a-1"]


def test_what_no_file_of_a_glob_and_no_split_of_a_folder_is(tmp_path, crystals):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="none of the 1 files can be read"):
        read_crystals(str(tmp_path / "*.txt"))
    table = CrystalDataset.from_crystals(crystals).table
    datasets.DatasetDict(valid=table).save_to_disk(tmp_path / "splits")
    with pytest.raises(DataError, match=r"no split 'train' among \['valid'\]"):
        read_crystals(tmp_path / "splits")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "feather"])
def test_a_table_is_known_by_its_content_not_by_its_path_and_time(tmp_path, crystals, kind):
    """Tools that copy trees keep times: Hugging Face's cache took the new file of that name and time for the old."""
    path, read = tmp_path / f"t.{kind}", []
    for n in (1, 2):
        table = CrystalDataset.from_crystals(crystals[:n]).table.with_format("arrow")[:]
        if kind == "parquet":
            pq.write_table(table, path)
        elif kind == "feather":
            feather.write_feather(table, path)
        else:
            with pa.ipc.new_stream(str(path), table.schema) as sink:
                sink.write_table(table)
        os.utime(path, (0, 1_700_000_000))
        read.append(read_crystals(path).ids)
    assert read == [[c.id for c in crystals[:n]] for n in (1, 2)]
    os.utime(path, (1, 1))
    before = set(cache_directory().rglob("*.arrow"))
    read_crystals(path.rename(tmp_path / f"other.{kind}"))
    assert set(cache_directory().rglob("*.arrow")) == before, "converted once, whatever it is called"


@pytest.mark.parametrize("name", ["material_id", "numbers", "frac_coords", "lattice"])
def test_what_says_which_crystal_it_is_or_where_its_atoms_are_is_no_label(tmp_path, crystals, name):
    table = CrystalDataset.from_crystals([dataclasses.replace(c, labels={"gap": 1.0}) for c in crystals])
    path = table.write_parquet(tmp_path / "t.parquet")
    for source in (path, table):
        with pytest.raises(DataError, match=rf"no column '{name}' among \['gap'\]"):
            read_crystals(source, columns=[name])


def test_files_of_one_table_are_brought_to_the_columns_of_the_first(tmp_path, crystals):
    for i, (dtype, order) in enumerate([(pa.float64(), 1), (pa.float32(), -1)]):
        table = CrystalDataset.from_crystals([crystals[i]]).table.with_format("arrow")[:]
        table = table.append_column("gap", pa.array([i + 0.5], dtype))
        pq.write_table(table.select(table.column_names[::order]), tmp_path / f"{i}.parquet")
    assert read_crystals(tmp_path, columns=["gap"]).column("gap").tolist() == [0.5, 1.5]
    pq.write_table(pa.table({"numbers": [[1]]}), tmp_path / "2.parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_crystals(tmp_path)


def test_what_cannot_be_looked_at_is_told(nacl, tmp_path, monkeypatch):
    """Links to nowhere, closed files and closed folders are left out, with the reason."""
    for name in ("a", "b"):
        nacl.to(str(tmp_path / f"{name}.cif"))
    (tmp_path / "gone.cif").symlink_to("nowhere")
    (tmp_path / "shut").mkdir()
    stat, scandir = Path.stat, os.scandir

    def closed_stat(self, **options):
        if self.name == "b.cif":
            raise PermissionError(13, "Permission denied", str(self))
        return stat(self, **options)

    def closed_scandir(path="."):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(Path, "stat", closed_stat)
    monkeypatch.setattr(os, "scandir", closed_scandir)
    found = read_crystals(tmp_path)
    assert found.ids == ["a"]
    assert {finding.id for finding in found.rejected} == {"b", "gone", "shut"}
    assert {finding.code for finding in found.rejected} == {"unreadable"}
    assert sum("Permission denied" in finding.message for finding in found.rejected) == 2


def test_names_that_are_no_text_where_the_system_speaks_ascii():
    assert readable("\u00fc.cif".encode().decode("ascii", "surrogateescape")) == "\u00fc.cif"
    assert readable("\u00fc.cif") == "\u00fc.cif"


@pytest.mark.parametrize("name", ["POSCAR", "x.json", "x.jsonl"])
def test_the_mark_and_line_ends_of_windows(nacl, tmp_path, name):
    text = nacl.to(fmt="poscar") if name == "POSCAR" else json.dumps(nacl.as_dict())
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert len(read_crystals(tmp_path / name)[0]) == len(nacl)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        read_crystals(tmp_path / "pipe.json")
