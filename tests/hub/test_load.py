"""Files are looked at before they are loaded: other people's code is not run, and what is broken is one error."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from matgl import models
from small_systems import SMALL, make_batch, nacl, small_model

from matgl_ssl import registry
from matgl_ssl._backend import BACKEND
from matgl_ssl.backends import Potential
from matgl_ssl.encoders import ARCHITECTURES, Encoder, architecture_of
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.hub import evaluating, load_model, model_output, new_model
from matgl_ssl.hub.resolve import FILES
from matgl_ssl.hub.stamp import sign


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that must not come into being."""
    return tmp_path / "executed"


def test_the_marker_would_appear(marker):
    pickle.loads(pickle.dumps(Touch(marker)))
    assert marker.exists()


@pytest.mark.parametrize("file", ["model.pt", "state.pt"])
def test_a_pickled_call_is_not_executed(stamped, marker, file):
    content = torch.load(stamped / file, weights_only=True)
    torch.save({**content, "surprise": Touch(marker)}, stamped / file)
    sign(stamped)
    with pytest.raises(ModelError, match="was not read: it names"):
        load_model(stamped)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "cls"),
    [
        ("pathlib", "Path"),
        ("matgl_ssl.crystals.demo", "write_demo"),
        ("matgl.models", "torch"),
        ("matgl.models_of_a_stranger", "MEGNet"),
        ("matgl.utils.io", "IOMixIn"),
        ("subprocess", "Popen"),
    ],
)
@pytest.mark.parametrize("layer", [0, 2])
def test_a_foreign_class_in_the_arguments_is_not_built(stamped, marker, module, cls, layer):
    content = torch.load(stamped / "model.pt", weights_only=True)
    node = {"@module": module, "@class": cls, "@model_version": 0, "init_args": {"args": ["touch", str(marker)]}}
    for _ in range(layer):
        node = {"inner": [node]}
    torch.save({**content, "bond_expansion": node}, stamped / "model.pt")
    sign(stamped)
    with pytest.raises(ModelError, match=f"asks for the class {module}.{cls}.*not loaded"):
        load_model(stamped)
    assert not marker.exists()


class OfAnInstalledPackage(models.MEGNet):
    """A model of an architecture that another package adds."""

    __version__ = 1


@pytest.fixture
def register(monkeypatch):
    """Registers an architecture as an installed package does."""
    known = dict(registry._points("architectures"))

    def add(architecture):
        point = SimpleNamespace(name=architecture.name, value="a test", dist=None, load=lambda: architecture)
        monkeypatch.setattr(registry, "_points", lambda kind: {**known, architecture.name: [point]})
        registry.load.cache_clear()

    yield add
    registry.load.cache_clear()


def test_a_class_of_an_added_architecture_is_trusted_and_no_other_of_its_module(tmp_path, register):
    model = OfAnInstalledPackage(**SMALL["MEGNet"])
    model.save(tmp_path / "model")
    with pytest.raises(ModelError, match=r"asks for the class .*OfAnInstalledPackage"):
        load_model(tmp_path / "model", trained_with=BACKEND)
    added = dataclasses.replace(ARCHITECTURES["MEGNet"], name="Added", cls=OfAnInstalledPackage)
    register(added)
    loaded = load_model(tmp_path / "model", trained_with=BACKEND)
    assert type(loaded) is OfAnInstalledPackage
    assert architecture_of(loaded) is added
    register(dataclasses.replace(added, cls=models.MEGNet))
    with pytest.raises(ModelError, match=r"asks for the class .*OfAnInstalledPackage"):
        load_model(tmp_path / "model", trained_with=BACKEND)


def test_a_foreign_class_in_the_json_is_not_looked_up(stamped, edit_json):
    edit_json(stamped, lambda content: content.update({"@module": "subprocess", "@class": "Popen"}))
    with pytest.raises(ModelError, match=r"asks for the class subprocess\.Popen"):
        load_model(stamped)


@pytest.mark.parametrize("kept", [0, 100, -1], ids=["empty", "truncated", "one byte short"])
@pytest.mark.parametrize("file", FILES)
def test_a_truncated_file_is_one_error(stamped, file, kept):
    content = (stamped / file).read_bytes()
    (stamped / file).write_bytes(content[:kept])
    with pytest.raises(ModelError):
        load_model(stamped)


@pytest.mark.parametrize("content", ["[]", '"text"', "{}", "null", '{"@class": "MEGNet"}'])
def test_json_of_something_else_is_one_error(stamped, content):
    (stamped / "model.json").write_text(content)
    with pytest.raises(ModelError):
        load_model(stamped)


def test_weights_that_are_missing_are_not_left_random(bare, backend_name):
    weights = torch.load(bare / "state.pt", weights_only=True)
    weights.pop(next(iter(dict(small_model("MEGNet").named_parameters()).keys() & weights.keys())))
    torch.save(weights, bare / "state.pt")
    with pytest.raises(ModelError, match=r"lacks 1 of the model's weights|1 parameter\(s\)"):
        load_model(bare, trained_with=backend_name)


def test_weights_of_another_shape_are_one_error(bare, backend_name):
    weights = torch.load(bare / "state.pt", weights_only=True)
    weights = {key: value.repeat(2, *[1] * (value.dim() - 1)) for key, value in weights.items() if value.dim()}
    torch.save(weights, bare / "state.pt")
    with pytest.raises(ModelError, match="cannot load"):
        load_model(bare, trained_with=backend_name)


def test_the_energy_of_a_potential_is_taken_without_derivatives_and_without_a_trace():
    potential = Potential(small_model("M3GNet", is_intensive=False)).train()
    batch = make_batch(Encoder(potential), [nacl(), nacl()])
    flags = dict(vars(potential))
    energies = model_output(potential, batch)
    assert not energies.requires_grad
    assert potential.training
    assert {k: v for k, v in vars(potential).items() if k.startswith("calc_")} == {
        k: v for k, v in flags.items() if k.startswith("calc_")
    }
    assert potential.calc_forces
    assert not getattr(potential.model, "feature_dict", {})
    assert energies.shape == (2,)


def test_eval_mode_is_given_back_module_by_module():
    model = small_model("MEGNet").train()
    first = next(model.children()).eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert model.training
    assert not first.training
    with pytest.raises(RuntimeError, match="midway"), evaluating(model):
        raise RuntimeError("midway")
    assert model.training


def test_new_models_are_checked_against_the_constructor():
    with pytest.raises(ConfigError, match="Did you mean 'M3GNet'"):
        new_model("M3GNett")
    with pytest.raises(ConfigError, match="Did you mean 'cutoff'"):
        new_model("MEGNet", {"cutof": 4.0})
    with pytest.raises(ConfigError, match="MEGNet cannot be built with"):
        new_model("MEGNet", {**SMALL["MEGNet"], "activation_type": "no such thing"})
