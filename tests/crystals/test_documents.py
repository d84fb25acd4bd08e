"""Documents: the same bytes whatever they are packed in, and limits on what is unpacked."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc

import pytest
from pymatgen.io.cif import CifWriter

from matgl_ssl.crystals import read_crystals
from matgl_ssl.crystals.layouts import documents
from matgl_ssl.crystals.layouts.documents import Document
from matgl_ssl.errors import DataError

PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".GZ": gzip.compress}


@pytest.fixture(params=PACK)
def suffix(request) -> str:
    return request.param


def test_a_document_is_its_unpacked_bytes(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACK[suffix]("\ufeffå\r\n2\n".encode()))
    document = Document(path)
    assert document.name == path.name
    assert document.text() == "å\n2\n"
    assert list(document.lines()) == ["å\n", "2\n"]
    with document.on_disk() as copy:
        assert copy.read_bytes() == "\ufeffå\r\n2\n".encode()
        assert copy.suffix == ".txt"
    assert copy.exists() is (suffix == ""), "a copy is gone, the file itself stays"


def test_packed_structures(tmp_path, quartz, suffix):
    path = tmp_path / f"quartz.cif{suffix}"
    path.write_bytes(PACK[suffix](str(CifWriter(quartz)).encode()))
    assert read_crystals(path).ids == ["quartz"]
    assert read_crystals(tmp_path).formulas() == ["SiO2"]


@pytest.mark.parametrize("kind", ["cif", "json", "jsonl", "extxyz"])
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_bomb_is_refused_before_memory_is_taken(tmp_path, monkeypatch, suffix, kind):
    monkeypatch.setattr(documents, "ANY_RATIO", 1 << 20)
    path = tmp_path / f"bomb.{kind}{suffix}"
    path.write_bytes(PACK[suffix](b" " * (64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"unpacks to more than [\d,]+ bytes.*100 times.*unpack it yourself"):
            read_crystals(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_what_is_read_at_once_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_TEXT", 100)
    monkeypatch.setattr(documents, "MAX_ENTRY", 100)
    (tmp_path / "a.cif").write_text("x" * 101)
    with pytest.raises(DataError, match="larger than 100 bytes"):
        read_crystals(tmp_path / "a.cif")
    (tmp_path / "a.jsonl").write_text("x" * 101)
    with pytest.raises(DataError, match="a line of 100 characters"):
        read_crystals(tmp_path / "a.jsonl")


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_damaged_packing_is_told(tmp_path, suffix):
    path = tmp_path / f"a.cif{suffix}"
    path.write_bytes(PACK[suffix](b"data_x" * 99)[:-9])
    with pytest.raises(DataError, match="1 unreadable"):
        read_crystals(path)


def test_a_frame_that_promises_more_atoms_than_there_are(tmp_path):
    (tmp_path / "a.xyz").write_text("1000000000000\n\nH 0 0 0\n")
    with pytest.raises(DataError, match="promises 1000000000000 atoms, but the file ends after 1 of them"):
        read_crystals(tmp_path / "a.xyz")
