"""What version 0.1.0 wrote is read, and its interrupted runs end as they would have ended there."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from matgl_ssl import embed, finetune, predict, pretrain, read_crystals, read_stamp
from matgl_ssl.crystals.tables import cache_directory
from matgl_ssl.errors import MatGLSSLError, RunDirectoryError
from matgl_ssl.targets import teacher, with_targets
from matgl_ssl.targets.density import Density

OLD = Path(__file__).parents[1] / "fixtures" / "0.1.0"
CLOCK = {"seconds", "structures_per_second", "waiting"}


@pytest.fixture
def old(tmp_path, monkeypatch, backend_name) -> Path:
    """A copy of the fixtures, with the working directory in which they were made."""
    folder = shutil.copytree(OLD, tmp_path / "old", ignore=shutil.ignore_patterns("make.py"))
    monkeypatch.chdir(folder)
    return folder / backend_name


def resumed(run: Path, **options) -> Path:
    verb = finetune if run.name == "finetune" else pretrain
    verb(out=run, data="crystals.jsonl", resume=True, **options)
    return run


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if v and k not in CLOCK} for row in csv.DictReader(file)]


def assert_close(found, expected):
    """Equal to the rounding of another processor, or of kernels that add in another order since."""
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            try:
                assert float(one[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), name
            except ValueError:
                assert one[name] == value


def assert_same_weights(found: Path, expected: Path):
    ours, theirs = (torch.load(path / "state.pt", weights_only=True) for path in (found, expected))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-6)


def test_an_interrupted_pretraining_ends_as_it_would_have(old):
    run = resumed(old / "pretrain", allow_changed_environment=True)
    assert_same_weights(run / "encoder", old / "encoder")
    assert_close(metrics(run), json.loads((old / "expected.json").read_text())["pretrain"]["metrics"])


@pytest.mark.pyg
def test_an_interrupted_fine_tuning_ends_as_it_would_have(old):
    run = resumed(old / "finetune", allow_changed_environment=True)
    expected = json.loads((old / "expected.json").read_text())["finetune"]
    assert_same_weights(run / "model", old / "model")
    assert_close(metrics(run), expected["metrics"])
    with (run / "predictions.csv").open(newline="") as file:
        assert_close(list(csv.DictReader(file)), expected["predictions"])


def test_another_version_is_refused_until_it_is_allowed_and_then_written_down(old):
    run = old / "pretrain"
    with pytest.raises(
        RunDirectoryError, match=r"matgl_ssl was 0\.1\.0.*pip install matgl_ssl==0\.1\.0.*--allow-changed"
    ):
        resumed(run)
    resumed(run, allow_changed_environment=True)
    record = json.loads((run / "environment.json").read_text())
    assert record["packages"]["matgl_ssl"] == "0.1.0"
    assert [step["packages"]["matgl_ssl"] for step in record["resumed"]] != ["0.1.0"]
    resumed(run)  # finished, and with these versions


@pytest.mark.pyg
def test_exports_predict_and_embed_what_they_did(old):
    predictions = predict(model=old / "model", data=list(read_crystals("crystals.jsonl")))
    expected = json.loads((old / "expected.json").read_text())["predict"]
    assert [p.value for p in predictions] == pytest.approx(expected, rel=1e-4)
    assert read_stamp(old / "encoder")["recipe"] == "textbook"
    embed(model=old / "encoder", data="crystals.jsonl", out=old / "again.parquet")
    ours, theirs = (read_crystals_table(old / name) for name in ("again.parquet", "embeddings.parquet"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def read_crystals_table(path: Path) -> np.ndarray:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    name = next(n for n in table.column_names if n not in ("material_id", "id"))
    return np.array(table.column(name).to_pylist())


@pytest.mark.pyg
def test_caches_are_used_or_made_anew(old, monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(old / "cache", cache_directory())
    crystals = read_crystals("crystals.jsonl")
    # Columns are named by their version since 0.2, so that this one is computed again; its formula is the same.
    stored = datasets.Dataset.from_file(str(next(cache_directory().glob("targets-*.arrow"))))
    computed = with_targets(crystals, [Density()]).column(Density().column)
    np.testing.assert_allclose(np.concatenate(list(computed)), np.ravel(stored[stored.column_names[0]]), rtol=1e-6)
    # This teacher learned to restore displaced atoms: version 0.1.0 took its output for eV, which is refused since.
    monkeypatch.setattr(teacher, "_refuse_other_units", lambda _: None)
    monkeypatch.setattr(teacher, "_labelled", lambda *_: pytest.fail("labelled anew"))
    assert len(teacher.teacher_labels(crystals.select(range(6)), old / "potential", copies=1, seed=1)) == 12


@pytest.mark.parametrize("file", ["config.yaml", "environment.json", "facts.json"])
def test_a_format_from_the_future_is_refused_with_the_version_that_is_needed(old, file):
    path, text = old / "pretrain" / file, '"format": 99, "written_by": "matgl_ssl 7.1.0"'
    old_text = path.read_text()
    path.write_text(
        f"{{{text},{old_text[1:]}" if file.endswith(".json") else f"{text.replace(', ', chr(10))}\n{old_text}"
    )
    with pytest.raises(MatGLSSLError, match=r"format 99, written by matgl_ssl 7\.1\.0.*reads formats up to"):
        resumed(old / "pretrain", allow_changed_environment=True)


def test_a_stamp_or_checkpoint_from_the_future_is_refused(old):
    path = old / "encoder" / "model.json"
    content = json.loads(path.read_text())
    content["metadata"]["matgl_ssl"] |= {"format": 99, "written_by": "matgl_ssl 7.1.0"}
    path.write_text(json.dumps(content))
    with pytest.raises(MatGLSSLError, match=r"format 99, written by matgl_ssl 7\.1\.0"):
        read_stamp(old / "encoder")
    path = old / "pretrain" / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["matgl_ssl"] |= {"format": 99, "written_by": "matgl_ssl 7.1.0"}
    torch.save(content, path)
    with pytest.raises(RunDirectoryError, match=r"last\.ckpt is of format 99, written by matgl_ssl 7\.1\.0"):
        resumed(old / "pretrain", allow_changed_environment=True)
