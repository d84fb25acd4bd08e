"""Whole benchmarks on data in which the truth is known."""

from __future__ import annotations

import csv
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import time
from threading import Thread

import pandas as pd
import pytest
import yaml
from processes import cluster, wait_until
from synthetic import corpus_and_task, study

from matgl_ssl.crystals import read_crystals
from matgl_ssl.errors import ConfigError
from matgl_ssl.evaluation import benchmark, read_predictions
from matgl_ssl.evaluation.config import BenchmarkConfig
from matgl_ssl.evaluation.statistics import interval, log_ratios
from matgl_ssl.evaluation.store import Store

# Minutes of training, which test_transfer.py compares with ``finetune`` bit for bit in both backends.
pytestmark = pytest.mark.pyg

ROUND = {"tasks": ["size"], "labels": [16], "seeds": [0, 1, 2]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    corpus_and_task(root)
    return root


@pytest.fixture(scope="module")
def truth(root):
    """One arm that must help, one that must not, one that leaks, and the baselines."""
    rounds = [
        {**ROUND, "arms": ["trivial", "forest", "tabular-targets", "scratch", "helps", "does-not-help"]},
        {**ROUND, "arms": ["leaks", "scratch-longer"], "seeds": [0]},
        {**ROUND, "arms": ["scratch", "helps"], "method": "ridge"},
    ]
    config = {**study(root, rounds=rounds), "headline": ["scratch", "helps"], "compare": ["scratch", "helps"]}
    return config, benchmark(config=config, data=root, out=root / "truth", runs=root / "runs")


def test_what_helps_wins_and_what_does_not_does_not(truth):
    _, result = truth
    arms = ("helps", "does-not-help", "trivial")
    gain = {arm: interval(*log_ratios(result.scores, arm).values()).percent() for arm in arms}
    assert gain["helps"].verdict == "won"
    assert gain["helps"].mean < -50
    assert gain["does-not-help"].verdict != "won"


def test_every_prediction_is_kept(truth, root):
    """The published errors follow from them; what is finished elsewhere stays when others are written."""
    config, result = truth
    table = read_predictions(result.out / "predictions")
    table["error"] = (table["prediction"] - table["label"]).abs()
    found = table[table["method"] == "fine-tune"].groupby(["arm", "seed"])["error"].mean()
    expected = {(score.arm, score.seed): score.mae for score in result.scores}
    assert found.to_dict() == pytest.approx(expected, rel=1e-3)
    assert set(table["id"]) <= set(read_crystals(root / "task.parquet").ids)

    elsewhere = shutil.copytree(result.out, root / "elsewhere")
    benchmark(config=config, data=root, out=elsewhere, runs=root / "other-runs", report_only=True)
    pd.testing.assert_frame_equal(read_predictions(elsewhere / "predictions"), table.drop(columns="error"))


def test_arms_are_compared_with_those_named(truth):
    """What wins against scratch is what scratch loses against."""
    text = (truth[1].out / "table.md").read_text()
    compared = text.split("Paired difference to helps in per cent, 95 % interval: MEGNet, 16 labels, fine-tune")[1]
    row = next(line for line in compared.splitlines() if line.startswith("| scratch |"))
    assert row.endswith("| 0 / 0 / 1 |")


def test_a_leak_is_caught_before_it_counts(truth):
    """``renamed`` is the target under another name: no cell of that arm is ever finished."""
    _, result = truth
    assert {cell.arm for cell in result.unfinished} == {"leaks"}
    assert not [score for score in result.scores if score.arm == "leaks"]
    text = (result.out / "table.md").read_text()
    assert "| leaks" not in text
    assert "Not run on any task: leaks." in text


def test_crystals_of_the_task_are_not_pretrained_on(truth, root):
    _, result = truth
    text = (result.out / "table.md").read_text()
    assert "leak rule `formula`: 80 of 240 crystals removed (size 80)" in text
    configs = list((root / "runs" / "pretrained").glob("*/facts.json"))
    assert len(configs) == 3


def test_everything_is_written(truth):
    _, result = truth
    with (result.out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["task", "encoder", "arm", "n_labels", "seed", "fold", "mae", "made_with"]
    assert len(rows) == len(result.scores) == 6 * 3 + 1
    assert {path.name for path in result.out.glob("*.png")} == {
        f"{figure}-MEGNet{method}.png"
        for figure in ("learning-curves", "improvement", "label-efficiency")
        for method in ("", "-ridge")
    }
    assert (result.out / "scores-ridge.csv").read_text().count("\n") == 7
    page = (result.out / "table.md").read_text()
    assert "Chosen on validation" in page
    assert "rerun-stale" not in page


def test_the_worse_of_two_lengths_is_not_chosen(truth, root):
    """The grid's second entry hardly trains: validation sees it, and every arm takes the first."""
    found = [p for p in (root / "runs" / "units").glob("cell-*.json") if '"epochs": 40' in p.read_text()]
    assert found
    assert "lr 1e-06, epochs 1 |" not in (truth[1].out / "table.md").read_text()


def test_scratch_longer_trains_longer(truth, root):
    results = [yaml.safe_load(p.read_text()) for p in (root / "runs" / "units").glob("cell-*.json")]
    epochs = {r["where"]["arm"]: r["result"]["epochs"] for r in results if r["where"].get("method") == "fine-tune"}
    assert epochs["scratch-longer"] > 2 * epochs["scratch"]


def test_arms_may_share_an_encoder_and_numbers_of_labels_have_grids(truth, root):
    """No pretraining but that of ``helps``, which is finished."""
    config, _ = truth
    wider = {"model_args": {"dim_node_embedding": 12}}  # a NEGNN is a model of its own
    arms = {
        **config["arms"],
        "shares": {"encoder_of": "helps", "finetune": {"layer_decay": 0.5}},
        "negnn": {"node_embedding_of": "helps", "finetune": {"node_embedding_layers": [1], **wider}},
    }
    rounds = [{**ROUND, "arms": ["scratch", "helps", "shares", "negnn"], "seeds": [0], "labels": [8, 16]}]
    changed = {
        **config,
        "arms": arms,
        "rounds": rounds,
        "grids": {8: [{"lr": 0.01, "epochs": 2}]},
        "part": "validation",
    }
    before = set((root / "runs" / "pretrained").iterdir())
    result = benchmark(config=changed, data=root, out=root / "shared", runs=root / "runs")
    assert set((root / "runs" / "pretrained").iterdir()) == before
    assert len({score.mae for score in result.scores}) == len(result.scores) == 8
    assert "## Validation MAE" in (result.out / "table.md").read_text()
    units = [
        json.loads(line) for line in lzma.decompress((result.out / "units.jsonl.xz").read_bytes()).splitlines()[1:]
    ]
    chosen = {unit["label"]: unit["result"]["choice"] for unit in units if "choice" in unit["result"]}
    assert {choice["epochs"] for label, choice in chosen.items() if " 8 labels" in label} == {2}
    assert {choice["epochs"] for label, choice in chosen.items() if " 16 labels" in label} != {2}


def test_a_recipe_is_fine_tuned_as_its_file_says(root, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("pretexts: [{name: masked-atoms}]\nfinetune: {layer_decay: 0.5, freeze: 0}\n")
    mine = {"recipe": str(own)}
    arms = {
        **study(root)["arms"],
        "own": mine,
        "other": {**mine, "finetune": {"layer_decay": 1.0}},
        "shares": {"encoder_of": "own"},
    }
    known = BenchmarkConfig(**study(root, arms=arms)).known_arms()
    found = {name: known[name].finetune for name in ("own", "other", "shares", "textbook", "dssl", "scratch")}
    assert found == {
        "own": {"layer_decay": 0.5, "freeze": 0},
        "other": {"layer_decay": 1.0, "freeze": 0},
        "shares": {},
        "textbook": {"layer_decay": 0.7},
        "dssl": {},
        "scratch": {},
    }


def test_scratch_longer_is_fine_tuned_as_scratch_is(root):
    arms = {**study(root)["arms"], "scratch": {"finetune": {"weight_decay": 0.1}}}
    known = BenchmarkConfig(**study(root, arms=arms)).known_arms()
    assert known["scratch-longer"].finetune == known["scratch"].finetune == {"weight_decay": 0.1}


def test_an_arm_may_be_whichever_does_best_on_validation(truth, root, monkeypatch):
    """Its cells are those of one arm for all seeds, whose trials are all in the table; nothing of a leak is chosen."""
    config, result = truth
    members = ["scratch", "helps", "does-not-help"]
    arms = {**config["arms"], "chosen": {"chosen_from": members}, "leaky": {"chosen_from": ["helps", "leaks"]}}
    changed = {**config, "arms": arms, "rounds": [{**ROUND, "arms": ["chosen", "leaky"]}]}
    monkeypatch.setattr("matgl_ssl.evaluation.runner.fine_tune", lambda *args: pytest.fail("all is trained"))
    chosen = benchmark(config=changed, data=root, out=root / "chosen", runs=root / "runs")
    scores = {(score.arm, score.seed): score.mae for score in result.scores}
    assert {(s.arm, s.seed): s.mae for s in chosen.scores} == {("chosen", k): scores["helps", k] for k in (0, 1, 2)}
    (row,) = (line for line in (chosen.out / "table.md").read_text().splitlines() if "| chosen | 16 | " in line)
    assert "| chosen | 16 | 0 | arm helps, " in row
    assert [row.count(f"arm {name}, ") for name in members] == [2, 3, 2]


def test_finished_cells_are_not_run_again(truth, root, monkeypatch):
    config, result = truth
    monkeypatch.setattr(Store, "keep", lambda *args: pytest.fail("nothing was left to do"))
    again = benchmark(config=config, data=root, out=root / "again", runs=root / "runs",
                      only={"arm": ["scratch", "helps"]})  # fmt: skip
    assert again.scores == result.scores
    assert (root / "again" / "scores.csv").read_bytes() == (result.out / "scores.csv").read_bytes()


def test_what_is_published_is_enough_to_go_on(truth, root, tmp_path, monkeypatch):
    """On another machine, without the encoders: nothing is done again, and the table is the same, wherever it goes."""
    config, result = truth
    study, published = tmp_path / "truth.yaml", tmp_path / "results" / "truth"
    study.write_text(yaml.safe_dump(config, sort_keys=False))
    published.mkdir(parents=True)
    shutil.copy(result.out / "units.jsonl.xz", published)
    monkeypatch.setattr(Store, "keep", lambda *args: pytest.fail("nothing was left to do"))
    again = benchmark(config=study, data=root, out=tmp_path / "tables", runs=tmp_path / "runs",
                      only={"arm": ["scratch", "helps"]})  # fmt: skip
    assert again.scores == result.scores
    assert (tmp_path / "tables" / "units.jsonl.xz").read_bytes() == (result.out / "units.jsonl.xz").read_bytes()
    table = (tmp_path / "tables" / "table.md").read_text().replace("# Benchmark truth", "# Benchmark")
    assert table == (result.out / "table.md").read_text()


def test_what_is_published_by_other_code_is_marked(truth, root, tmp_path, monkeypatch):
    config, result = truth
    study, published = tmp_path / "truth.yaml", tmp_path / "results" / "truth"
    study.write_text(yaml.safe_dump(config, sort_keys=False))
    published.mkdir(parents=True)
    shutil.copy(result.out / "units.jsonl.xz", published)
    monkeypatch.setattr("matgl_ssl.evaluation.store.made_with", lambda sources: f"later {sources}")
    only = {"arm": "trivial"}
    again = benchmark(config=study, data=root, runs=tmp_path / "runs", only=only)
    assert [score.made_with for score in again.scores] == [score.made_with for score in result.scores]
    assert "computed by other code" in (published / "table.md").read_text().lower()
    again = benchmark(config=study, data=root, runs=tmp_path / "runs", only=only, rerun_stale=True)
    assert {score.arm for score in again.scores if score.made_with == "later baseline"} == {"trivial"}
    assert [score.mae for score in again.scores if score.arm == "trivial"] == [
        score.mae for score in result.scores if score.arm == "trivial"
    ]


def test_an_option_that_is_new_leaves_what_is_finished(truth, root):
    """Facts hold what a configuration says, and nothing of what is so by default."""
    config, _ = truth
    found = [json.loads(path.read_text())["facts"] for path in (root / "runs" / "units").glob("pretraining-*.json")]
    model = {"model": "MEGNet", "model_args": config["encoders"]["MEGNet"]}
    options = json.loads(json.dumps({**config["pretrain"], **model}))  # JSON knows no tuples
    assert [facts["options"] for facts in found] == [options] * 3


def test_another_leak_rule_is_another_encoder(truth, root):
    config, _ = truth
    result = benchmark(config=config, data=root, out=root / "none", runs=root / "runs", leak_rule="none",
                       report_only=True)  # fmt: skip
    arms = {score.arm for score in result.scores}
    assert {"scratch", "trivial", "forest", "tabular-targets"} <= arms
    assert "helps" not in arms


def test_labels_of_the_same_quantity_are_refused_by_name(root):
    arms = {"modulus": {"supervised": "bulk_modulus_vrh"}}
    tasks = {"size": {"data": "task.parquet", "target": "size", "quantity": "elastic moduli"}}
    config = study(root, arms={**study(root)["arms"], **arms}, tasks=tasks,
                   rounds=[{**ROUND, "arms": ["trivial", "modulus"]}])  # fmt: skip
    result = benchmark(config=config, data=root, out=root / "refused", runs=root / "runs")
    assert {score.arm for score in result.scores} == {"trivial"}
    assert "refused: same quantity" in (result.out / "table.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": [{**ROUND, "arms": ["scrtch"]}]}, "Did you mean 'scratch'"),
        ({"rounds": [{**ROUND, "tasks": ["sizes"], "arms": ["scratch"]}]}, "Unknown task"),
        ({"longer_by": "trivial"}, "no pretraining"),
        ({"leak_rule": "formulas"}, "leak_rule"),
        ({"arms": {"a": {"encoder_of": "nobody"}}, "longer_by": "intrinsic"}, "Unknown method .nobody"),
        ({"arms": {"a": {"encoder_of": "scratch"}}, "longer_by": "intrinsic"}, "scratch has no pretraining"),
        ({"arms": {"a": {"encoder_of": "scratch", "recipe": "dssl"}}}, "not both"),
        ({"arms": {"a": {"encoder_of": "dssl", "node_embedding_of": "dssl"}}}, "not both"),
        ({"arms": {"a": {"node_embedding_of": "scratch"}}, "longer_by": "intrinsic"}, "scratch has no pretraining"),
        ({"arms": {"a": {"chosen_from": ["dsssl"]}}, "longer_by": "dssl"}, "Did you mean 'dssl'"),
        ({"arms": {"a": {"chosen_from": ["forest"]}}, "longer_by": "dssl"}, "forest chooses nothing"),
        ({"arms": {"dssl": {"chosen_from": ["scratch"]}}, "longer_by": "intrinsic"}, "dssl is one of chosen_from"),
        ({"finetune": {"epochz": 3}}, "Did you mean 'epochs'"),
        ({"finetune": {"patience": 3}}, "patience of finetune is set by the tasks and rounds"),
        ({"grid": [{"transform": "log10"}]}, "transform of finetune is set by the tasks and rounds"),
        (
            {"arms": {"a": {"encoder_of": "dssl", "pretrain": {"epochs": 1}}}, "longer_by": "dssl"},
            "a pretrains nothing",
        ),
        ({"arms": {"a": {"corpus": {"data": "corpus.parquet"}}}, "longer_by": "dssl"}, "a pretrains nothing"),
        ({"pretrain": {"epocs": 3}}, "Did you mean 'epochs'"),
        (
            {
                "arms": {"a": {"supervised": "noise", "pretrain": {"epocs": 3}}},
                "rounds": [{**ROUND, "arms": ["a"]}],
                "longer_by": "a",
            },
            "Did you mean 'epochs'",
        ),
        (
            {
                "arms": {"a": {"chosen_from": ["scratch", "dssl"]}},
                "rounds": [{**ROUND, "arms": ["a"]}],
                "grid": [{"epochs": 1}, {"model_args": {"cutoff": 5.0}}],
                "longer_by": "dssl",
            },
            "architecture of encoders",
        ),
        (
            {
                "tasks": {"size": {"data": "task.parquet", "test_data": "task.parquet", "target": "size"}},
                "rounds": [{**ROUND, "arms": ["scratch"], "folds": [0, 1]}],
            },
            "a test part of its own, fold 0",
        ),
        (
            {
                "tasks": {
                    "size": {"data": "task.parquet", "test_data": "task.parquet", "target": "size", "fold_column": "f"}
                }
            },
            "leave one out",
        ),
        (
            {
                "arms": {"a": {"node_embedding_of": "dssl"}},
                "rounds": [{**ROUND, "arms": ["a"], "method": "ridge"}],
                "longer_by": "dssl",
            },
            "leave it out of a probe",
        ),
        (
            {
                "arms": {"a": {"chosen_from": ["scratch", "dssl"]}},
                "rounds": [{**ROUND, "arms": ["a"], "method": "ridge"}],
                "longer_by": "dssl",
            },
            "leave it out of a probe",
        ),
    ],
)
def test_wrong_names_are_told_and_nothing_else(root, changes, message):
    with pytest.raises(ConfigError, match=message) as error:
        benchmark(config=study(root, **changes), data=root, out=root / "x", runs=root / "runs")
    assert "corpus.parquet" not in str(error.value)  # not the whole configuration


@pytest.mark.slow
def test_a_cluster_finishes_a_study_while_a_worker_is_killed(truth, root, tmp_path):
    config, result = truth
    changed = {**config, "rounds": [{**ROUND, "arms": ["trivial", "forest", "tabular-targets"]}]}
    with cluster(tmp_path) as (address, workers):
        Thread(target=kill_after, args=(tmp_path / "runs" / "units", workers[0]), daemon=True).start()
        found = benchmark(config=changed, data=root, out=tmp_path / "out", runs=tmp_path / "runs", cluster=address)
        assert workers[0].wait(60) == -signal.SIGKILL
    assert not found.unfinished
    assert set(found.scores) <= set(result.scores)
    assert len(found.scores) == 9


def kill_after(units, worker):
    """Kill a worker once something is finished."""
    wait_until(lambda: list(units.glob("cell-*.json")), 300)
    worker.kill()


@pytest.mark.slow
def test_a_killed_benchmark_goes_on_to_the_same_scores(truth, root, tmp_path):
    """Two processes on the command line, the parent killed with -9 in the middle, then one process to the end."""
    arms = ["trivial", "scratch"]
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study(root, rounds=[{**ROUND, "arms": arms}])))
    environment = {**os.environ, "MATGL_SSL_DATA": str(root)}
    command = [sys.executable, "-m", "matgl_ssl.cli", "benchmark", str(path), "--runs", str(tmp_path / "runs")]
    process = subprocess.Popen([*command, "--jobs", "2"], env=environment)
    units = tmp_path / "runs" / "units"
    for _ in range(3000):
        if len(list(units.glob("cell-*.json"))) > 3:
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 3 < len(list(units.glob("cell-*.json"))) < 6
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "results" / "study" / "scores.csv").read_text().splitlines()
    expected = (truth[1].out / "scores.csv").read_text().splitlines()
    assert set(rows) == {row for row in expected if row.split(",")[2] in (*arms, "arm")}
