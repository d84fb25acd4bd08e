"""docs/data.md: each of its commands and calls, on files as the field's libraries write them."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
from pathlib import Path

import ase.db
import ase.io
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from monty.serialization import dumpfn
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry

from matgl_ssl.cli import main
from matgl_ssl.crystals import Crystal, CrystalDataset, read_crystals

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"\| `(mgl-ssl doctor [^`]+)` \|$", PAGE, re.MULTILINE)
CALLS = [line for line in PAGE.splitlines() if line.startswith("read_crystals(")]


@pytest.fixture(scope="module")
def salts() -> list[Structure]:
    pairs = [("Na", "Cl", 5.64), ("Li", "F", 4.03), ("K", "Br", 6.6), ("Mg", "O", 4.21)]
    return [
        Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [x, y], [[0, 0, 0], [0.5, 0.5, 0.5]]) for x, y, a in pairs
    ]


@pytest.fixture(scope="module")
def folder(salts, tmp_path_factory) -> Path:
    """Four crystals in each layout of the page."""
    root = tmp_path_factory.mktemp("data")
    ids = [f"salt-{i}" for i in range(4)]
    labels = pd.DataFrame({"id": ids, "gap": [0.5, 1.5, 2.5, 3.5]})
    salts[0].to(str(root / "NaCl.cif"))
    for name in ("structures", "cgcnn", "gnome/by_id", "wbm/frames"):
        (root / name).mkdir(parents=True)
    for id_, s in zip(ids, salts, strict=True):
        cif = s.to(fmt="cif")
        for path in (f"structures/{id_}.cif", f"cgcnn/{id_}.cif", f"{id_}.cif", f"gnome/by_id/{id_}.CIF"):
            (root / path).write_text(cif)
        ase.io.write(root / "wbm" / "frames" / f"{id_}.extxyz", s.to_ase_atoms())
    shutil.make_archive(str(root / "structures"), "zip", root / "structures")
    shutil.make_archive(str(root / "gnome" / "by_id"), "zip", root / "gnome", "by_id")
    shutil.make_archive(str(root / "wbm" / "wbm-initial-atoms.extxyz"), "zip", root / "wbm" / "frames")
    shutil.rmtree(root / "gnome" / "by_id")
    shutil.rmtree(root / "wbm" / "frames")
    labels.to_csv(root / "cgcnn" / "id_prop.csv", index=False, header=False)
    labels.to_csv(root / "labels.csv", index=False)
    labels.rename(columns={"id": "MaterialId"}).to_csv(root / "gnome" / "stable_materials_summary.csv")
    labels.rename(columns={"id": "material_id"}).to_csv(root / "wbm" / "wbm-summary.csv.gz", index=False)
    labels.assign(cif=[s.to(fmt="cif") for s in salts]).to_csv(root / "mp_20.csv")
    frame = pd.DataFrame({"structure": [s.as_dict() for s in salts], "last phdos peak": labels["gap"]})
    with gzip.open(root / "matbench_phonons.json.gz", "wt") as file:
        frame.to_json(file, orient="split")
    frame.to_json(root / "rows.jsonl", orient="records", lines=True)
    dumpfn(
        [ComputedStructureEntry(s, -1.0, entry_id=i) for i, s in zip(ids, salts, strict=True)], root / "entries.json"
    )
    atoms = [
        {"lattice_mat": s.lattice.matrix.tolist(), "coords": s.frac_coords.tolist(), "cartesian": False,
         "elements": [site.specie.symbol for site in s]} for s in salts
    ]  # fmt: skip
    rows = [{"jid": i, "atoms": a, "ehull": "na"} for i, a in zip(ids, atoms, strict=True)]
    (root / "dft_3d.json").write_text(json.dumps(rows))
    attributes = [
        {"lattice_vectors": s.lattice.matrix.tolist(), "cartesian_site_positions": s.cart_coords.tolist(),
         "species_at_sites": [site.specie.symbol for site in s]} for s in salts
    ]  # fmt: skip
    data = [{"id": i, "type": "structures", "attributes": a} for i, a in zip(ids, attributes, strict=True)]
    (root / "optimade.json").write_text(json.dumps({"data": data}))
    pq.write_table(pa.Table.from_pylist(attributes), root / "lemat.parquet")
    CrystalDataset.from_crystals(map(Crystal.from_structure, salts)).write_parquet(root / "ours.parquet")
    ase.io.write(root / "frames.extxyz", [s.to_ase_atoms() for s in salts])
    with ase.db.connect(root / "frames.db") as database:
        for s in salts:
            database.write(s.to_ase_atoms())
    return root


def test_the_page_has_them():
    assert len(COMMANDS) >= 15
    assert len(CALLS) == 7


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(folder, monkeypatch, capsys, command):
    monkeypatch.chdir(folder)
    assert main(shlex.split(command)[1:]) == 0
    count = 1 if "NaCl.cif" in command else 4
    assert f"{count} of {count} crystals are usable" in capsys.readouterr().out


@pytest.mark.parametrize("call", CALLS)
def test_calls(folder, salts, monkeypatch, call):
    monkeypatch.chdir(folder)
    names = {"read_crystals": read_crystals, "pd": pd, "ase": ase, "nacl": salts[0], "quartz": salts[1]}
    found = eval(call.partition("  #")[0], names)
    assert found.formulas()[:2] == ["NaCl", "LiF"]
    if "gap" in call:
        assert found.label_names == ["gap"]
