"""From a labelled table to predictions with intervals, where the truth is known."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import skops.io
from processes import wait_until
from sklearn.pipeline import Pipeline
from synthetic import cell

import matgl_ssl
from matgl_ssl._files import locked
from matgl_ssl.cli import main
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.ensemble import tuning
from matgl_ssl.ensemble.config import FitConfig
from matgl_ssl.ensemble.members import Line, Trees
from matgl_ssl.ensemble.predict import ClassPrediction, IntervalPrediction, predict
from matgl_ssl.errors import ConfigError, DataError, ModelError, NotWrittenError, RunDirectoryError, TrainingInterrupted
from matgl_ssl.targets.descriptors import Estimates
from matgl_ssl.training.provenance import public_name

from .conftest import known_elements, table

# It is the same code in both backends; test_plain.py fine-tunes in both.
pytestmark = pytest.mark.pyg

fit = partial(matgl_ssl.fit, encoders=[])
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def size(metal, anion, a):
    return a**3


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Volumes, which descriptors know."""
    out = tmp_path_factory.mktemp("fit") / "volume"
    data = table(60, size)
    return fit(data=data, target="target", unit="Å³", out=out), data


def test_it_predicts_and_says_how_well(fitted):
    result, _ = fitted
    target = result.targets["target"]
    assert result.finished
    assert target.error < target.trivial / 3
    assert sum(target.weights.values()) == pytest.approx(1)
    others = table(40, size, seed=1)
    predictions = predict(model=result.out, data=others)
    assert all(isinstance(p, IntervalPrediction) and p.unit == "Å³" and p.confidence == 0.9 for p in predictions)
    truth = others.column("target")
    errors = np.abs([p.value for p in predictions] - truth)
    assert errors.mean() < target.trivial / 3
    inside = np.mean([p.lower <= y <= p.upper for p, y in zip(predictions, truth, strict=True)])
    assert inside > 0.7  # few labels, and 40 crystals: see test_calibrate
    report = result.report.read_text()
    assert "60 labels of" in report
    assert "trees on descriptors" in report
    assert f"{target.coverage:.0%}" in report
    assert "Å³" in str(predictions[0])
    assert "(90%)" in str(predictions[0])


def test_a_new_process_says_the_same(fitted, tmp_path):
    result, _ = fitted
    others = table(10, size, seed=2)
    path = others.write_parquet(tmp_path / "others.parquet")
    code = (
        "import json, sys, matgl_ssl\n"
        "print(json.dumps([[p.value, p.lower, p.std] for p in matgl_ssl.predict(model=sys.argv[1], data=sys.argv[2])]))"
    )
    run = [sys.executable, "-c", code, str(result.out), str(path)]
    said = subprocess.run(run, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    here = [[p.value, p.lower, p.std] for p in predict(model=result.out, data=path)]
    np.testing.assert_allclose(json.loads(said.stdout.splitlines()[-1]), here, rtol=1e-12)


def test_strangers_get_wider_intervals_and_a_flag(fitted):
    result, data = fitted
    usual = predict(model=result.out, data=data.select(range(10)))
    assert sum(bool(p.flag) for p in usual) <= 1
    strangers = predict(model=result.out, data=CrystalDataset.from_crystals([cell(92, 53, 3.8), cell(26, 26, 2.5)]))
    assert strangers[0].flag == "no labelled crystal has I, U"
    assert strangers[1].flag == "unlike every labelled crystal"
    width = np.mean([p.upper - p.lower for p in usual])
    assert min(p.upper - p.lower for p in strangers) > width


def test_a_label_that_is_an_estimate_is_found_along_a_line(tmp_path):
    crystals = list(table(50, size))
    exact = [Estimates()(crystal) for crystal in crystals]
    column = int(np.argmax(np.isfinite(exact).all(0) & (np.std(exact, 0) > 0)))
    labelled = [
        dataclasses.replace(c, labels={"target": 2 * e[column] + 1}) for c, e in zip(crystals, exact, strict=True)
    ]
    found = fit(data=CrystalDataset.from_crystals(labelled), target="target", out=tmp_path / "fit").targets["target"]
    assert found.weights["line along one estimate"] > 0.9
    assert found.error < 1e-3 * found.trivial


def test_what_only_copies_tell_is_not_believed(tmp_path):
    """Labels that only a formula tells: crystal by crystal they look learnable, formula by formula they are noise."""
    rng = np.random.default_rng(0)
    pairs = [(m, x) for m in (3, 11, 12, 19, 20, 26, 29, 30, 38, 47) for x in (8, 17)]
    labels = dict(zip(pairs, rng.normal(size=len(pairs)), strict=True))
    rows = [cell(m, x, 3.5 + 0.01 * i, target=labels[m, x]) for m, x in pairs for i in range(3)]
    found = fit(data=CrystalDataset.from_crystals(rows), target="target", out=tmp_path / "fit").targets["target"]
    assert found.error > 0.7 * found.trivial


def test_a_changed_member_is_refused(fitted, tmp_path):
    result, data = fitted
    out = tmp_path / "copy"
    shutil.copytree(result.out, out)
    one, other = (predict(model=where, data=data.select([0]))[0].value for where in (out, result.out))
    assert one == other
    manifest = json.loads((out / "ensemble.json").read_text())
    counting = max(manifest["targets"][0]["members"], key=lambda member: member["weight"])
    file = out / "units" / counting["parts"][0]["unit"] / "estimator.skops"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    os.utime(out / "ensemble.json", ns=(1, 1))  # as another process would see it: nothing is loaded yet
    with pytest.raises(ModelError, match="changed after it was written"):
        predict(model=out, data=data.select([0]))
    text = (out / "ensemble.json").read_text()
    (out / "ensemble.json").write_text(text.replace('"confidence": 0.9', '"confidence": 0.5'))
    with pytest.raises(ModelError, match="damaged, or was edited"):
        predict(model=out, data=data.select([0]))


def test_a_file_with_other_types_is_refused(tmp_path):
    step = Pipeline([("model", "passthrough")])
    step.extra = shutil.rmtree
    skops.io.dump(step, tmp_path / "estimator.skops")
    with pytest.raises(ModelError, match="holds types"):
        Trees("trees").load(tmp_path, 0)


def test_going_on_finds_what_is_finished_and_says_the_same(fitted, caplog):
    result, data = fitted
    before = {path: path.stat().st_mtime_ns for path in (result.out / "units").glob("*.json")}
    again = fit(data=data, target="target", unit="Å³", out=result.out)
    assert {path: path.stat().st_mtime_ns for path in (result.out / "units").glob("*.json")} == before
    assert again.targets["target"].weights == result.targets["target"].weights
    with pytest.raises(RunDirectoryError, match="other labels"):
        fit(data=data.select(range(40)), target="target", out=result.out)


def test_a_killed_fit_goes_on(fitted, tmp_path):
    result, data = fitted
    path, out = data.write_parquet(tmp_path / "data.parquet"), tmp_path / "killed"
    code = (
        "import sys; from matgl_ssl.ensemble.members import tabular; tabular._TREES = 20\n"
        "import matgl_ssl; matgl_ssl.fit(data=sys.argv[1], target='target', out=sys.argv[2], encoders=[])"
    )
    run = [sys.executable, "-c", code, str(path), str(out)]
    process = subprocess.Popen(run, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    wait_until(lambda: len([*(out / "units").glob("*.json")]) > 12 or process.poll() is not None, 120)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "ensemble.json").exists()
    kept = {p.name: p.stat().st_mtime_ns for p in (out / "units").glob("*.json")}
    fit(data=path, target="target", out=out)
    assert {name: (out / "units" / name).stat().st_mtime_ns for name in kept} == kept
    others = table(10, size, seed=3)
    one, other = ([p.value for p in predict(model=where, data=others)] for where in (result.out, out))
    assert one == other


def test_a_learner_that_fails_is_left_out_and_a_signal_ends_the_fit(tmp_path, monkeypatch):
    data = table(20, size)

    def failing(error):
        def fail(self, lesson):
            raise error

        return fail

    monkeypatch.setattr(Line, "fit", failing(ValueError("no line")))
    found = fit(data=data, target="target", out=tmp_path / "fit", n_folds=3).targets["target"]
    assert found.failed == {"line along one estimate": "no line"}
    for error in (TrainingInterrupted("stopped", signal.SIGTERM), NotWrittenError("the disk is full")):
        monkeypatch.setattr(Line, "fit", failing(error))
        with pytest.raises(type(error)):
            fit(data=data, target="target", out=tmp_path / "fit", n_folds=3)


def test_two_at_once_are_refused(fitted):
    result, _ = fitted
    with locked(result.out / ".lock") as mine:
        assert mine
        code = f"import matgl_ssl; matgl_ssl.fit(data={str(result.out)!r}, target='target', out={str(result.out)!r})"
        said = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=ENVIRONMENT
        )
    assert "is being written by" in said.stderr


def test_fine_tuned_encoders_are_bagged_over_folds_and_kept_as_plain_models(encoder, tmp_path, monkeypatch):
    """Two processes find what one does."""
    monkeypatch.setattr(tuning, "_START", 0.0)
    data = known_elements(30, size)
    options = {"epochs": 2, "batch_size": 8}
    learn = partial(
        fit, data=data, target="target", out=tmp_path / "fit", encoders=[encoder], fine_tunings=2, finetune=options,
        budget=60, n_folds=3, accelerator="cpu",
    )  # fmt: skip
    result = learn(num_workers=2)
    lost = list((result.out / "units").glob("*fine-tuned*fold-1*.json"))
    assert len(lost) == 2
    for path in lost:
        path.unlink()
    assert learn(num_workers=0).targets["target"].members == result.targets["target"].members
    found = result.targets["target"]
    name = f"{public_name(encoder)}, fine-tuned"
    assert name in found.members
    assert not found.failed
    manifest = json.loads((result.out / "ensemble.json").read_text())
    member = next(m for m in manifest["targets"][0]["members"] if m["name"] == name)
    assert [(part["fold"], part["seed"]) for part in member["parts"]] == [(f, s) for s in (0, 1) for f in range(3)]
    model = matgl_ssl.load_model(result.out / "units" / member["parts"][0]["unit"] / "model")
    assert type(model).__name__ == "MEGNet"
    others = known_elements(5, size, seed=1)
    predictions = predict(model=result.out, data=others)
    assert all(np.isfinite(p.value) for p in predictions)
    # An element that the encoder does not know: the others still speak.
    (stranger,) = predict(model=result.out, data=CrystalDataset.from_crystals([cell(47, 17, 3.8)]))
    assert "Ag" in stranger.flag
    if any(weight > 0 for kind, weight in found.weights.items() if "descriptors" in kind or "estimate" in kind):
        assert np.isfinite(stranger.value)


def test_nothing_is_begun_after_the_budget():
    late = tuning._Fold(3, None, None, "none", fold=0, seed=0, until=time.time() - 1)
    assert tuning._fine_tune(late) == (3, 0.0, "")


def test_the_encoder_of_other_elements_is_left_out_with_the_reason(encoder, tmp_path):
    rows = [cell(m, 17, 3.5 + 0.01 * m, target=float(m)) for m in (3, 19, 20, 25, 29, 30, 37, 38, 47, 49, 50, 56)]
    result = fit(
        data=CrystalDataset.from_crystals(rows), target="target", out=tmp_path / "fit", encoders=[encoder],
        finetune={"epochs": 1}, accelerator="cpu", n_folds=3,
    )  # fmt: skip
    failed = result.targets["target"].failed
    assert len(failed) == 3
    assert all(name.endswith((public_name(encoder), "fine-tuned")) for name in failed)
    assert "fine-tuned: None of the revealed" in result.report.read_text()


def test_classes_get_probabilities(tmp_path, capsys):
    data = table(60, lambda metal, anion, a: "small" if a < 3.8 else "large")
    out = tmp_path / "fit"
    result = fit(data=data, target="target", task="classification", out=out)
    found = result.targets["target"]
    assert found.error < 0.7 * found.trivial
    others = table(30, lambda metal, anion, a: "small" if a < 3.8 else "large", seed=1)
    predictions = predict(model=out, data=others)
    assert all(isinstance(p, ClassPrediction) for p in predictions)
    right = np.mean([p.label == y for p, y in zip(predictions, others.column("target"), strict=True)])
    assert right > 0.8
    assert dict(predictions[0].probabilities).keys() == {"large", "small"}
    assert sum(dict(predictions[0].probabilities).values()) == pytest.approx(1)
    path = others.write_parquet(tmp_path / "others.parquet")
    assert main(["predict", "-m", str(out), "-i", str(path)]) == 0
    assert "probability" in capsys.readouterr().out


def test_several_targets_with_holes_weights_and_sums_over_atoms(tmp_path):
    data = table(
        40, lambda m, x, a: 2 * a**3, gap=lambda m, a: a if m > 12 else None, weight=lambda m, a: 1.0 + (a > 4)
    )
    result = fit(
        data=data, target="target,gap", per_atom=True, weight_column="weight", out=tmp_path / "fit", n_folds=3,
    )  # fmt: skip
    assert set(result.targets) == {"target", "gap"}
    others = table(12, lambda m, x, a: 2 * a**3, seed=4)
    predictions = predict(model=result.out, data=others)
    assert [p.name for p in predictions] == ["target"] * 12 + ["gap"] * 12
    values = np.array([p.value for p in predictions[:12]])
    assert np.abs(values - others.column("target")).mean() < 0.3 * np.std(others.column("target"))
    assert len([p for p in predictions[12:] if np.isfinite(p.value)]) == 12


def test_bounds_hold_for_intervals(tmp_path):
    data = table(40, lambda m, x, a: max(0.0, a - 3.8))
    result = fit(data=data, target="target", lower_bound=0.0, out=tmp_path / "fit", n_folds=3)
    predictions = predict(model=result.out, data=table(20, size, seed=5))
    assert min(p.lower for p in predictions) == 0.0
    with pytest.raises(DataError, match="outside of the bounds"):
        fit(data=data, target="target", lower_bound=0.1, out=tmp_path / "other")


@pytest.mark.parametrize(
    ("rows", "options", "error", "words"),
    [
        (8, {}, DataError, "fewer than 10"),
        (20, {"target": "missing"}, DataError, "missing"),
        (20, {"budget": 0}, ConfigError, "budget"),
        (20, {"task": "classification"}, DataError, "20 different values"),
        (20, {"task": "classification", "per_atom": True}, ConfigError, "class is no number"),
        (20, {"lower_bound": 2.0, "upper_bound": 1.0}, ConfigError, "not below"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(rows, options, error, words, tmp_path):
    with pytest.raises(error, match=words):
        fit(data=table(rows, size), out=tmp_path / "fit", **{"target": "target", **options})
    assert not (tmp_path / "fit").exists()


def test_labels_that_are_all_equal_or_missing(tmp_path):
    with pytest.raises(DataError, match="all 20 labels of 'target' are 1"):
        fit(data=table(20, lambda m, x, a: 1.0), target="target", out=tmp_path / "fit")
    data = table(30, lambda m, x, a: a if a < 3.9 else float("nan"))
    labelled = int(np.isfinite(data.column("target")).sum())
    result = fit(data=data, target="target", out=tmp_path / "fit", n_folds=3)
    assert f"{labelled} labels of" in result.report.read_text()
    assert f"{30 - labelled} crystals have no usable label" in result.report.read_text()


def test_the_command_line(tmp_path, capsys):
    path, out = table(30, size).write_parquet(tmp_path / "data.parquet"), tmp_path / "fit"
    assert (
        main(
            ["fit", "--data", str(path), "--target", "target", "--out", str(out), "--n-folds", "3", "--encoders", "[]"]
        )
        == 0
    )
    assert "error" in capsys.readouterr().out
    assert main(["predict", "-m", str(out), "-i", str(path), "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "id,name,value,unit,note,lower,upper,std,confidence,flag"
    assert len(lines) == 31
    assert main(["predict", "-m", str(out), "-i", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0].keys() >= {"value", "lower", "upper", "std", "flag"}


def test_names_come_with_commas_or_as_a_list():
    assert FitConfig.build({"target": "a, b"}).target == ["a", "b"]
    assert FitConfig.build({"target": ["log10(K)"]}).target == ["log10(K)"]
