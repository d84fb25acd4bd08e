"""Archives are folders, whatever is in them that does not belong there."""

from __future__ import annotations

import io
import lzma
import stat
import tarfile
import zipfile

import pytest
from pymatgen.io.cif import CifWriter

from matgl_ssl.crystals import read_crystals
from matgl_ssl.crystals.layouts import archives, documents
from matgl_ssl.errors import DataError

MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz", ".txz": "w:xz"}


def write(path, contents: dict[str, bytes]) -> None:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
        return
    with tarfile.open(path, MODES[path.name[path.name.index(".") :]]) as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def cif(nacl) -> bytes:
    return str(CifWriter(nacl)).encode()


@pytest.mark.parametrize("suffix", [".zip", ".ZIP", *MODES])
def test_an_archive_is_read_as_the_folder_that_it_was(tmp_path, quartz, cif, suffix):
    contents = {
        "./by_id/a1.CIF": cif,
        "by_id/deep/POSCAR": quartz.to(fmt="poscar").encode(),
        "b.cif.xz": lzma.compress(cif),
        "by_id/broken.cif": b"no cif at all",
        "by_id/empty.cif": b"",
        "README.txt": b"not a crystal",
        "__MACOSX/._a1.cif": b"junk",
        ".hidden/a2.cif": b"junk",
    }
    write(tmp_path / f"data{suffix}", contents)
    found = read_crystals(tmp_path / f"data{suffix}")
    assert sorted(found.ids) == ["b", "by_id/a1", "by_id/deep/POSCAR"]
    assert sorted(each.id for each in found.rejected) == ["by_id/broken", "by_id/empty"]


def test_archives_within_a_folder(tmp_path, cif):
    write(tmp_path / "one.zip", {"a.cif": cif})
    write(tmp_path / "two.tar.gz", {"a.cif": cif})
    (tmp_path / "three.cif").write_bytes(cif)
    (tmp_path / "damaged.zip").write_bytes(b"PK junk")
    found = read_crystals(tmp_path)
    assert sorted(found.ids) == ["one/a", "three", "two/a"]
    assert "damaged.zip: a damaged archive" in found.rejected[0].message


@pytest.mark.parametrize("name", ["../out.cif", "a/../../out.cif", "/abs.cif", "..\\out.cif", "C:\\out.cif"])
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_names_that_leave_the_archive_are_refused(tmp_path, cif, name, suffix):
    write(tmp_path / f"a{suffix}", {name: cif, "good.cif": cif})
    found = read_crystals(tmp_path / f"a{suffix}")
    assert found.ids == ["good"]
    assert "leads out of the archive" in found.rejected[0].message
    assert [each.name for each in tmp_path.iterdir()] == [f"a{suffix}"]


def test_links_and_devices_are_refused(tmp_path, cif):
    (tmp_path / "secret.cif").write_bytes(cif)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("l.cif", tarfile.SYMTYPE), ("h.cif", tarfile.LNKTYPE), ("d.cif", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret.cif")
            archive.addfile(info)
    link = zipfile.ZipInfo("l.cif")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, str(tmp_path / "secret.cif"))
    for name, count in (("a.tar", 3), ("a.zip", 1)):
        with pytest.raises(DataError, match=rf"{count} unreadable.*is a link or a device"):
            read_crystals(tmp_path / name)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_bomb_of_many_members_is_refused(tmp_path, monkeypatch, suffix, cif):
    monkeypatch.setattr(documents, "ANY_RATIO", 1 << 20)
    write(tmp_path / f"a{suffix}", {"good.cif": cif, **{f"{i}.jsonl": b" \n" * (1 << 20) for i in range(4)}})
    found = read_crystals(tmp_path / f"a{suffix}")
    assert found.ids == ["good"]
    assert all("unpacks to more than" in each.message for each in found.rejected)


def test_a_sparse_member_counts_what_it_reads_as(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "ANY_RATIO", 1 << 20)
    info = tarfile.TarInfo("a.jsonl")
    info.size = 512
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a.jsonl",
                        "GNU.sparse.realsize": str(1 << 40)}  # fmt: skip
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(f"1\n{1 << 40}\n0\n".encode().ljust(512, b"\0")))
    with pytest.raises(DataError, match="unpacks to more than"):
        read_crystals(tmp_path / "a.tar")


def test_a_table_within_an_archive_says_what_to_do(tmp_path, cif):
    write(tmp_path / "a.zip", {"a.cif": cif, "t.parquet": b"PAR1"})
    found = read_crystals(tmp_path / "a.zip")
    assert found.ids == ["a"]
    assert "unpack the archive first" in found.rejected[0].message
    write(tmp_path / "b.zip", {"notes.txt": b"x"})
    with pytest.raises(DataError, match="no crystals in this archive"):
        read_crystals(tmp_path / "b.zip")


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("where", [0, 0.3, 0.6, 0.95])
def test_a_truncated_archive_is_told(tmp_path, cif, suffix, where):
    path = tmp_path / f"a{suffix}"
    write(path, {"a.cif": cif, "b.cif": cif[::-1]})
    path.write_bytes(path.read_bytes()[: max(1, int(where * path.stat().st_size))])
    try:
        assert set(read_crystals(path).ids) <= {"a"}
    except DataError:
        return


def test_several_streams_of_xz_are_one_file(tmp_path, cif):
    half = len(cif) // 2
    (tmp_path / "a.cif.xz").write_bytes(lzma.compress(cif[:half]) + bytes(8) + lzma.compress(cif[half:]) + bytes(4))
    assert read_crystals(tmp_path / "a.cif.xz").formulas() == ["NaCl"]


def test_xz_takes_no_more_memory_than_its_strongest_level(tmp_path, cif):
    (tmp_path / "a.cif.xz").write_bytes(lzma.compress(cif, preset=9))
    assert len(read_crystals(tmp_path / "a.cif.xz")) == 1
    with lzma.open(tmp_path / "b.cif.xz", "w", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 200 << 20}]) as file:
        file.write(cif)
    with pytest.raises(DataError, match="Memory usage limit"):
        read_crystals(tmp_path / "b.cif.xz")


@pytest.mark.parametrize("what", ["names", "method"])
def test_a_zip_that_takes_much_memory_is_refused(tmp_path, monkeypatch, cif, what):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA if what == "method" else zipfile.ZIP_STORED) as file:
        for i in range(20):
            file.writestr(f"{i}.cif", cif)
    if what == "names":
        assert len(read_crystals(tmp_path / "a.zip")) == 20
        monkeypatch.setattr(archives, "_MOST_NAMES", 900)
    with pytest.raises(DataError, match="list of members" if what == "names" else "a method that is not read"):
        read_crystals(tmp_path / "a.zip")
