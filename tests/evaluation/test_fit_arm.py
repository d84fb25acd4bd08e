"""What ``fit`` combines, as an arm of a benchmark."""

from __future__ import annotations

import json

import numpy as np
import pytest
from synthetic import corpus_and_task, study

from matgl_ssl import fit, predict
from matgl_ssl.ensemble.members import tabular
from matgl_ssl.errors import ConfigError
from matgl_ssl.evaluation import benchmark
from matgl_ssl.evaluation.config import BenchmarkConfig
from matgl_ssl.evaluation.tasks import read_task

pytestmark = pytest.mark.pyg  # it is the same code in both backends
OPTIONS = {"fine_tunings": 0, "n_folds": 2}


@pytest.fixture(autouse=True, scope="module")
def few_trees():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tabular, "_TREES", 10)
        yield


def config(root, **part) -> dict:
    rounds = [{"tasks": ["size"], "labels": [16], "seeds": [0], "arms": ["trivial", "combined"], **part}]
    more = {"arms": {"combined": {"fit": OPTIONS}}, "longer_by": "dssl", "compare": ["trivial"]}
    return study(root, rounds=rounds, **more)


def test_a_cell_is_what_fit_says_by_itself(tmp_path):
    corpus_and_task(tmp_path)
    made = config(tmp_path)
    result = benchmark(config=made, data=tmp_path, out=tmp_path / "out", runs=tmp_path / "runs")
    score = next(score for score in result.scores if score.arm == "combined")
    task = read_task("size", BenchmarkConfig(**made).tasks["size"], tmp_path)
    train, test = task.revealed(16, 0, 0), task.test_rows(0)
    fit(
        data=task.crystals.select(train), target="target", out=tmp_path / "fit", encoders=[], budget=60,
        accelerator="cpu", **OPTIONS,
    )  # fmt: skip
    said = predict(model=tmp_path / "fit", data=task.crystals.select(test))
    assert score.mae == pytest.approx(np.mean([abs(s.value - y) for s, y in zip(said, task.labels[test], strict=True)]))
    units = [json.loads(path.read_text()) for path in (tmp_path / "runs" / "units").glob("*.json")]
    kept = next(unit["result"] for unit in units if "covered" in unit["result"])
    inside = [s.lower <= y <= s.upper for s, y in zip(said, task.labels[test], strict=True)]
    assert kept["covered"] == pytest.approx(np.mean(inside))
    assert kept["weights"].keys() == kept["members"].keys()


def test_the_plain_model_of_a_cell_is_tested_too(tmp_path):
    corpus_and_task(tmp_path)
    made = config(tmp_path) | {
        "arms": {"combined": {"recipe": "masked-atoms", "fit": OPTIONS | {"finetune": {"epochs": 1}}}}
    }
    benchmark(config=made, data=tmp_path, out=tmp_path / "out", runs=tmp_path / "runs")
    units = [json.loads(path.read_text())["result"] for path in (tmp_path / "runs" / "units").glob("*.json")]
    kept = next(result for result in units if "covered" in result)
    assert 0 < kept["plain_model"] < np.inf
    table = (tmp_path / "out" / "table.md").read_text()
    row = next(line for line in table.splitlines() if "| combined | 16 | 1 |" in line)
    covered, _, further = [float(entry) for entry in row.strip("| ").split(" | ")[5:]]
    assert covered == pytest.approx(100 * kept["covered"], abs=0.06)
    assert further == pytest.approx(100 * (kept["plain_model"] / kept["mae"] - 1), abs=0.06)


def test_a_combination_is_no_probe(tmp_path):
    with pytest.raises(ConfigError, match="combined has no vectors before it is fine-tuned"):
        BenchmarkConfig.build(config(tmp_path, method="ridge"))
