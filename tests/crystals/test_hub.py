"""Names on the hub: real client, local server; configurations, splits, columns, other versions, no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_hub import serving
from small_systems import cscl, nacl

NAME = "LeMaterial/LeMat-Bulk"
READ = """
import json, sys
from matgl_ssl import read_crystals
from matgl_ssl.errors import DataError
for source, columns in json.loads(sys.argv[1]):
    try:
        found = read_crystals(source, columns=columns)
        print(json.dumps([found.ids, found.formulas(), found.label_names, bool(found.table.cache_files)]))
    except DataError as err:
        print(json.dumps(str(err)))
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "served"
    for config, first in (("compatible_pbe", "a"), ("compatible_scan", "s")):
        for split in ("train", "test"):
            write(folder / config / f"{split}-00000-of-00001.parquet", first + split)
    lines = [
        f"- config_name: {config}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {config}/{split}-*\n" for split in ("train", "test"))
        for config in ("compatible_pbe", "compatible_scan")
    ]
    (folder / "README.md").write_text("---\nconfigs:\n" + "".join(lines) + "---\n")
    return folder


def write(path, id_: str) -> None:
    crystals = [nacl(), cscl()]
    table = pa.table({
        "immutable_id": [f"{id_}-{i}" for i in range(2)], "energy": [-1.0, -2.0],
        "picture": [{"path": "http://127.0.0.1:9/x"}] * 2,
        "lattice_vectors": [c.lattice.tolist() for c in crystals], "species_at_sites": [c.symbols for c in crystals],
        "cartesian_site_positions": [c.cart_coords.tolist() for c in crystals],
    })  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def read(tmp_path, endpoint: str, *asked, **variables: str) -> list:
    environment = {
        **os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **variables,
    }  # fmt: skip
    environment.pop("HF_DATASETS_CACHE", None)
    done = subprocess.run([sys.executable, "-c", READ, json.dumps(asked)], env=environment, capture_output=True,
                          text=True, timeout=300, cwd=tmp_path, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_names_with_configurations_and_splits(folder, tmp_path):
    with serving(folder, NAME) as (endpoint, _):
        found = read(
            tmp_path, endpoint, (f"{NAME}:compatible_pbe", ["energy"]), (f"{NAME}:compatible_scan:test", []),
            (f"{NAME}:compatible_pbe:train[:1]", ["energy"]), (f"{NAME}:compatible_pbe:train+test", []), (NAME, []),
            (f"{NAME}:compatible_pbe:val", []), (f"{NAME}:compatible_pbe", ["energi"]), ("Nobody/knows", []),
        )  # fmt: skip
    assert found[0] == [["atrain-0", "atrain-1"], ["NaCl", "CsCl"], ["energy"], True]
    assert found[1][0] == ["stest-0", "stest-1"]
    assert found[2][0] == ["atrain-0"]
    assert found[3][0] == ["atrain-0", "atrain-1", "atest-0", "atest-1"]
    assert "name a configuration" in found[4]
    assert "compatible_scan" in found[4]
    assert "no configuration or split 'val'" in found[5]
    assert "'test'" in found[5]
    assert "Did you mean 'energy'" in found[6]
    assert "no Hugging Face dataset of this name can be reached" in found[7]


def test_what_was_read_once_is_read_again_only_when_it_changed(folder, tmp_path):
    source = (f"{NAME}:compatible_pbe", ["energy"])
    with serving(folder, NAME) as (endpoint, asked):
        first = read(tmp_path, endpoint, source)
        rows = [path for path in asked if path.endswith(".parquet")]
        write(folder / "compatible_pbe" / "train-00000-of-00001.parquet", "new")
        second = read(tmp_path, endpoint, source)
    assert rows
    assert first[0][0] == ["atrain-0", "atrain-1"]
    assert second[0][0] == ["new-0", "new-1"]
    assert read(tmp_path, "http://127.0.0.1:9", source) == second, "without a network, what was read last"
    (missing,) = read(tmp_path, "http://127.0.0.1:9", (f"{NAME}:compatible_scan", []))
    assert "can be reached" in missing


def test_a_configuration_may_be_called_as_a_split_of_another(folder, tmp_path):
    """``owner/name:x`` is a configuration first, and a split where there is none of that name."""
    (folder / "README.md").unlink()
    shutil.rmtree(folder / "compatible_scan")
    for path in (folder / "compatible_pbe").iterdir():
        path.rename(folder / path.name)
    with serving(folder, NAME) as (endpoint, _):
        found = read(tmp_path, endpoint, (f"{NAME}:test", []))
    assert found == [[["atest-0", "atest-1"], ["NaCl", "CsCl"], [], True]]


@pytest.mark.parametrize(
    "place", ["{elsewhere}/rows.json", "zip://rows.json::{elsewhere}/rows.zip", "/etc/hosts", "../../x"]
)
def test_a_card_sends_nobody_to_other_places(tmp_path, place):
    for name in ("served", "elsewhere"):
        (tmp_path / name).mkdir()
    with (
        serving(tmp_path / "elsewhere", "o/other") as (elsewhere, asked),
        serving(tmp_path / "served", NAME) as (endpoint, _),
    ):
        files = json.dumps([{"split": "train", "path": [place.format(elsewhere=elsewhere)]}])
        card = f"---\nconfigs:\n- config_name: default\n  data_files: {files}\n---\n"
        (tmp_path / "served" / "README.md").write_text(card)
        (found,) = read(tmp_path, endpoint, (NAME, []))
    assert "is not among its own files" in found
    assert asked == []


def test_only_tables_are_read_from_the_hub(tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.xml").write_text("<a/>")
    with serving(tmp_path / "served", NAME) as (endpoint, _):
        (found,) = read(tmp_path, endpoint, (NAME, []))
    assert "'xml' are not read" in found
