"""A fresh readout that starts as a line along what the encoder was taught."""

from __future__ import annotations

import numpy as np
import pytest
from small_systems import NAMES, SMALL, small_model

from matgl_ssl import finetune, load_model, pretrain, read_stamp
from matgl_ssl.backends import collate
from matgl_ssl.crystals import demo_corpus, demo_task
from matgl_ssl.crystals.demo import EMT_METALS
from matgl_ssl.encoders import ARCHITECTURES, Encoder
from matgl_ssl.errors import ConfigError
from matgl_ssl.hub import model_output, save_model
from matgl_ssl.hub.heads import KEY, LinearHeads, fit_heads, heads_of
from matgl_ssl.hub.stamp import VECTOR
from matgl_ssl.training.config import FinetuneConfig
from matgl_ssl.training.line import fit_line
from matgl_ssl.training.loader import GraphDataset
from matgl_ssl.training.start import start
from matgl_ssl.training.supervised import begin, prepare
from matgl_ssl.training.taught import crystal_vectors
from matgl_ssl.views import View

TARGET = "bulk_modulus"
COMMON = {"target": TARGET, "epochs": 0, "accelerator": "cpu", "test_fraction": 0.0}


def heads_for(encoder: Encoder) -> LinearHeads:
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.3, (5, encoder.readout_dim)).astype(np.float32)
    return LinearHeads(tuple("abcde"), weight, rng.normal(0, 1, 5).astype(np.float32), (0.9,) * 5)


def saved(path, name):
    """A small encoder with heads, and what they are."""
    model = small_model(name, element_types=EMT_METALS)
    heads = heads_for(Encoder(model))
    return save_model(model, path, kind="encoder", readout=VECTOR, recipe="own", pretexts=[], **{KEY: heads.as_json()})


@pytest.mark.parametrize("name", NAMES)
def test_the_fresh_model_puts_out_the_line(tmp_path, name):
    task, folder = demo_task(40, seed=1), saved(tmp_path / "encoder", name)
    config = FinetuneConfig.build({"init_from": str(folder), "readout_start": "line", **COMMON})
    begun, encoder = begin(config, folder, None)
    graphs = GraphDataset(task, encoder.graph_builder(), [View()], 0, target=TARGET)
    module = prepare(begun, encoder, task, graphs, config).module
    vectors = crystal_vectors(encoder, task)
    labels = task.column(TARGET).astype(float)
    standard = (labels - labels.mean()) / labels.std()
    line = fit_line(heads_of(read_stamp(folder))(vectors), standard, np.array(task.formulas()))
    expected = heads_of(read_stamp(folder))(vectors) @ line[:-1] + line[-1]
    batch = collate([encoder.graph_builder()(crystal) for crystal in task])
    found = model_output(module.encoder.model.eval(), batch).numpy()
    assert np.std(expected) > 0.1  # no constant
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_all_its_weights_can_learn(tmp_path, name):
    """Units beside the line do not reach the output, and their gradients to it are not zero."""
    task, folder = demo_task(20, seed=1), saved(tmp_path / "encoder", name)
    config = FinetuneConfig.build({"init_from": str(folder), "readout_start": "line", **COMMON})
    begun, encoder = begin(config, folder, None)
    graphs = GraphDataset(task, encoder.graph_builder(), [View()], 0, target=TARGET)
    prepare(begun, encoder, task, graphs, config)
    encoder.model.train()
    encoder(collate([encoder.graph_builder()(crystal) for crystal in task])).output.square().sum().backward()
    assert (ARCHITECTURES[name].last_linear(encoder.model).weight.grad != 0).all()


def test_a_run_starts_there_and_says_so_only_where_it_can(tmp_path):
    task, folder = demo_task(30, seed=2), saved(tmp_path / "encoder", "MEGNet")
    line = finetune(data=task, out=tmp_path / "line", init_from=folder, readout_start="line", **COMMON)
    fresh = finetune(data=task, out=tmp_path / "random", init_from=folder, readout_start="random", **COMMON)
    assert line.metrics["mae"] < fresh.metrics["mae"]
    without = save_model(small_model("MEGNet", element_types=EMT_METALS), tmp_path / "without", readout=VECTOR)
    with pytest.raises(ConfigError, match=r"has no linear heads.*--readout-start random"):
        finetune(data=task, out=tmp_path / "none", init_from=without, readout_start="line", **COMMON)
    config = FinetuneConfig.build({**COMMON, "readout": "fresh", "init_from": str(folder)})
    assert start(config, folder).heads is None  # another readout makes another vector


def test_labels_of_one_formula_choose_nothing():
    features, labels = np.random.default_rng(0).normal(size=(8, 3)), np.arange(8.0)
    np.testing.assert_array_equal(fit_line(features, labels, np.zeros(8)), [0, 0, 0, 3.5])


def test_the_line_is_found_again_and_noise_is_left_alone():
    rng = np.random.default_rng(1)
    features, groups = rng.normal(size=(100, 10)), np.arange(100)
    truth = np.append(rng.normal(size=10), 0.7)
    np.testing.assert_allclose(fit_line(features, features @ truth[:-1] + truth[-1], groups), truth, atol=1e-3)
    assert np.abs(fit_line(features, rng.normal(size=100), groups)[:-1]).max() < 0.3


def test_heads_find_lines_and_say_how_good_they_are():
    rng = np.random.default_rng(2)
    vectors, truth = rng.normal(3, 1, size=(500, 6)), rng.normal(size=6)
    values = np.column_stack([vectors @ truth - 1, rng.normal(size=500), np.full(500, np.nan)])
    values[::7, 0] = np.nan
    heads = fit_heads(["known", "noise", "missing"], vectors, values)
    assert heads.names == ("known", "noise")
    assert heads.explained[0] > 0.999
    assert abs(heads.explained[1]) < 0.2
    np.testing.assert_allclose(heads(vectors)[:, 0], vectors @ truth - 1, atol=1e-2)
    again = heads_of({KEY: heads.as_json()})
    np.testing.assert_array_equal(again.weight, heads.weight)
    np.testing.assert_array_equal(again.bias, heads.bias)


def test_pretraining_leaves_the_lines_of_what_it_taught(tmp_path):
    model_args = {k: v for k, v in SMALL["MEGNet"].items() if k != "element_types"}
    pretexts = [
        {"name": "crystal-targets", "arguments": {"targets": ["density"], "vector": "readout", "view": "clean"}}
    ]
    corpus = demo_corpus(60, seed=3)
    common = {
        "data": corpus,
        "model": "MEGNet",
        "model_args": model_args,
        "accelerator": "cpu",
        "epochs": 6,
        "lr": 0.01,
    }
    run = pretrain(pretexts=pretexts, out=tmp_path / "run", **common)
    heads = heads_of(read_stamp(run.encoder))
    assert heads.names == ("density/0", "density/1", "density/2")
    encoder = Encoder(load_model(run.encoder))
    said = heads(crystal_vectors(encoder, corpus))
    masses = np.array([crystal.to_structure().density for crystal in corpus])
    assert np.corrcoef(said[:, 0], masses)[0, 1] > 0.5
    pretexts[0]["arguments"]["vector"] = "mean"
    assert heads_of(read_stamp(pretrain(pretexts=pretexts, out=tmp_path / "mean", **common).encoder)) is None
