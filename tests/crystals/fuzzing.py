"""Readers under damaged and absurd files: what is read, and processes that read it under limits of time and memory.

    python tests/crystals/fuzzing.py SEED N FOLDER      # one process: a line of JSON for each input

Hypothesis draws a small file of some layout and damage to it. ``outcomes`` reads as many as it is asked to, whatever
becomes of the processes that do it, and keeps the inputs of which something foreign came in ``FOLDER``.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SECONDS = 20
MEMORY = 2**30

_NUMBER = re.compile(rb"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_ABSURD = (
    b"nan", b"inf", b"-inf", b"-1", b"0", b"1", b"1e308", b"1e-320", b"1e10", b"999999999999", b"1" + b"0" * 40, b"",
    b"--3", b"null", b'"na"', b"[]", b"{}", b"true", b"\xff\xfe", b"1e39", b"0x1F",
)  # fmt: skip


def layouts(folder: Path) -> dict[str, tuple[bytes, Callable[[bytes], bytes]]]:
    """A small file in each layout: its name, what is in it, and how that is packed."""
    import lmdb
    import pandas as pd
    from ase.db import connect
    from ase.io import write
    from pymatgen.core import Lattice, Structure

    salts = [
        Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [x, y], [[0, 0, 0], [0.5, 0.5, 0.5]])
        for x, y, a in (("Na", "Cl", 5.64), ("Mg", "O", 4.21), ("K", "Br", 6.6))
    ]
    gaps, ids = [8.5, 7.8, 7.4], ["a", "b", "c"]
    rows = [{"material_id": i, "structure": s.as_dict(), "gap": g} for i, s, g in zip(ids, salts, gaps, strict=True)]
    frames = []
    for salt, gap in zip(salts, gaps, strict=True):
        frames.append(salt.to_ase_atoms())
        frames[-1].info["gap"] = gap
    found: dict[str, Any] = {
        "one.cif": "\n".join(salt.to(fmt="cif") for salt in salts[:2]),
        "POSCAR": salts[0].to(fmt="poscar"),
        "rows.json": json.dumps(rows),
        "lines.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows),
        "one.json": json.dumps(rows[0]["structure"]),
        "entries.json": json.dumps({"entries": [
            {"@class": "ComputedStructureEntry", "energy": -3.0, "composition": dict(s.composition.as_dict()),
             "structure": s.as_dict(), "data": {"mat_id": i, "e_form": -1}} for s, i in zip(salts, ids, strict=True)]}),
        "frames.json": json.dumps({"mp-1": {"mp-1-0": {
            "structure": rows[0]["structure"], "uncorrected_total_energy": -20.0, "force": [[0.0] * 3] * 8,
            "stress": [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], "magmom": None}}}),
        "jarvis.json": json.dumps([{"jid": i, "gap": "na", "atoms": {
            "lattice_mat": s.lattice.matrix.tolist(), "coords": s.frac_coords.tolist(), "cartesian": False,
            "elements": [site.specie.symbol for site in s]}} for s, i in zip(salts, ids, strict=True)]),
        "optimade.json": json.dumps({"data": [{"id": i, "type": "structures", "attributes": {
            "lattice_vectors": s.lattice.matrix.tolist(), "cartesian_site_positions": s.cart_coords.tolist(),
            "species_at_sites": [site.specie.symbol for site in s]}} for s, i in zip(salts, ids, strict=True)]}),
        "split.json": json.dumps({"index": ids, "columns": ["structure", "gap"],
                                  "data": [[row["structure"], row["gap"]] for row in rows]}),
        "text.csv": pd.DataFrame({"id": ids, "cif": [s.to(fmt="cif") for s in salts], "gap": gaps}).to_csv(index=False),
    }  # fmt: skip
    text = io.StringIO()
    write(text, frames, format="extxyz")
    found["frames.extxyz"] = text.getvalue()
    write(folder / "frames.traj", frames)
    with connect(folder / "rows.db") as rows_of_ase:
        for atoms, gap in zip(frames, gaps, strict=True):
            rows_of_ase.write(atoms, gap=gap)
    with (
        lmdb.open(str(folder / "rows.aselmdb"), subdir=False, lock=False, map_size=1 << 20) as database,
        database.begin(write=True) as writing,
    ):
        for number, atoms in enumerate(frames, 1):
            row = {"numbers": atoms.numbers.tolist(), "positions": atoms.positions.tolist(), "pbc": [True] * 3,
                   "cell": atoms.cell.tolist(), "energy": -1.5, "key_value_pairs": {"gap": 8.5}}  # fmt: skip
            writing.put(str(number).encode(), zlib.compress(json.dumps(row).encode()))
    flat = pd.DataFrame({
        "material_id": ids, "numbers": [s.atomic_numbers for s in salts], "gap": gaps,
        "frac_coords": [s.frac_coords.ravel() for s in salts], "lattice": [s.lattice.matrix.ravel() for s in salts],
    })  # fmt: skip
    flat.to_parquet(folder / "flat.parquet")
    flat.to_feather(folder / "flat.feather")
    pd.DataFrame({"structure": [json.dumps(row["structure"]) for row in rows], "gap": gaps}).to_parquet(
        folder / "text.parquet"
    )
    found |= {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    found = {name: content.encode() if isinstance(content, str) else content for name, content in found.items()}
    packed = {name: (content, _as_it_is) for name, content in found.items()}
    return packed | {
        "split.json.gz": (found["split.json"], gzip.compress),
        "entries.json.bz2": (found["entries.json"], bz2.compress),
        "cifs.zip": (found["one.cif"], _zipped), "frames.tar.gz": (found["frames.extxyz"], _tarred),
    }  # fmt: skip


def _as_it_is(content: bytes) -> bytes:
    return content


def _zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("folder/one.CIF", content)
    return archive.getvalue()


def _tarred(content: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as file:
        member = tarfile.TarInfo("frames.extxyz")
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def damaged(draw: Callable[[Any], Any], content: bytes) -> bytes:
    """Content with up to three faults."""
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(1, 200))
        kind = draw(st.sampled_from(["number", "number", "flip", "cut", "end", "repeat", "insert", "line"]))
        if kind == "number" and (numbers := list(_NUMBER.finditer(content))):
            found = numbers[draw(st.integers(0, len(numbers) - 1))]
            content = content[: found.start()] + draw(st.sampled_from(_ABSURD)) + content[found.end() :]
        elif kind == "flip" and content:
            content = content[:place] + bytes([content[place] ^ 1 << draw(st.integers(0, 7))]) + content[place + 1 :]
        elif kind == "cut":
            content = content[:place] + content[place + length :]
        elif kind == "end":
            content = content[:place]
        elif kind == "repeat":
            content = content[:place] + content[place : place + length] * draw(st.integers(2, 50)) + content[place:]
        elif kind == "insert":
            content = content[:place] + draw(st.binary(max_size=20)) + content[place:]
        elif kind == "line":
            lines = content.split(b"\n")
            del lines[draw(st.integers(0, len(lines) - 1))]
            content = b"\n".join(lines)
    return content


def read_all(number: int, n: int, folder: Path) -> None:
    """Read ``n`` inputs in this process, which an alarm ends when one takes too long."""
    from matgl_ssl.boundary import typed_errors
    from matgl_ssl.crystals import check_dataset, read_crystals
    from matgl_ssl.errors import MatGLSSLError

    with tempfile.TemporaryDirectory() as name:
        sources = layouts(Path(name))
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))

    @seed(number)
    @settings(
        max_examples=n, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def one(data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(sources)))
        content, packed = sources[name]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / name).write_bytes(packed(damaged(data.draw, content)))
        signal.alarm(SECONDS)
        try:
            with typed_errors():
                check_dataset(read_crystals(folder / name))
            came, text = "result", ""
        except MatGLSSLError as err:
            came, text = "typed", f"{type(err).__name__}: {err}"
        except Exception as err:
            came, text = "foreign", f"{type(err).__name__}: {err}"
            kept = folder.with_name(f"{folder.name}-foreign-{number}")
            kept.mkdir(exist_ok=True)
            shutil.copy(folder / name, kept)
        signal.alarm(0)
        print(json.dumps({"name": name, "came": came, "text": text[:300]}), flush=True)

    one()


def outcomes(n: int, folder: Path, number: int = 0, at_once: int = 500) -> list[dict[str, Any]]:
    """What came of ``n`` inputs, in processes of ``at_once`` each; one that dies is a hang, or a crash."""
    found: list[dict[str, Any]] = []
    while len(found) < n:
        number += 1
        inputs = folder / f"inputs-{number}"
        command = [
            sys.executable,
            "-W",
            "ignore",
            __file__,
            str(number),
            str(min(at_once, n - len(found))),
            str(inputs),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode and not (rows or inputs.exists()):
            raise RuntimeError(done.stderr[-2000:])
        if done.returncode:
            name = next((file.name for file in inputs.iterdir()), "")
            rows.append({"name": name, "came": "hang" if done.returncode == -signal.SIGALRM else "crash",
                         "text": f"exit code {done.returncode}: {done.stderr[-200:]}"})  # fmt: skip
            inputs.rename(folder / f"inputs-{number}-{rows[-1]['came']}")
        found += [{"seed": number, **row} for row in rows]
    return found


if __name__ == "__main__":
    read_all(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
