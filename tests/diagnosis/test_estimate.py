"""Estimates come from real batches, and change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_systems import nacl, small_model

from matgl_ssl import doctor


def crystals(n=300, **labels):
    rng = np.random.default_rng(0)
    return [
        replace(nacl(), lattice=nacl().lattice * rng.uniform(0.97, 1.1), id=f"s{i}", labels={"gap": float(i), **labels})
        for i in range(n)
    ]


def test_both_verbs_are_measured():
    model = small_model("MEGNet")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    report = doctor(data=crystals(), model=model, estimate_seconds=0.05)
    assert torch.equal(torch.rand(3), expected)
    pretraining, finetuning = report.estimates
    assert (pretraining.verb, pretraining.epochs, pretraining.batch_size) == ("pretrain", 10, 64)
    assert (finetuning.verb, finetuning.epochs, finetuning.batch_size) == ("finetune", 100, 32)
    for found in report.estimates:
        assert found.batches >= 2
        assert 0 < found.epoch_seconds[0] <= found.epoch_seconds[1]
        assert found.memory > 50e6
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "measured on this machine's" in report.table()


def test_a_table_without_labels_has_one():
    bare = [replace(c, labels={}) for c in crystals()]
    assert [e.verb for e in doctor(data=bare, model="MEGNet", estimate_seconds=0.01).estimates] == ["pretrain"]


def test_what_cannot_be_trained_says_why():
    report = doctor(data=crystals(), model="MEGNet", recipe="energy-force-stress", estimate_seconds=0.01)
    assert [e.verb for e in report.estimates] == ["finetune"]
    (remark,) = [r for r in report.remarks if r.code == "estimate"]
    assert "energy" in remark.message


@pytest.mark.parametrize("n", [2, 5])
def test_few_crystals_are_enough_or_said_to_be_too_few(n):
    report = doctor(data=crystals(n), model="MEGNet", estimate_seconds=0.01)
    assert len(report.estimates) + len([r for r in report.remarks if r.code == "estimate"]) == 2
