"""The study that ``docs/benchmark.md`` shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from synthetic import MEGNET, cell, write

from matgl_ssl.evaluation import benchmark
from matgl_ssl.evaluation.config import ArmConfig, BenchmarkConfig, RoundConfig, TaskConfig

DOCS = Path(__file__).parents[2] / "docs" / "benchmark.md"


def shown():
    (content,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return yaml.safe_load(content)


def test_every_key_is_explained():
    text = DOCS.read_text()
    fields = [name for config in (BenchmarkConfig, TaskConfig, ArmConfig, RoundConfig) for name in config.model_fields]
    assert not [name for name in fields if f"`{name}`" not in text and f"`{name}:" not in text]


@pytest.mark.pyg
def test_the_study_that_is_shown_runs(tmp_path):
    """On a few cells of two atoms, less long, with fewer labels."""
    metals, anions = range(19, 31), (8, 9, 16, 17)
    write(tmp_path / "gaps.parquet", [cell(m, x, 3 + m / 30, band_gap=m / 10 + x) for m in metals for x in anions])
    write(tmp_path / "crystals.parquet", [cell(m, x, 3 + m / 50) for m in range(37, 49) for x in anions])
    study, few = shown(), {"labels": [10, 20], "seeds": [0, 1, 2]}
    study |= {
        "encoders": {"MEGNet": {**MEGNET, "nblocks": 1}},
        "pretrain": {"epochs": 1, "accelerator": "cpu"},
        "grid": [{**choice, "epochs": 1} for choice in study["grid"]],
        "rounds": [{**part, **few} for part in study["rounds"]],
    }
    study["arms"]["textbook-frozen"]["finetune"]["freeze"] = 1
    (tmp_path / "gaps.yaml").write_text(yaml.safe_dump(study))
    result = benchmark(config=tmp_path / "gaps.yaml", data=tmp_path, runs=tmp_path / "runs")
    assert not result.unfinished
    assert {score.arm for score in result.scores} == set(study["rounds"][0]["arms"])
    tables = re.findall(r"^\| (`.*?) \|", DOCS.read_text(), re.MULTILINE)
    files = [name for entry in tables for name in re.findall(r"`([^`]+\.[^`]+)`", entry)]
    assert len(files) == 8
    assert all(list((tmp_path / "results" / "gaps").glob(name)) for name in files)
