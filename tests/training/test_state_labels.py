"""Runs on models that take a state label (a fidelity, for example)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_systems import cscl, nacl, skewed, small_model

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ModelError
from matgl_ssl.hub import load_model
from matgl_ssl.inference import predict
from matgl_ssl.training.finetune import finetune
from matgl_ssl.training.pretrain import pretrain

OPTIONS = {"epochs": 2, "batch_size": 4, "accelerator": "cpu", "val_fraction": 0.2}


@pytest.fixture(params=["MEGNet", "M3GNet"])
def labelled(request):
    return small_model(request.param, ntypes_state=4, dim_state_embedding=6, include_state=True)


def crystals() -> CrystalDataset:
    some = [nacl(), cscl(), skewed()]
    return CrystalDataset.from_crystals(
        [replace(some[i % 3], id=str(i), labels={"gap": float(i % 3)}) for i in range(12)]
    )


def test_fine_tuning_trains_and_predicts_with_the_state_it_is_told(labelled, tmp_path):
    result = finetune(
        init_from=labelled, data=crystals(), target="gap", out=tmp_path / "run", state_attr=2, lr=0.01, **OPTIONS
    )
    embedding = next(k for k in labelled.state_dict() if "state_embedding" in k)
    change = load_model(result.model, prefer=("model",)).state_dict()[embedding] - labelled.state_dict()[embedding]
    changed = change.abs().sum(1) > 0
    assert changed.tolist() == [False, False, True, False]
    rows = np.genfromtxt(result.out / "predictions.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    table = crystals()
    found = predict(model=result.model, data=[table[int(i)] for i in rows["id"]], state_attr=2)
    np.testing.assert_allclose([p.value for p in found], rows["prediction"], rtol=1e-4, atol=1e-5)


def test_pretraining_with_a_state(labelled, tmp_path):
    result = pretrain(model=labelled, data=crystals(), out=tmp_path / "run", state_attr=1, **OPTIONS)
    trained = load_model(result.encoder)
    assert all(torch.isfinite(p).all() for p in trained.parameters())


@pytest.mark.parametrize("state", [None, 4])
def test_what_is_missing_or_wrong_is_refused_before_the_run_begins(labelled, tmp_path, state):
    for run in (
        lambda out: finetune(init_from=labelled, data=crystals(), target="gap", out=out, state_attr=state, **OPTIONS),
        lambda out: pretrain(model=labelled, data=crystals(), out=out, state_attr=state, **OPTIONS),
    ):
        with pytest.raises(ModelError, match=r"--state-attr \(state_attr=\) takes one of 0 to 3"):
            run(tmp_path / "run")
        assert not (tmp_path / "run").exists()
