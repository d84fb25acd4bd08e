"""Tabular foundation models: what is asked of the user's package and weights, and that nothing is downloaded."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module

import pytest
from synthetic import corpus_and_task, study

from matgl_ssl.errors import ModelError
from matgl_ssl.evaluation.baselines import DESCRIBED
from matgl_ssl.evaluation.config import BenchmarkConfig
from matgl_ssl.evaluation.runner import Runner

CLASSES = {"tabpfn": "TabPFNRegressor", "tabicl": "TabICLRegressor"}
OPTIONS = {"tabpfn": "ignore_pretraining_limits", "tabicl": "allow_auto_download"}
STAND_IN = """
from pathlib import Path

from sklearn.ensemble import HistGradientBoostingRegressor


class {name}(HistGradientBoostingRegressor):
    def __init__(self, *, model_path, device, random_state, {option}):
        assert Path(model_path).read_text() == "weights" and device == "cpu" and {option} is {value}
        super().__init__(random_state=random_state, min_samples_leaf=5)
        self.model_path, self.device, self.{option} = model_path, device, {option}
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Packages whose regressors are built as the real ones are and learn otherwise."""
    for arm, name in CLASSES.items():
        text = STAND_IN.format(name=name, option=OPTIONS[arm], value=arm == "tabpfn")
        (tmp_path / "packages" / arm).mkdir(parents=True)
        (tmp_path / "packages" / arm / "__init__.py").write_text(text)
        monkeypatch.delitem(sys.modules, arm, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    yield tmp_path
    for arm in CLASSES:
        sys.modules.pop(arm, None)


@pytest.mark.parametrize("arm", CLASSES)
def test_an_arm_runs_with_the_users_package_and_weights(installed, monkeypatch, arm):
    (installed / "weights.ckpt").write_text("weights")
    monkeypatch.setenv(f"MATGL_SSL_{arm.upper()}", str(installed / "weights.ckpt"))
    corpus_and_task(installed)
    runner = Runner(BenchmarkConfig.build(study(installed)), installed, installed / "pretrained")
    settings = runner.settings("MEGNet", arm, 0)
    found = [runner.cell("size", name, 60, 0, 0, method="fine-tune", settings=settings) for name in (arm, "trivial")]
    assert len(found[0]["predictions"]) == found[0]["n_test"]
    assert found[0]["mae"] < found[1]["mae"] / 2


@pytest.mark.parametrize("arm", CLASSES)
def test_weights_that_are_not_here_are_asked_for(installed, monkeypatch, arm):
    variable = f"MATGL_SSL_{arm.upper()}"
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ModelError, match=f"{variable} is not set"):
        DESCRIBED[arm].model(0)
    monkeypatch.setenv(variable, str(installed / "nothing.ckpt"))
    with pytest.raises(ModelError, match=r"nothing\.ckpt, which is no file"):
        DESCRIBED[arm].model(0)


@pytest.mark.parametrize("arm", CLASSES)
def test_a_package_that_is_not_here_is_asked_for(monkeypatch, arm):
    monkeypatch.setitem(sys.modules, arm, None)
    with pytest.raises(ModelError, match=r"pip install 'matgl_ssl\[foundation\]'"):
        DESCRIBED[arm].model(0)


@pytest.mark.parametrize("arm", CLASSES)
def test_the_real_package_takes_what_the_stand_in_does(arm):
    pytest.importorskip(arm)
    regressor = getattr(import_module(arm), CLASSES[arm])
    assert {"model_path", "device", "random_state", OPTIONS[arm]} <= inspect.signature(regressor).parameters.keys()
    assert callable(regressor.fit)
    assert callable(regressor.predict)
