"""On a CUDA device: the main job, resuming, a recipe of each kind, acceleration on and off, against the CPU.

Sums on a GPU come in any order, so that nothing here is bit for bit.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_systems import (
    SMALL,
    cscl,
    iron,
    make_batch,
    nacl,
    rattled,
    skewed,
    small_encoder,
    small_model,
    some_crystals,
)

from matgl_ssl import StructureFeaturizer, accelerate, decelerate, embed, finetune, load_model, predict, pretrain
from matgl_ssl.backends import Potential
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import TrainingInterrupted
from matgl_ssl.hub import save_model
from matgl_ssl.targets.teacher import teacher_labels
from matgl_ssl.training.pretrain import PretrainingModule

pytestmark = pytest.mark.gpu

KINDS = {
    "masked-atoms": "mask",
    "crystal-twins-barlow": "contrast",
    "derivative-denoising": "derivative",
    "deep-infomax": "infomax",
    "energy-force-stress": "teacher",
}


def arguments(model: str) -> dict[str, Any]:
    return {k: v for k, v in SMALL[model].items() if k != "element_types"}


@pytest.fixture(scope="module")
def table() -> CrystalDataset:
    crystals = []
    for i in range(24):
        crystal = rattled((nacl(), cscl(), iron(), skewed())[i % 4], 0.05, seed=i)
        crystals.append(dataclasses.replace(crystal, id=f"c{i}", labels={"gap": crystal.volume / len(crystal)}))
    return CrystalDataset.from_crystals(crystals)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    potential = Potential(small_model("M3GNet", is_intensive=False))
    folder = tmp_path_factory.mktemp("teacher") / "potential"
    return save_model(potential, folder, kind="potential", readout="trained", unit="eV")


def losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row["val_loss"]) for row in csv.DictReader(file) if row.get("val_loss")]


@pytest.fixture
def devices_seen(monkeypatch) -> set[str]:
    """The kinds of device that training steps ran on."""
    seen: set[str] = set()
    score = PretrainingModule.score

    def watched(self: Any, batches: Any) -> Any:
        loss, metrics = score(self, batches)
        seen.add(loss.device.type)
        return loss, metrics

    monkeypatch.setattr(PretrainingModule, "score", watched)
    return seen


@pytest.mark.parametrize("model", ["MEGNet", "M3GNet"])
@pytest.mark.parametrize("recipe", list(KINDS), ids=list(KINDS.values()))
def test_a_recipe_of_each_kind(recipe, model, table, teacher, tmp_path, devices_seen):
    options = {"data": table, "model": model, "model_args": arguments(model), "recipe": recipe, "epochs": 2,
               "batch_size": 8, "val_fraction": 0.25, "lr": 1e-4}  # fmt: skip
    if recipe == "energy-force-stress":
        options["teacher"] = str(teacher)
    here = pretrain(out=tmp_path / "here", accelerator="cpu", **options)
    there = pretrain(out=tmp_path / "there", accelerator="gpu", **options)
    assert devices_seen == {"cpu", "cuda"}
    assert losses(there.out) == pytest.approx(losses(here.out), rel=1e-2)
    vectors = [embed(model=there.encoder, data=table, accelerator=a).vectors for a in ("cpu", "gpu")]
    np.testing.assert_allclose(*vectors, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", ["MEGNet", "M3GNet"])
def test_the_main_job(model, table, tmp_path):
    pre = pretrain(data=table, out=tmp_path / "pre", model=model, model_args=arguments(model), epochs=1, batch_size=8)
    fine = finetune(data=table, target="gap", out=tmp_path / "fine", init_from=str(pre.out), epochs=3, batch_size=8)
    values = {a: [p.value for p in predict(model=fine.model, data=table, accelerator=a)] for a in ("cpu", "gpu")}
    assert np.isfinite(values["gpu"]).all()
    np.testing.assert_allclose(values["gpu"], values["cpu"], rtol=1e-3)
    rows = {a: StructureFeaturizer(fine.model, accelerator=a).fit_transform(table) for a in ("cpu", "gpu")}
    np.testing.assert_allclose(rows["gpu"], rows["cpu"], rtol=1e-3, atol=1e-4)


def test_a_frozen_representation(table, tmp_path):
    encoder = save_model(small_model("MEGNet"), tmp_path / "encoder", kind="encoder", readout="untrained")
    result = finetune(
        data=table, target="gap", out=tmp_path / "run", model="MEGNet", node_embedding_from=str(encoder), epochs=1,
        model_args={k: v for k, v in arguments("MEGNet").items() if k != "dim_node_embedding"},
    )  # fmt: skip
    assert np.isfinite([p.value for p in predict(model=result.model, data=table)]).all()


def test_a_run_that_was_interrupted_goes_on(table, tmp_path, monkeypatch):
    options = {"data": table, "model": "MEGNet", "model_args": arguments("MEGNet"), "epochs": 2, "batch_size": 6,
               "accelerator": "gpu", "log_every": 1}  # fmt: skip
    whole = pretrain(out=tmp_path / "whole", **options)
    score = PretrainingModule.score

    def interrupting(self: Any, batches: Any) -> Any:
        if self.global_step == 2 and self.training:
            os.kill(os.getpid(), signal.SIGTERM)
        return score(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainingModule, "score", interrupting)
        with pytest.raises(TrainingInterrupted):
            pretrain(out=tmp_path / "cut", **options)
    cut = pretrain(out=tmp_path / "cut", resume=True, **options)
    assert losses(cut.out) == pytest.approx(losses(whole.out), rel=1e-3)
    with (cut.out / "metrics.csv").open(newline="") as a, (whole.out / "metrics.csv").open(newline="") as b:
        assert [r["step"] for r in csv.DictReader(a)] == [r["step"] for r in csv.DictReader(b)]


@pytest.mark.parametrize("differentiated", [False, True])
@pytest.mark.parametrize("fast", [False, True], ids=["plain", "accelerated"])
@pytest.mark.parametrize("name", ["MEGNet", "M3GNet"])
def test_features_and_gradients_are_those_of_the_cpu(name, fast, differentiated):
    found = []
    for device in ("cpu", "cuda"):
        encoder = small_encoder(name).train()  # the graph of forces is kept in training only
        (accelerate if fast else decelerate)(encoder.model)
        encoder.to(device)
        features = encoder(make_batch(encoder, some_crystals()), forces=differentiated, stresses=differentiated)
        loss = features.node[-1].pow(2).mean() + features.output.pow(2).mean()
        if differentiated:
            loss = loss + features.forces.pow(2).mean() + features.stresses.pow(2).mean()
        loss.backward()
        gradients = {n: p.grad.cpu() for n, p in encoder.named_parameters() if p.grad is not None}
        found.append((features.node[-1].detach().cpu(), features.output.detach().cpu(), gradients))
    (node, output, gradients), (node_there, output_there, gradients_there) = found
    torch.testing.assert_close(node_there, node, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(output_there, output, rtol=1e-3, atol=1e-4)
    assert gradients.keys() == gradients_there.keys()
    for key, gradient in gradients.items():
        scale = float(gradient.abs().max()) + 1e-6
        torch.testing.assert_close(gradients_there[key], gradient, rtol=0, atol=5e-3 * scale)


def test_a_teacher(table, teacher):
    part = table.select(range(4))
    here = {c.id: c.labels for c in teacher_labels(part, teacher)}
    potential = load_model(teacher, device="cuda")
    assert {p.device.type for p in potential.parameters()} == {"cuda"}
    values = [p.value for p in predict(model=potential, data=part)]
    np.testing.assert_allclose(values, [here[i]["energy"] for i in part.ids], rtol=1e-4, atol=1e-4)


def test_a_model_in_memory_stays_where_it_lies(table):
    model = small_model("MEGNet")
    expected = [p.value for p in predict(model=model, data=table)]
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    moved = model.to("cuda")
    np.testing.assert_allclose([p.value for p in predict(model=moved, data=table)], expected, rtol=1e-3)
    assert {p.device.type for p in moved.parameters()} == {"cuda"}


def test_graphs_stay_on_the_cpu():
    assert make_batch(small_encoder("MEGNet"), some_crystals()).node_type.device.type == "cpu"
