"""A benchmark's cell trains what ``finetune`` trains, by the same path, and leaves nothing behind."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from small_systems import SMALL, small_model
from synthetic import cell

from matgl_ssl import finetune
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import NonFiniteError
from matgl_ssl.hub import new_model, save_model
from matgl_ssl.models import NEGNN
from matgl_ssl.training.config import FinetuneConfig
from matgl_ssl.training.pool import GraphPool, fine_tune, predict_rows


@pytest.fixture(scope="module")
def crystals():
    rng = np.random.default_rng(0)
    rows = [cell(int(rng.choice((11, 12, 26))), 17, a, target=a**2) for a in rng.uniform(3.2, 4.0, 30)]
    return CrystalDataset.from_crystals([*rows, cell(11, 17, 30.0, target=1.0)])


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("model", ["MEGNet", "M3GNet"])
def test_a_cell_is_finetune_bit_for_bit(crystals, tmp_path, model, pretrained):
    options = {"target": "target", "model": model, "epochs": 3, "batch_size": 8, "lr": 1e-3, "accelerator": "cpu",
               "seed": 4, "weight_decay": 0.01, "layer_decay": 0.5}  # fmt: skip
    if pretrained:
        path = save_model(small_model(model), tmp_path / "encoder", kind="encoder", readout="untrained")
        options["init_from"] = str(path)
    else:
        options["model_args"] = SMALL[model]
    train, test = np.arange(20)[::-1].copy(), np.arange(20, 30)
    config = FinetuneConfig.build(options)
    pool = GraphPool(crystals, Encoder(new_model(model, SMALL[model])))
    predicted = predict_rows(fine_tune(pool, train, config), pool, test, config)
    result = finetune(
        data=crystals.select(train), test_data=crystals.select(test), out=tmp_path / "run", val_fraction=0.0, **options
    )
    assert result.metrics["mae"] == np.abs(predicted - crystals.column("target")[test]).mean()


def test_a_negnn_is_trained_as_finetune_does(crystals, tmp_path, monkeypatch):
    """But for the last bits: what it says of the test crystals is computed in other batches there."""
    path = save_model(small_model("MEGNet"), tmp_path / "encoder", kind="encoder", readout="untrained")
    options = {"target": "target", "model": "MEGNet", "model_args": SMALL["MEGNet"], "epochs": 3, "batch_size": 8,
               "lr": 1e-3, "accelerator": "cpu", "node_embedding_from": str(path)}  # fmt: skip
    train, test = np.arange(20), np.arange(20, 30)
    config = FinetuneConfig.build(options)
    pool = GraphPool(crystals, Encoder(new_model("MEGNet", SMALL["MEGNet"])))
    with monkeypatch.context() as patched:  # its frozen vectors are computed before training, not in each step
        patched.delattr(NEGNN, "represent")
        model = fine_tune(pool, train, config)
    assert isinstance(model, NEGNN)
    predicted = predict_rows(model, pool, test, config)
    result = finetune(
        data=crystals.select(train), test_data=crystals.select(test), out=tmp_path / "run", val_fraction=0.0, **options
    )
    assert result.metrics["mae"] == pytest.approx(np.abs(predicted - crystals.column("target")[test]).mean(), rel=1e-4)


def test_equal_weights_change_nothing_and_unequal_ones_count(crystals):
    """One full batch: a crystal of weight k is k crystals, and equal weights are none."""
    config = FinetuneConfig.build(
        {"target": "target", "model": "MEGNet", "model_args": SMALL["MEGNet"], "epochs": 20, "batch_size": 40,
         "lr": 1e-2, "loss": "mse", "accelerator": "cpu"}
    )  # fmt: skip
    pool = GraphPool(crystals, Encoder(new_model("MEGNet", SMALL["MEGNet"])))
    rows, labels = np.arange(4), np.array([-1.0, 1.0, -1.0, 1.0])  # of mean 0 and spread 1, repeated or not

    def trained(rows, labels, weights=None):
        return predict_rows(fine_tune(pool, rows, config, labels, weights), pool, np.arange(10), config)

    unweighted = trained(rows, labels)
    np.testing.assert_array_equal(trained(rows, labels, np.full(4, 7.0)), unweighted)
    weighted = trained(rows, labels, np.array([3.0, 3.0, 1.0, 1.0]))
    repeated = trained(np.repeat(rows, [3, 3, 1, 1]), np.repeat(labels, [3, 3, 1, 1]))
    assert np.abs(weighted - repeated).max() < 0.05 * np.abs(weighted - unweighted).max()


def test_crystals_an_encoder_cannot_be_given_are_left_out(crystals):
    pool = GraphPool(crystals, Encoder(new_model("MEGNet", SMALL["MEGNet"])))
    assert pool.usable(np.array([30, 3, 1])).tolist() == [3, 1]


def test_divergence_is_an_error(crystals):
    config = FinetuneConfig.build(
        {"target": "target", "model": "MEGNet", "model_args": SMALL["MEGNet"], "lr": 1e30, "epochs": 3,
         "accelerator": "cpu", "loss": "mse"}
    )  # fmt: skip
    pool = GraphPool(crystals, Encoder(new_model("MEGNet", SMALL["MEGNet"])))
    with pytest.raises(NonFiniteError, match="smaller"):
        fine_tune(pool, np.arange(20), config)


def test_a_cell_writes_and_says_nothing(crystals, tmp_path, monkeypatch, caplog, recwarn):
    monkeypatch.chdir(tmp_path)
    config = FinetuneConfig.build(
        {"target": "target", "model": "MEGNet", "model_args": SMALL["MEGNet"], "epochs": 2, "accelerator": "cpu"}
    )
    with caplog.at_level(logging.INFO):
        fine_tune(GraphPool(crystals, Encoder(new_model("MEGNet", SMALL["MEGNet"]))), np.arange(20), config)
    assert not list(tmp_path.iterdir())
    assert not [record for record in caplog.records if "acceleration" not in record.name]
    assert not [str(w.message) for w in recwarn if "lightning" in w.filename]
