"""Supervision by other properties: what is learned of a column, whose labels count, and what fine-tuning takes over."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from small_systems import SMALL, cscl, iron, nacl, skewed, small_encoder, small_model

from matgl_ssl.backends import collate
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import ConfigError, DataError, ModelError
from matgl_ssl.inference.predict import predict
from matgl_ssl.pretexts import Mixture, build_pretext
from matgl_ssl.pretexts.property_labels import PropertyLabels
from matgl_ssl.testing import assert_two_processes_agree
from matgl_ssl.training.pretrain import pretrain

COLUMNS = {"energy": "value", "modulus": "log10", "moment": "per-atom"}
LABELS = [
    {"energy": -1.0, "modulus": 30.0, "moment": 4.0},
    {"energy": 0.5, "modulus": 0.0, "moment": 1.0},  # no logarithm
    {"energy": float("nan"), "modulus": 170.0, "moment": 0.0},
    {"energy": -2.0, "modulus": 90.0, "moment": float("nan")},
]
CRYSTALS = [
    dataclasses.replace(make(), labels=labels, id=f"c{i}")
    for i, (make, labels) in enumerate(zip((nacl, cscl, iron, skewed), LABELS, strict=True))
]


def learned() -> dict[str, np.ndarray]:
    sizes = np.array([len(c) for c in CRYSTALS])
    column = {name: np.array([c.labels[name] for c in CRYSTALS]) for name in COLUMNS}
    with np.errstate(divide="ignore"):
        logarithm = np.where(column["modulus"] > 0, np.log10(column["modulus"]), np.nan)
    return {"energy": column["energy"], "modulus": logarithm, "moment": column["moment"] / sizes}


def test_each_column_is_learned_from_the_crystals_that_have_it():
    encoder = small_encoder("MEGNet")
    pretext = PropertyLabels(encoder, columns=COLUMNS)
    table = CrystalDataset.from_crystals(CRYSTALS)
    pretext.prepare(table)
    batch = collate([encoder.graph_builder()(crystal) for crystal in table])
    features = encoder(batch)
    output = pretext({"view": features}, {"view": batch})
    expected = 0.0
    for head, values in zip(pretext.heads, learned().values(), strict=True):
        standard = (values - np.nanmean(values)) / np.nanstd(values)
        predicted = head.predict(features.readout)[:, 0].detach().numpy()
        expected += np.nanmean(np.abs(predicted - standard)) / np.nanmean(np.abs(standard))
    assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-4)
    output.loss.backward()
    assert all(float(p.grad.abs().max()) > 0 for n, p in encoder.model.named_parameters() if n.startswith("node_s2s"))


@pytest.mark.parametrize("name", ["M3GNet", "MEGNet"])
def test_two_processes_agree(name, tmp_path):
    assert_two_processes_agree(name, {"property-labels": {"columns": COLUMNS}}, CRYSTALS, tmp_path, first=1)


@pytest.mark.parametrize("columns", [{}, {"energy": "square"}])
def test_what_cannot_be_learned_is_refused(columns):
    with pytest.raises(ConfigError, match=r"log10|at least 1 item"):
        build_pretext("property-labels", small_encoder("MEGNet"), {"columns": columns})


def test_a_column_without_a_usable_value_is_an_error():
    crystals = [dataclasses.replace(c, labels={"modulus": -1.0}) for c in CRYSTALS]
    pretext = PropertyLabels(small_encoder("MEGNet"), columns={"modulus": "log10"})
    with pytest.raises(DataError, match="usable 'modulus'"):
        pretext.prepare(CrystalDataset.from_crystals(crystals))


def test_a_sum_over_atoms_has_no_crystal_vector():
    encoder = Encoder(small_model("M3GNet", is_intensive=False))
    for name, arguments in (("property-labels", {"columns": COLUMNS}), ("crystal-targets", {"vector": "readout"})):
        with pytest.raises(ModelError, match="sum over atoms"):
            build_pretext(name, encoder, arguments)


@pytest.mark.parametrize(
    ("pretexts", "trained"),
    [
        ([{"name": "property-labels", "arguments": {"columns": COLUMNS}}], True),
        ([{"name": "crystal-targets", "arguments": {"targets": ["density"], "vector": "readout"}}], True),
        ([{"name": "crystal-targets", "arguments": {"targets": ["density"]}}], False),
    ],
)
def test_the_export_says_whether_its_crystal_vector_was_trained(tmp_path, pretexts, trained):
    result = pretrain(
        data=CrystalDataset.from_crystals([dataclasses.replace(CRYSTALS[i % 4], id=f"{i}") for i in range(12)]),
        out=tmp_path / "run", pretexts=pretexts, model="MEGNet", model_args=SMALL["MEGNet"], epochs=1, batch_size=4,
        val_fraction=0.2, accelerator="cpu",
    )  # fmt: skip
    stamp = json.loads((result.encoder / "model.json").read_text())["metadata"]["matgl_ssl"]
    assert stamp["readout"] == ("crystal vector" if trained else "untrained")
    with pytest.raises(ModelError, match="untrained"):
        predict(model=result.encoder, data=[nacl().to_structure()])


def test_metrics_name_the_columns():
    encoder = small_encoder("MEGNet")
    mixture = Mixture({"p": PropertyLabels(encoder, columns=COLUMNS)}, {"p": 1.0})
    table = CrystalDataset.from_crystals(CRYSTALS)
    mixture.prepare(table)
    batch = collate([encoder.graph_builder()(crystal) for crystal in table])
    _, outputs, _ = mixture(encoder, [batch])
    assert set(outputs["p"].metrics) == {f"{name}_explained" for name in COLUMNS}
    assert mixture.labels == tuple(COLUMNS)
    assert all(torch.isfinite(v) for v in outputs["p"].metrics.values())
