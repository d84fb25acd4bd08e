"""``prepare``: what goes in comes out once, with a reason for all that does not, whatever happens on the way."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import cluster
from small_systems import NAMES, cscl, iron, rattled, supercell

from matgl_ssl import prepare, pretrain, read_crystals, read_stamp
from matgl_ssl._files import locked
from matgl_ssl.cli import main
from matgl_ssl.corpora import shards
from matgl_ssl.corpora.prepare import recipe_targets
from matgl_ssl.crystals import Crystal, CrystalDataset, demo_corpus
from matgl_ssl.crystals.prepared import is_prepared
from matgl_ssl.errors import ConfigError, DataError, NothingLeftError, RunDirectoryError
from matgl_ssl.targets import Density, compute, with_targets

N = 30


@pytest.fixture(scope="module")
def corpus() -> CrystalDataset:
    crystals = [
        Crystal(c.numbers, c.frac_coords, c.lattice, id=f"c{i}", labels={"gap": 0.1 * i, "forces": 0.0 * c.frac_coords})
        for i, c in enumerate(demo_corpus(N, seed=1))
    ]
    return CrystalDataset.from_crystals(crystals)


@pytest.fixture
def table(corpus, tmp_path) -> Path:
    return corpus.write_parquet(tmp_path / "crystals.parquet")


def same(one: Crystal, other: Crystal) -> None:
    assert one.id == other.id
    for name in ("numbers", "frac_coords", "lattice"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "left_out.jsonl").read_text().splitlines()]


def test_crystals_and_labels_come_back_bit_for_bit(corpus, table, tmp_path):
    result = prepare(data=table, out=tmp_path / "out", license="CC-BY-4.0", shard_rows=8)
    found = read_crystals(tmp_path / "out")
    assert found.label_names == ["gap", "forces"]
    for one, other in zip(found, corpus, strict=True):
        same(one, other)
        assert one.labels["gap"] == other.labels["gap"]
        np.testing.assert_array_equal(one.labels["forces"], other.labels["forces"])
    assert result.crystals.ids == corpus.ids
    (source,) = result.manifest["sources"]
    assert source["license"] == "CC-BY-4.0"
    assert source["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert (source["rows"], source["kept"], source["left_out"]) == (N, N, {})
    assert [shard["rows"] for shard in result.manifest["shards"]] == [8, 8, 8, 6]
    assert found.table.data.column("numbers").num_chunks == 4  # kilobytes of memory each, wherever the table is open
    for shard in manifest(tmp_path / "out")["shards"]:
        assert hashlib.sha256((tmp_path / "out" / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]
    assert not list(tmp_path.glob(".*"))  # nothing of the work is left


def test_several_sources_bad_crystals_and_duplicates(corpus, table, tmp_path):
    copy = rattled(supercell(corpus[3], (2, 1, 1)), 1e-4)
    bad = Crystal(np.array([6, 6]), np.array([[0.0, 0, 0], [0, 0, 0.01]]), 3.0 * np.eye(3), id="bad")
    other = [Crystal(copy.numbers, copy.frac_coords, copy.lattice, id="again"), bad, iron()]
    second = CrystalDataset.from_crystals(
        [Crystal(c.numbers, c.frac_coords, c.lattice, id=c.id, labels={"band": 1}) for c in other]
    ).write_parquet(tmp_path / "more.parquet")
    result = prepare(data=[table, str(second)], out=tmp_path / "out", license=["CC-BY-4.0", "MIT"], shard_rows=8)
    assert result.crystals.ids == [*corpus.ids, iron().id]
    np.testing.assert_array_equal(result.crystals.column("band"), [np.nan] * N + [1])
    assert [source["license"] for source in result.manifest["sources"]] == ["CC-BY-4.0", "MIT"]
    assert result.manifest["sources"][1]["left_out"] == {"too-close": 1, "duplicate": 1}
    assert {line["code"]: line["id"] for line in lines(tmp_path / "out")} == {"too-close": "bad", "duplicate": "again"}
    assert lines(tmp_path / "out")[0]["index"] == 1
    assert lines(tmp_path / "out")[1]["of"] == {"source": 0, "id": "c3"}
    everything = prepare(data=[table, second], out=tmp_path / "all", keep_duplicates=True)
    assert everything.crystals.ids == [*corpus.ids, "again", iron().id]
    again = prepare(data=tmp_path / "out", out=tmp_path / "again")
    assert again.manifest["sources"][0]["sources"] == result.manifest["sources"]


@pytest.mark.parametrize(
    ("stage", "rest"),
    [("checking crystals", (3, 8)), ("looking for duplicates", (0, 8)), ("writing shards", (0, 3))],
)
def test_goes_on_after_kill_9(corpus, tmp_path, monkeypatch, stage, rest):
    """Killed after five parts of the checks, among duplicates, after five shards: no part is done again."""
    copies = [Crystal(c.numbers, c.frac_coords + 0.1, c.lattice, id=f"{c.id}'") for c in corpus.rows([1, 2])]
    table = CrystalDataset.from_crystals([*corpus, *copies]).write_parquet(tmp_path / "crystals.parquet")
    options = {"data": str(table), "shard_rows": 4, "recipe": str(recipe(tmp_path))}
    expected = prepare(**options, out=tmp_path / "in one go")
    script = f"""
import os, signal
from matgl_ssl.corpora import prepare, shards
from matgl_ssl.crystals import duplicates
from matgl_ssl.work import parallel
def killing(*args, what="", **kwargs):
    for i, each in enumerate(parallel(*args, what=what, **kwargs)):
        if what == {stage!r} and i == {0 if stage == "looking for duplicates" else 5}:
            os.kill(os.getpid(), signal.SIGKILL)
        yield each
shards.parallel = duplicates.parallel = killing
prepare(**{options}, out={str(tmp_path / "out")!r})
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], check=False, env=environment).returncode == -9
    assert not (tmp_path / "out").exists()
    counts = [counted(monkeypatch, name) for name in ("examined", "with_computed")]
    result = prepare(**options, out=tmp_path / "out")
    assert tuple(map(len, counts)) == rest
    assert result.manifest == expected.manifest
    assert [line["code"] for line in lines(tmp_path / "out")] == ["duplicate"] * 2
    for shard in expected.manifest["shards"]:
        assert (tmp_path / "out" / shard["file"]).read_bytes() == (tmp_path / "in one go" / shard["file"]).read_bytes()


def counted(monkeypatch, name: str) -> list[int]:
    """A list that gets an item at each call of a function that workers apply to rows."""
    calls, function = [], getattr(shards, name)
    monkeypatch.setattr(shards, name, lambda *args, **kwargs: calls.append(1) or function(*args, **kwargs))
    return calls


def recipe(folder: Path) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(
        "pretexts:\n"
        "- {name: atom-targets, weight: 1.0, arguments: {targets: [coordination], view: clean}}\n"
        "- {name: crystal-targets, weight: 1.0, arguments: {targets: [density], view: clean}}\n"
    )
    return file


def test_targets_are_those_of_the_recipe_and_computed_once(corpus, table, tmp_path, monkeypatch):
    out = prepare(data=table, out=tmp_path / "out", columns=[], license="MIT", recipe=recipe(tmp_path)).out
    targets = recipe_targets(recipe(tmp_path))
    assert Density() in targets
    expected, found = with_targets(corpus, targets), read_crystals(out)
    assert list(manifest(out)["targets"]) == found.label_names == [target.column for target in targets]
    for name in found.label_names:
        for one, other in zip(found.each(name), expected.each(name), strict=True):
            np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(compute, "_compute", lambda *args, **kwargs: pytest.fail("computed again"))
    pretrain(data=out, out=tmp_path / "run", recipe=recipe(tmp_path), model=NAMES[0], epochs=1, batch_size=8)
    assert read_stamp(tmp_path / "run")["data"]["license"] == "MIT"
    with pytest.raises(ConfigError, match="has no computed targets"):
        recipe_targets("masked-atoms")


def test_workers_make_the_same_folder(table, tmp_path):
    one = prepare(data=table, out=tmp_path / "one", shard_rows=8)
    two = prepare(data=table, out=tmp_path / "two", shard_rows=8, num_workers=2)
    assert one.manifest == two.manifest


def test_a_dask_cluster_makes_the_same_folder(table, tmp_path):
    one = prepare(data=table, out=tmp_path / "one", shard_rows=8)
    with cluster(tmp_path) as (address, _):
        assert prepare(data=table, out=tmp_path / "two", shard_rows=8, cluster=address).manifest == one.manifest


def test_what_cannot_be_done_is_said(corpus, table, tmp_path):
    out = prepare(data=corpus, out=tmp_path / "out").out
    with pytest.raises(RunDirectoryError, match="has been prepared already"):
        prepare(data=table, out=out)
    with pytest.raises(ConfigError, match="3 licences for 2 sources"):
        prepare(data=[table, table], out=tmp_path / "new", license=["MIT"] * 3)
    with pytest.raises(NothingLeftError, match=f"can be kept: {N} too-close"):
        prepare(data=table, out=tmp_path / "new", min_distance=20.0)
    other = CrystalDataset.from_crystals(
        [Crystal(cscl().numbers, cscl().frac_coords, cscl().lattice, labels={"gap": "wide"})]
    )
    with pytest.raises(DataError, match="different kinds"):
        prepare(data=[table, other], out=tmp_path / "new")
    with locked(tmp_path / ".busy.preparing" / "lock"), pytest.raises(RunDirectoryError, match="another process"):
        prepare(data=table, out=tmp_path / "busy")


def test_a_damaged_folder_is_refused_and_a_strange_manifest_is_none(corpus, tmp_path):
    out = prepare(data=corpus, out=tmp_path / "out", shard_rows=8, license="CC0-1.0").out
    shard = out / manifest(out)["shards"][1]["file"]
    content = shard.read_bytes()
    for damaged in (content[:-1], content[:100] + bytes([content[100] ^ 1]) + content[101:]):
        shard.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{shard.name} is damaged"):
            read_crystals(out)
    shard.unlink()
    with pytest.raises(DataError, match="is missing"):
        read_crystals(out)
    shard.write_bytes(content)
    (out / "manifest.json").write_text(json.dumps(manifest(out) | {"format": 99}))
    with pytest.raises(DataError, match="format 99"):
        read_crystals(out)
    text = json.dumps(manifest(out) | {"format": 2})
    for damaged in (text.replace("CC0", "CC1"), text.replace('"shards"', '"shbrds"'), text[:50], "", "[]"):
        (out / "manifest.json").write_text(damaged)
        with pytest.raises(DataError, match=r"manifest\.json is damaged"):
            read_crystals(out)
    (tmp_path / "manifest.json").write_text("[]")
    assert not is_prepared(tmp_path)


def test_nothing_is_written_into_the_folder_later(corpus, tmp_path):
    out = prepare(data=corpus, out=tmp_path / "out").out
    before = {*out.iterdir()}
    with_targets(read_crystals(out).select([0, 2, 5]), [Density()])
    assert {*out.iterdir()} == before


def test_the_command_line_says_what_came_of_each_source(table, tmp_path, capsys):
    out = str(tmp_path / "out")
    again = ["--data", str(table), "--license", "CC-BY-4.0", "--columns", "gap"]
    assert main(["prepare", "--data", str(table), *again, "--out", out]) == 0
    said = capsys.readouterr().out
    assert f"{N} of {N} crystals of {table}\n" in said
    assert f"0 of {N} crystals of {table}, {N} duplicate" in said
    assert f"mgl-ssl pretrain --data {out}" in said
    assert read_crystals(out).label_names == ["gap"]
    assert main(["prepare", "--data", str(table), "--out", out]) == RunDirectoryError.exit_code


def test_units_are_converted_once(tmp_path):
    """MatPES's layout says kbar under compression; what is prepared is in eV/Å³, and stays so when it is read again."""
    row = {
        "matpes_id": "m",
        "structure": cscl().to_structure().as_dict(),
        "energy": 2.0,
        "stress": [1.0, 1, 1, 0, 0, 0],
    }
    (tmp_path / "matpes.jsonl").write_text(json.dumps(row))
    prepare(data=tmp_path / "matpes.jsonl", out=tmp_path / "one", energy_unit="Ha")
    again = prepare(data=tmp_path / "one", out=tmp_path / "two")
    labels = again.crystals[0].labels
    np.testing.assert_allclose(labels["stress"], -np.eye(3) / 1602.1766, rtol=1e-6)
    assert labels["energy"] == pytest.approx(2 * 27.211386, rel=1e-6)
    assert manifest(tmp_path / "one")["units"] == {"energy": "Ha"}


def test_what_a_killed_process_had_not_yet_removed_is_removed(tmp_path, table):
    """It was killed after the folder was in place, and its work in progress stayed for ever."""
    work = tmp_path / ".out.preparing"
    prepared = prepare(data=table, out=tmp_path / "out", license="CC0-1.0")
    work.mkdir()
    (work / "part").touch()
    with pytest.raises(RunDirectoryError, match="prepared already"):
        prepare(data=table, out=prepared.out, license="CC0-1.0")
    assert not work.exists()
