"""Faster code is compared with the installed MatGL's, and can be switched off."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matgl import layers
from small_systems import SMALL, cscl, make_batch, nacl, rattled, skewed, small_encoder, small_model

import matgl_ssl
from matgl_ssl import acceleration
from matgl_ssl.acceleration import accelerate, compiler, guard, self_check
from matgl_ssl.acceleration.fast_class import FastClass
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ConfigError

pytestmark = pytest.mark.pyg

NAMES = ("M3GNet", "MEGNet")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """Nothing is known, and nothing said."""
    monkeypatch.delenv(acceleration.VARIABLE, raising=False)
    for cached in (self_check._difference, guard.say_once):
        cached.cache_clear()
    yield
    for cached in (self_check._difference, guard.say_once):
        cached.cache_clear()


def is_accelerated(model) -> bool:
    return any(isinstance(module, FastClass) for module in model.modules())


def warnings_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def doubled(outputs):
    return tuple(None if x is None else 1.01 * x for x in outputs)


def same_but_for_gradients(outputs):
    return tuple(None if x is None else 1.01 * x - 0.01 * x.detach() for x in outputs)


def broken(outputs):
    raise RuntimeError("a feature of MatGL 4.9")


@pytest.mark.parametrize("mode", ["torch", "native"])
@pytest.mark.parametrize("name", NAMES)
def test_the_installed_matgl_agrees(name, mode):
    assert self_check.difference(name, "cpu", mode) is None


@pytest.mark.parametrize("name", NAMES)
def test_the_comparison_covers_copies_and_what_is_no_copy(name, monkeypatch):
    """Or a change of MatGL's would be missed in one of the ways that the faster code takes."""
    room = __import__(f"matgl_ssl.acceleration.{name.lower()}", fromlist=["equivalence"])
    found, sizes = [], []
    compare, compute = room.equivalence, compiler.library
    monkeypatch.setattr(room, "equivalence", lambda *x: found.append(compare(*x)) or found[-1])
    monkeypatch.setattr(compiler, "library", lambda: sizes.append(1) or compute())
    assert self_check.difference(name, "cpu", "native") is None
    assert found
    assert all(found)
    assert sizes


@pytest.mark.parametrize(
    ("change", "why"),
    [(doubled, "of their norm"), (same_but_for_gradients, "gradients of"), (broken, "a feature of MatGL 4.9")],
)  # fmt: skip
@pytest.mark.parametrize("name", NAMES)
def test_another_matgl_than_ours_is_found_and_its_own_code_runs(name, change, why, monkeypatch, caplog):
    cls = getattr(layers, f"{name}Block")
    own = cls.forward
    monkeypatch.setattr(cls, "forward", lambda self, *x, **y: change(own(self, *x, **y)))
    accelerated, plain = small_encoder(name), small_encoder(name)
    batch = make_batch(plain, [nacl(), skewed()])
    accelerate(accelerated.model)
    if change is broken:
        with pytest.raises(RuntimeError, match="of MatGL"):  # MatGL's own, not ours
            accelerated(batch)
    else:
        for _ in range(2):
            assert torch.equal(accelerated(batch).output, plain(batch).output)
    (said,) = warnings_of(caplog)
    assert why in said
    assert name in said


@pytest.mark.parametrize("name", NAMES)
def test_it_touches_no_random_state_no_weights_and_no_gradients(name):
    encoder = small_encoder(name)
    accelerate(encoder.model)
    batch = make_batch(encoder, [nacl()])
    torch.manual_seed(5)
    before, of_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - whether it is touched
    weights = [p.detach().clone() for p in encoder.parameters()]
    with torch.inference_mode():
        encoder(batch)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == of_numpy).all()  # noqa: NPY002
    assert all(torch.equal(p, w) for p, w in zip(encoder.parameters(), weights, strict=True))
    assert all(p.grad is None for p in encoder.parameters())
    assert self_check._difference.cache_info().misses == 1


def test_nothing_is_compared_or_compiled_at_import(tmp_path):
    code = (
        "import matgl_ssl, matgl_ssl.hub; from matgl_ssl.acceleration import self_check, compiler\n"
        "assert not self_check._difference.cache_info().misses and not compiler.library.cache_info().misses"
    )
    run = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=run)
    assert not list(tmp_path.rglob("*.so"))


def test_the_versions_that_are_accelerated_are_those_that_are_tested():
    root = Path(matgl_ssl.__file__).parents[1]
    pinned = [
        line.removeprefix("matgl==").rpartition(".")[0]
        for line in (root / "constraints" / "pyg.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("matgl==")
    ]
    assert pinned == list(acceleration.TESTED)
    allowed = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert any(line.startswith("matgl>=") for line in allowed)


def test_a_version_that_is_not_tested_runs_matgls_own_code(monkeypatch, caplog):
    monkeypatch.setattr(acceleration, "MATGL_VERSION", "4.11.0")
    for name in NAMES:
        assert not is_accelerated(accelerate(small_model(name)))
    (said,) = warnings_of(caplog)
    assert "4.11.0" in said
    assert "MATGL_SSL_ACCELERATION=native" in said
    assert is_accelerated(accelerate(small_model("MEGNet"), "native"))


def test_a_private_module_of_matgls_that_is_gone_is_done_without(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matgl.layers._readout", None)
    monkeypatch.delitem(sys.modules, "matgl_ssl.acceleration.megnet", raising=False)
    monkeypatch.delattr(acceleration, "megnet", raising=False)
    encoder = small_encoder("MEGNet")
    assert not is_accelerated(accelerate(encoder.model))
    assert "_readout" in warnings_of(caplog)[0]
    assert is_accelerated(accelerate(small_model("M3GNet")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["variable", "argument"])
@pytest.mark.parametrize("mode", ["off", "torch", "native"])
def test_the_mode_is_what_one_says(mode, way, name, monkeypatch):
    asked = []
    library = compiler.library
    monkeypatch.setattr(compiler, "library", lambda: asked.append(mode) or library())
    encoder = small_encoder(name)
    batch = make_batch(encoder, [nacl(), skewed()])
    expected = encoder(batch).output
    if way == "variable":
        monkeypatch.setenv(acceleration.VARIABLE, mode)
    accelerate(encoder.model, mode if way == "argument" else None)
    assert is_accelerated(encoder.model) == (mode != "off")
    torch.testing.assert_close(encoder(batch).output, expected, rtol=1e-5, atol=1e-6)
    assert bool(asked) == (mode == "native")
    assert bool(self_check._difference.cache_info().misses) == (mode != "off")


def test_the_argument_has_the_last_word_and_off_makes_plain(monkeypatch):
    monkeypatch.setenv(acceleration.VARIABLE, "off")
    model = accelerate(small_model("MEGNet"), "torch")
    assert is_accelerated(model)
    assert not is_accelerated(accelerate(model))


def test_another_word_is_refused_with_those_that_there_are(monkeypatch):
    model = small_model("MEGNet")
    with pytest.raises(ConfigError, match=r"'nativ'.*'native'.*native, off, torch"):
        accelerate(model, "nativ")
    monkeypatch.setenv(acceleration.VARIABLE, "0")
    with pytest.raises(ConfigError, match=r"MATGL_SSL_ACCELERATION.*'0'.*native, off, torch"):
        accelerate(model)


@pytest.fixture
def _nothing_fast(monkeypatch):
    """Whatever runs faster code fails."""
    monkeypatch.setattr(guard, "_choose", lambda module: pytest.fail("faster code was asked for"))


@pytest.mark.usefixtures("_nothing_fast")
@pytest.mark.parametrize("name", NAMES)
def test_with_off_nothing_of_it_runs_from_pretraining_to_prediction(name, tmp_path):
    changes = {"model": name, "acceleration": "off", "epochs": 1, "accelerator": "cpu"}
    small = {**SMALL[name], "element_types": ("Na", "Cl", "Fe", "Cs", "Si", "O", "Mg")}
    crystals = [rattled(crystal, seed=k) for k in range(4) for crystal in (nacl(), cscl(), skewed())]
    labelled = [replace(c, id=str(k), labels={"y": float(k % 3)}) for k, c in enumerate(crystals)]
    run = matgl_ssl.pretrain(
        data=CrystalDataset.from_crystals(labelled), out=tmp_path / "encoder", recipe="masked-atoms",
        model_args=small, **changes,
    )  # fmt: skip
    tuned = matgl_ssl.finetune(
        data=CrystalDataset.from_crystals(labelled), out=tmp_path / "model", target="y", init_from=run.encoder,
        split="random", **{k: v for k, v in changes.items() if k != "model"},
    )  # fmt: skip
    structures = [c.to_structure() for c in crystals[:3]]
    assert len(matgl_ssl.predict(model=tuned.model, data=structures, acceleration="off")) == 3
    matgl_ssl.embed(model=run.encoder, data=structures, acceleration="off")
    matgl_ssl.StructureFeaturizer(run.encoder, acceleration="off").fit().transform(structures)
    assert not is_accelerated(matgl_ssl.load_model(run.encoder, acceleration="off"))
    assert acceleration.VARIABLE not in os.environ


@pytest.mark.parametrize("name", NAMES)
def test_a_verbs_mode_ends_with_it_and_holds_for_models_in_memory(name, monkeypatch):
    model = accelerate(small_model(name))
    modes = []
    choose = guard._choose
    monkeypatch.setattr(guard, "_choose", lambda module: modes.append(choose(module)) or modes[-1])
    for mode in ("off", "torch", None):
        matgl_ssl.predict(model=model, data=[nacl().to_structure()], acceleration=mode)
    assert modes == ["off", "torch", "torch" if compiler.library() is None else "native"]
    with pytest.raises(ConfigError, match="native, off, torch"):
        matgl_ssl.embed(model=model, data=[nacl().to_structure()], acceleration="fast")
    assert acceleration.VARIABLE not in os.environ
