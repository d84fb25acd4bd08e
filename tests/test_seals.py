"""Caches: whatever a disk does to them, nobody gets other numbers; what is damaged is named once and made anew."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_systems import cscl, nacl, rattled

from matgl_ssl._seals import is_whole, read_sealed, sealed_path, write_sealed
from matgl_ssl.crystals import CrystalDataset, read_crystals
from matgl_ssl.crystals.tables import cache_directory
from matgl_ssl.targets import Density, with_targets
from matgl_ssl.targets.teacher import teacher_labels
from matgl_ssl.training import checked


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_bit_and_every_length_counts(tmp_path):
    path = tmp_path / "some.json"
    write_sealed(path, text := '{"Å": [1, 2]}')
    whole = path.read_bytes()
    assert read_sealed(path) == text
    for damaged in [flipped(whole, bit) for bit in range(8 * len(whole))] + [whole[:n] for n in range(len(whole))]:
        path.write_bytes(damaged)
        assert read_sealed(path) is None
    path.unlink()
    assert read_sealed(path) is None


def test_what_takes_anothers_place_is_not_taken_for_it(tmp_path, caplog):
    for name in "ab":
        with sealed_path(tmp_path / name) as temporary:
            temporary.write_text(name)
    assert is_whole(tmp_path / "a")
    assert not caplog.records
    (tmp_path / "b").replace(tmp_path / "a")
    assert not is_whole(tmp_path / "a")
    assert f"{tmp_path / 'a'} is damaged" in caplog.text


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    write_sealed(tmp_path / "a", "before")
    with pytest.raises(ZeroDivisionError), sealed_path(tmp_path / "a") as temporary:
        temporary.write_text(str(1 / 0))
    assert read_sealed(tmp_path / "a") == "before"


CRYSTALS = [replace(rattled(make(), seed), id=f"{make.__name__}-{seed}") for seed in range(3) for make in (nacl, cscl)]


def _table(folder: Path) -> CrystalDataset:
    return read_crystals(CrystalDataset.from_crystals(CRYSTALS).write_parquet(folder / "crystals.parquet"))


def _converted(folder: Path) -> CrystalDataset:
    cifs = [crystal.to_structure().to(fmt="cif") for crystal in CRYSTALS]
    pq.write_table(pa.table({"cif": [*cifs, "no CIF"]}), folder / "texts.parquet")
    return read_crystals(folder / "texts.parquet")


def _targets(folder: Path) -> CrystalDataset:
    return with_targets(_table(folder).select([0, 2, 3]), [Density()])


def _labels(folder: Path) -> CrystalDataset:
    return teacher_labels(CrystalDataset.from_crystals(CRYSTALS), "ase.calculators.lj:LennardJones")


def _checked(folder: Path) -> CrystalDataset:
    return checked.checked(CrystalDataset.from_crystals(CRYSTALS), cutoff=5.0, min_distance=2.81)[0]


@pytest.mark.parametrize("read", [_table, _converted, _targets, _labels, _checked])
def test_damaged_caches_are_named_and_made_anew(read, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checked, "FEW", 2)

    def found() -> str:
        crystals = read(tmp_path)
        return str([(c.id, c.numbers, c.frac_coords, c.lattice, c.labels) for c in crystals] + [*crystals.rejected])

    expected = found()
    files = [file for file in cache_directory().rglob("*") if file.is_file()]
    assert files
    rng = random.Random(0)
    for file in files:
        whole = file.read_bytes()
        flips = [flipped(whole, rng.randrange(8 * len(whole))) for _ in range(3)]
        for damaged in [b"", whole[: rng.randrange(len(whole))], *flips]:
            file.write_bytes(damaged)
            caplog.clear()
            assert found() == expected
            assert len(re.findall(rf"{re.escape(str(file))} is damaged", caplog.text)) == 1
            caplog.clear()
            assert found() == expected
            assert "damaged" not in caplog.text
