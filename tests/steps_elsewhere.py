"""Trains each recipe for two steps, and infers, on a simulated device without float64; prints what came of it.

``python steps_elsewhere.py``: one process for all, because a device is registered for good.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from simulated_device import NAME, Elsewhere, Machine
from small_systems import cscl, iron, nacl, rattled, skewed, small_encoder, small_model

from matgl_ssl import devices, list_recipes
from matgl_ssl.acceleration import accelerate
from matgl_ssl.backends import Potential
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.hub import load_model, save_model
from matgl_ssl.inference import embed, predict
from matgl_ssl.pretexts import Mixture, build_pretext
from matgl_ssl.recipes import load_recipe
from matgl_ssl.targets import with_targets
from matgl_ssl.targets.representation import Representation
from matgl_ssl.targets.teacher import _labelled
from matgl_ssl.training.config import PretrainConfig
from matgl_ssl.training.loader import SeededLoader, ViewDataset
from matgl_ssl.training.pretrain import PretrainingModule


def table() -> CrystalDataset:
    """Eight crystals with every label that a recipe can ask for."""
    rng = np.random.default_rng(0)
    crystals = []
    for i in range(8):
        crystal = rattled((nacl(), cscl(), iron(), skewed())[i % 4], 0.05, seed=i)
        labels = {
            "energy": float(rng.normal(-3.0 * len(crystal))),
            "forces": rng.normal(size=(len(crystal), 3)),
            "stress": 0.01 * rng.normal(size=(3, 3)),
            **{name: float(rng.uniform(1, 3)) for name in
               ("band_gap", "formation_energy_per_atom", "total_magnetization", "fermi_energy")},
        }  # fmt: skip
        crystals.append(dataclasses.replace(crystal, id=f"c{i}", labels=labels))
    return CrystalDataset.from_crystals(crystals)


def step(recipe: str, model: str, crystals: CrystalDataset, device: str) -> list[float]:
    """Losses before and after a step."""
    config = PretrainConfig.build(load_recipe(recipe))
    energy = {"is_intensive": False} if model == "M3GNet" and recipe == "energy-force-stress" else {}
    encoder = small_encoder(model, **energy)
    torch.manual_seed(1)
    pretexts = {p.name: build_pretext(p.name, encoder, p.arguments) for p in config.pretexts}
    mixture = Mixture(pretexts, {p.name: p.weight for p in config.pretexts})
    crystals = with_targets(crystals, mixture.targets)
    mixture.prepare(crystals)
    views = ViewDataset(crystals, encoder.graph_builder(), mixture.views, seed=0)
    loader = SeededLoader(views, batch_size=8, seed=0, shuffle=False)
    module = PretrainingModule(encoder, mixture, optimizer=config, total_steps=2)
    accelerate(encoder.model)
    devices.fit_to(module, torch.device(device)).to(device).train()
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for batches in [next(iter(loader)), next(iter(loader))]:
        torch.manual_seed(2)
        loss, metrics = module.score(batches)
        assert device == "cpu" or isinstance(loss, Elsewhere)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip)
        optimizer.step()
        module.train_means.add({"loss": loss, **metrics}, len(batches[0]))
        losses.append(module.train_means.take("")["loss"])
    module.to("cpu")
    return losses


def guard() -> None:
    """The device refuses what CUDA and MPS refuse."""
    there = torch.zeros(3, device=NAME)
    for refused in (
        there.double,
        lambda: torch.zeros(3, dtype=torch.float64).to(NAME),
        lambda: there + torch.zeros(3),
        there.numpy,
        lambda: torch.zeros(3)[there.long()],
    ):
        try:
            refused()
        except (TypeError, RuntimeError):
            continue
        raise AssertionError(refused)


def check_predict(crystals: CrystalDataset) -> None:
    """Predictions and embeddings of models that lie there are those of models that lie here."""
    for name in ("MEGNet", "M3GNet"):
        here, there = small_model(name), small_model(name).to(NAME)
        values = [[p.value for p in predict(model=model, data=crystals)] for model in (here, there)]
        np.testing.assert_allclose(*values, rtol=1e-5)


def check_embed(crystals: CrystalDataset) -> None:
    for name in ("MEGNet", "M3GNet"):
        layer = (0, 1, "readout") if name == "MEGNet" else (0, 1)
        vectors = [
            embed(model=model, data=crystals, layer=layer).vectors
            for model in (small_model(name), small_model(name).to(NAME))
        ]
        np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-6)


def check_teacher(crystals: CrystalDataset) -> None:
    """A teacher loaded to the device gives the labels that it gives here."""
    with tempfile.TemporaryDirectory() as folder:
        path = save_model(
            Potential(small_model("M3GNet", is_intensive=False)),
            Path(folder) / "teacher",
            kind="potential",
            readout="trained",
            unit="eV",
        )
        labels = []
        for device in ("cpu", NAME):
            potential = load_model(path, device=device)
            labels.append([c.labels for c in _labelled(crystals, path, potential, 0, (0.1, 0.02), 0, 8)])
    for here, there in zip(*labels, strict=True):
        for name, value in here.items():
            np.testing.assert_allclose(value, there[name], rtol=1e-4, atol=1e-5)


def check_representation(crystals: CrystalDataset) -> None:
    model = small_model("MEGNet")
    here = Representation.of(model, (0, 1)).of_many(list(crystals))
    there = Representation.of(model, (0, 1), torch.device(NAME, 0)).of_many(list(crystals))
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def report(name: str, check: Callable[[], Any]) -> None:
    """Print what came of a check."""
    try:
        result = check() or {"ok": True}
    except Exception as err:
        traceback.print_exc()
        result = {"error": f"{type(err).__name__}: {str(err)[:400]}"}
    print(json.dumps({"name": name, **result}), flush=True)


def compared(recipe: str, model: str, crystals: CrystalDataset) -> dict[str, Any]:
    """The losses of a recipe's steps here and there."""
    here = step(recipe, model, crystals, "cpu")
    with Machine():
        return {"here": here, "there": step(recipe, model, crystals, NAME)}


def main() -> None:
    devices.WITHOUT_FLOAT64.add(NAME)
    torch.set_num_threads(1)
    crystals = table()
    with Machine():
        report("guard", guard)
        for name, check in (("predict", check_predict), ("embed", check_embed), ("teacher", check_teacher),
                            ("representation", check_representation)):  # fmt: skip
            report(name, partial(check, crystals))
    for recipe in sys.argv[1:] or sorted(list_recipes()):
        for model in ("MEGNet", "M3GNet"):
            report(f"{recipe} {model}", partial(compared, recipe, model, crystals))


if __name__ == "__main__":
    main()
