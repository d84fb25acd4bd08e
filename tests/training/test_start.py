"""Which weights fine-tuning starts from, and when the readout that came with them stays."""

from __future__ import annotations

import pytest
import torch
from small_systems import EXTENSIVE, NAMES, small_model

from matgl_ssl.backends import Potential
from matgl_ssl.encoders import ARCHITECTURES, architecture_of
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.hub import save_model
from matgl_ssl.hub.stamp import OUTPUT
from matgl_ssl.training.config import FinetuneConfig
from matgl_ssl.training.start import start

GAP = {"name": "band_gap", "unit": "eV", "transform": None, "extensive": False}
ENERGY = {"name": "energy", "unit": "eV", "transform": None, "extensive": True}


def config(**options) -> FinetuneConfig:
    return FinetuneConfig.build({"target": "band_gap", **options})


def same_weights(first, second, *, of) -> bool:
    ours, theirs = ({k: v for k, v in model.state_dict().items() if k.startswith(of)} for model in (first, second))
    assert ours
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[k]) for k, value in ours.items())


def assert_fresh(begin, model):
    """The readout is new; everything below it is the model's."""
    readout = architecture_of(model).readout_modules
    body = tuple({name.split(".")[0] for name, _ in model.named_parameters()} - set(readout))
    assert not begin.keep
    assert same_weights(begin.model, model, of=body)
    assert not same_weights(begin.model, model, of=readout[-1])


CASES = {
    "trained on the target": ({"kind": "model", "readout": "trained", "target": GAP}, {}, True),
    "trained on another target": ({"kind": "model", "readout": "trained", "target": {**GAP, "name": "x"}}, {}, False),
    "trained on the target's logarithm": (
        {"kind": "model", "readout": "trained", "target": {**GAP, "transform": "log10"}}, {}, False
    ),
    "a pretrained encoder": ({"kind": "encoder", "readout": "untrained"}, {}, False),
    "trained on the target, but a fresh readout is wanted": (
        {"kind": "model", "readout": "trained", "target": GAP}, {"readout": "fresh"}, False
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_auto_keeps_a_readout_that_was_trained_on_the_same_target(tmp_path, case):
    stamp, options, keeps = CASES[case]
    model = small_model("MEGNet")
    path = save_model(model, tmp_path / "model", **stamp)
    begin = start(config(**options), path)
    if keeps:
        assert begin.keep
        assert same_weights(begin.model, model, of="")
    else:
        assert_fresh(begin, model)


@pytest.mark.parametrize(("name", "head"), [(name, ARCHITECTURES[name].head_modules[0]) for name in NAMES])
@pytest.mark.parametrize(("readout", "options"), [("crystal vector", {}), ("untrained", {"readout": "carry"})])
def test_a_trained_crystal_vector_is_carried_over_and_what_follows_it_is_new(tmp_path, name, head, readout, options):
    model = small_model(name)
    begin = start(config(**options), save_model(model, tmp_path / "model", kind="encoder", readout=readout))
    assert not begin.keep
    body = tuple({n.split(".")[0] for n, _ in model.named_parameters()} - {head})
    assert same_weights(begin.model, model, of=body)
    assert not same_weights(begin.model, model, of=head)
    assert_fresh(start(config(readout="fresh"), tmp_path / "model"), model)


@pytest.mark.parametrize("name", NAMES)
def test_a_readout_that_was_trained_by_derivatives_is_carried_over_whole(tmp_path, name):
    model = small_model(name)
    begin = start(config(), save_model(model, tmp_path / "model", kind="encoder", readout=OUTPUT))
    assert not begin.keep  # its output is no target yet
    assert same_weights(begin.model, model, of="")
    assert_fresh(start(config(readout="fresh"), tmp_path / "model"), model)


@pytest.mark.parametrize("name", EXTENSIVE)
def test_a_sum_over_atoms_has_no_crystal_vector_to_carry_over(tmp_path, name):
    path = save_model(small_model(name, is_intensive=False), tmp_path / "sum", kind="encoder", readout="untrained")
    with pytest.raises(ModelError, match=r"carry.*sum over atoms.*fresh"):
        start(config(readout="carry"), path)


@pytest.mark.parametrize("name", NAMES)
def test_an_instance_is_taken_to_be_trained_on_the_target_and_copied(name):
    model = small_model(name)
    begin = start(config(init_from="in memory"), model)
    assert begin.keep
    assert begin.model is not model
    assert same_weights(begin.model, model, of="")
    pointers = {p.data_ptr() for p in model.parameters()}
    assert not any(p.data_ptr() in pointers for p in begin.model.parameters())


def test_a_denoising_energy_gets_a_fresh_readout_of_the_targets_kind(tmp_path):
    model = small_model("M3GNet", is_intensive=False)
    path = save_model(Potential(model), tmp_path / "potential", kind="potential", readout="denoising")
    begin = start(config(), path)
    assert begin.model.is_intensive
    assert_fresh(begin, model)
    extensive = start(config(target="energy", extensive=True), path)
    assert not extensive.model.is_intensive
    assert_fresh(extensive, model)


@pytest.mark.parametrize("name", EXTENSIVE)
def test_a_sum_over_atoms_is_not_kept_for_an_intensive_target_nor_the_reverse(name):
    energy, gap = small_model(name, is_intensive=False), small_model(name)
    begin = start(config(), Potential(energy, element_refs=[1.0] * len(energy.element_types)))
    assert begin.model.is_intensive
    assert begin.references is None
    assert_fresh(begin, energy)
    assert_fresh(start(config(extensive=True), gap), gap)


@pytest.mark.parametrize("name", EXTENSIVE)
def test_a_potential_is_kept_with_its_references_and_its_scale_folded_in(name):
    model = small_model(name, is_intensive=False)
    references = torch.linspace(-3.0, 2.0, len(model.element_types))
    potential = Potential(model, data_std=2.0, element_refs=references)
    begin = start(config(target="energy", extensive=True), potential)
    assert begin.keep
    torch.testing.assert_close(begin.references, references.double())
    last, expected = architecture_of(model).last_linear(begin.model), architecture_of(model).last_linear(model)
    assert torch.equal(last.weight, 2 * expected.weight)
    assert torch.equal(last.bias, 2 * expected.bias)
    assert float(potential.data_std) == 2.0


def test_a_transformed_target_model_is_kept_with_its_normalizer_folded_in():
    from matgl.data.transformer import Normalizer
    from matgl.models import TransformedTargetModel

    model = small_model("MEGNet")
    begin = start(config(), TransformedTargetModel(model, Normalizer(mean=-2.0, std=0.5)))
    assert begin.keep
    last, expected = architecture_of(model).last_linear(begin.model), architecture_of(model).last_linear(model)
    torch.testing.assert_close(last.weight, 0.5 * expected.weight)
    torch.testing.assert_close(last.bias, 0.5 * expected.bias - 2.0)


@pytest.mark.parametrize(("name", "key"), [("M3GNet", "task_type"), ("MEGNet", "is_classification")])
def test_a_classifier_gets_a_fresh_readout_without_its_sigmoid(name, key):
    model = small_model(name, **{key: {"task_type": "classification", "is_classification": True}[key]})
    begin = start(config(), model)
    assert not begin.keep
    assert not hasattr(begin.model, "sigmoid")
    assert getattr(begin.model, key) in ("regression", False)


def test_several_outputs_are_not_kept():
    model = small_model("M3GNet", ntargets=3)
    begin = start(config(), model)
    assert not begin.keep
    assert architecture_of(model).last_linear(begin.model).out_features == 1


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        ({"kind": "encoder", "readout": "untrained"}, "untrained"),
        ({"kind": "potential", "readout": "denoising"}, "denoising"),
        ({"kind": "model", "readout": "trained", "target": {**GAP, "name": "bulk_modulus"}}, "trained on bulk_modulus"),
        ({"kind": "model", "readout": "trained", "target": ENERGY}, "trained on energy"),
    ],
)
def test_keep_on_a_readout_that_means_something_else_is_an_error(tmp_path, stamp, reason):
    path = save_model(small_model("MEGNet"), tmp_path / "model", **stamp)
    with pytest.raises(ModelError, match=f"{reason}.*--readout fresh"):
        start(config(readout="keep", init_from=str(path)), path)


def test_what_cannot_be_folded_into_a_model_is_not_kept_silently():
    model = small_model("M3GNet", is_intensive=False)
    wanted = config(target="energy", extensive=True)
    for potential in (Potential(model, data_mean=1.0), Potential(model, calc_repuls=True)):
        with pytest.raises(ModelError, match=r"cannot be kept.*--readout fresh"):
            start(wanted, potential)


def test_an_architectures_name_starts_from_random_weights():
    begin = start(config(init_from="MEGNet"), "MEGNet")
    assert not begin.keep
    assert type(begin.model).__name__ == "MEGNet"


def test_without_init_from_the_architecture_is_built_for_the_target():
    assert start(config(model="M3GNet")).model.is_intensive
    assert not start(config(model="M3GNet", extensive=True)).model.is_intensive


def test_model_args_that_contradict_the_target_are_refused():
    with pytest.raises(ConfigError, match=r"is_intensive must be True.*--extensive"):
        start(config(model="M3GNet", model_args={"is_intensive": False}))


@pytest.mark.parametrize("source", [None, "instance"])
def test_megnet_cannot_be_a_sum_over_atoms_and_the_error_names_the_fix(source):
    model = small_model("MEGNet") if source else None
    with pytest.raises(ModelError, match=r"MEGNet's output is intensive.*--model M3GNet.*energy per atom"):
        start(config(model="MEGNet", target="energy", extensive=True), model)


def test_a_run_that_trained_energies_starts_energies_from_its_potential(tmp_path):
    """Its encoder's readout is fresh; for another sum over atoms it starts fresh as well."""
    model = small_model("M3GNet", is_intensive=False)
    save_model(model, tmp_path / "encoder", kind="encoder", readout="untrained")
    save_model(Potential(model), tmp_path / "potential", kind="potential", readout="trained", unit="eV")
    begin = start(config(target="energy", extensive=True), tmp_path)
    assert begin.keep
    assert same_weights(begin.model, model, of="")
    assert_fresh(start(config(target="total_magnetization", extensive=True), tmp_path), model)
