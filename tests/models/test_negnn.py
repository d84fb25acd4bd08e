"""NEGNN: what enters the node embedding, what stays frozen, and that a saved one is whole."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import matgl
import numpy as np
import pytest
import torch
from small_negnns import CUTOFF, output_of, plain, same, small_negnn, weights_of
from small_systems import ELEMENTS, NAMES, make_batch, nacl, skewed, some_crystals, supercell

from matgl_ssl._backend import BACKEND
from matgl_ssl.acceleration import decelerate
from matgl_ssl.backends import MASK, REPRESENTATION, Potential
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.encoders import Encoder, layer_of_parameter
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.hub import evaluating, load_model, model_output, new_model, save_model, without_dropout
from matgl_ssl.hub.stamp import sign
from matgl_ssl.inference import embed
from matgl_ssl.models import M3GNetNEGNN, MEGNetNEGNN, build_negnn
from matgl_ssl.models.negnn import negnn_class
from matgl_ssl.targets import with_targets
from matgl_ssl.targets.representation import Representation

MODES = ("concat", "replace", "add")
CLASSES = {name: negnn_class(name) for name in NAMES}


def embedding_of(model):
    return model.get_submodule(Encoder(model).architecture.element_embedding)


def linear_of(model):
    return model.get_submodule(f"{Encoder(model).architecture.embedding_module()}.layer_representation")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("encoder", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_the_embedding_is_made_of_the_elements_and_the_frozen_vectors(name, encoder, mode):
    model = small_negnn(name, encoder, mode=mode)
    assert isinstance(model, CLASSES[name])
    batch = make_batch(Encoder(model), some_crystals())
    embedded = []
    own, linear = embedding_of(model), linear_of(model)
    depth_zero = own.register_forward_hook(lambda *args: embedded.append(args[2].detach()))
    with torch.no_grad(), evaluating(model):
        features = Encoder(plain(encoder))(batch)
        Encoder(model)(batch)
    depth_zero.remove()
    s = torch.cat(features.node[:2], dim=1)
    own = own.weight[batch.node_type]
    weight, bias = linear.weight, linear.bias
    width = own.shape[1]
    expected = {
        "concat": lambda: own @ weight[:, :width].T + s @ weight[:, width:].T + bias,
        "replace": lambda: s @ weight.T + bias,
        "add": lambda: own + s @ weight.T + bias,
    }[mode]()
    torch.testing.assert_close(embedded[0], expected, rtol=1e-4, atol=1e-5)


def test_layers_may_be_numpys(tmp_path):
    model = build_negnn(plain("MEGNet"), plain("MEGNet"), layers=np.arange(2))
    assert model.represented == (0, 1)
    load_model(save_model(model, tmp_path / "model", kind="model", readout="trained"))


@pytest.mark.parametrize("layers", [(0,), (1,), (0, 2), (2, 0, 1)])
def test_the_representation_is_the_chosen_layers_one_after_the_other(layers):
    model = small_negnn(layers=layers)
    dims = Encoder(model.frozen).node_dims
    width = sum(dims[layer] for layer in layers)
    assert (
        model.embedding.layer_representation.in_features == width + model.embedding.layer_node_embedding.embedding_dim
    )
    expected = embed(model=plain("M3GNet"), data=some_crystals(), level="atom", layer=layers).vectors
    found = Representation.of(model.frozen, model.represented).of_many(some_crystals())
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("encoder", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_matgl_loads_it_whole_and_it_predicts_the_same(name, encoder, mode, tmp_path):
    model = small_negnn(name, encoder, mode=mode, layers=(0, 2))
    path = save_model(model, tmp_path / "model", kind="model", readout="trained")
    for loaded in (matgl.load_model(path), decelerate(load_model(path))):
        assert type(loaded) is CLASSES[name]
        assert (loaded.represented, loaded.mode) == ((0, 2), mode)
        assert same(weights_of(loaded), weights_of(model))
        assert torch.equal(output_of(loaded.eval()), output_of(model))
    structure = nacl().to_structure()
    assert float(loaded.predict_structure(structure)) == float(model.predict_structure(structure))
    assert float(loaded.predict_structure(structure)) == pytest.approx(float(output_of(model, [nacl()])), rel=1e-4)
    assert not any(p.requires_grad for p in loaded.frozen.parameters())


def test_a_new_process_that_imports_matgl_ssl_loads_it_with_matgl(tmp_path):
    model = small_negnn("M3GNet", "MEGNet")
    save_model(model, tmp_path / "model", kind="model", readout="trained")
    code = (
        "import matgl_ssl, matgl, sys; from pymatgen.core import Structure; "
        "print(float(matgl.load_model(sys.argv[1]).eval().predict_structure(Structure.from_file(sys.argv[2]))))"
    )
    nacl().to_structure().to(filename=str(tmp_path / "nacl.json"))
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model", tmp_path / "nacl.json"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(model.predict_structure(nacl().to_structure())), rel=1e-6)


def test_inside_a_potential_forces_go_through_the_frozen_encoder_too(tmp_path):
    model = small_negnn("M3GNet", "MEGNet", changes={"is_intensive": False}).double()
    encoder = Encoder(model).eval()
    crystal = nacl()
    batch = make_batch(encoder, [crystal])
    forces = encoder(batch, forces=True).forces
    step, moved = 1e-4, []
    for side in (1, -1):
        shifted = dataclasses.replace(batch.to("cpu", torch.float64))
        shifted.frac_coords = shifted.frac_coords.clone()
        shifted.frac_coords[0] += side * torch.tensor([step, 0, 0], dtype=torch.float64) @ shifted.lattice[0].inverse()
        moved.append(float(encoder(shifted).output.detach()))
    assert float(forces[0, 0]) == pytest.approx(-(moved[0] - moved[1]) / (2 * step), rel=1e-3, abs=1e-7)
    path = save_model(Potential(model.float()), tmp_path / "potential", kind="potential", readout="trained")
    loaded = decelerate(load_model(path))
    assert isinstance(loaded.model, M3GNetNEGNN)
    assert torch.equal(output_of(loaded), output_of(Potential(model.float())))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoder", NAMES)
def test_given_vectors_are_those_it_would_have_computed(name, encoder):
    model = small_negnn(name, encoder)
    batch = make_batch(Encoder(model), some_crystals())
    on_the_fly = output_of(model)
    calls = []
    hook = model.frozen.register_forward_hook(lambda *_: calls.append(1))
    table = with_targets(
        CrystalDataset.from_crystals(some_crystals()), [Representation.of(model.frozen, model.represented)]
    )
    column = next(name for name in table.label_names if name.startswith("atom:representation"))
    assert len(calls) <= 1  # none if an equal encoder has been here before
    computed = len(calls)
    batch.atom[REPRESENTATION] = torch.from_numpy(np.concatenate([c.labels[column] for c in table]))
    torch.testing.assert_close(model_output(model, batch), on_the_fly, rtol=1e-4, atol=1e-6)
    assert len(calls) == computed
    batch.atom[REPRESENTATION] = 0 * batch.atom[REPRESENTATION]
    assert not torch.allclose(model_output(model, batch), on_the_fly, atol=1e-4)
    hook.remove()


def test_two_encoders_are_two_columns_and_equal_ones_are_one():
    one, again, other = (Representation.of(plain("MEGNet", seed=seed), (0, 1)) for seed in (0, 0, 1))
    assert one.column == again.column != other.column
    assert one.column != Representation.of(plain("MEGNet"), (0,)).column


def test_atoms_without_neighbours_beyond_the_elements_of_layer_zero():
    """The control: layer 0 says no more than the element, deeper ones tell surroundings apart."""
    crystals = [nacl(), Crystal(nacl().numbers, nacl().frac_coords, 1.06 * nacl().lattice)]
    element, surroundings = (
        np.stack(Representation.of(plain("M3GNet"), layers).of_many(crystals)) for layers in ((0,), (1,))
    )
    assert np.array_equal(element[0], element[1])
    assert not np.allclose(surroundings[0], surroundings[1], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_it_does_not_depend_on_the_batch_or_the_cell(name):
    model = small_negnn(name, "M3GNet", changes={"readout_type": "set2set"} if name == "M3GNet" else {})
    alone = torch.cat([output_of(model, [c]).reshape(1) for c in some_crystals()])
    torch.testing.assert_close(output_of(model), alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        output_of(model, [supercell(skewed(), (2, 1, 1))]), output_of(model, [skewed()]), rtol=1e-4, atol=1e-5
    )


def test_its_range_is_that_of_encoder_and_model_together():
    n, spacing = 40, 2.2  # two of them within the cutoff
    numbers = np.tile([11, 17, 12, 8], n // 4)
    frac = np.zeros((n, 3))
    frac[:, 2] = np.arange(n) / n
    chain = Crystal(numbers, frac, np.diag([3.5, 3.5, n * spacing]))
    changed = Crystal(np.where(np.arange(n) == n // 2, 26, numbers), frac, chain.lattice)
    model = small_negnn("M3GNet", "M3GNet", layers=(0, 1), changes={"readout_type": "reduce_atom"})
    encoder = Encoder(model.double()).eval()  # in float32 what comes from afar drowns in the rounding
    with torch.no_grad():
        before, after = (encoder(make_batch(encoder, [c])).node for c in (chain, changed))
    distance = torch.from_numpy(spacing * np.abs(np.arange(n) - n // 2))
    reach = 2 * CUTOFF if BACKEND == "dgl" else CUTOFF  # MatGL 2: see docs/architecture.md
    for layer in range(3):
        difference = (after[layer] - before[layer]).abs().amax(1)
        seen = distance <= (layer + 1) * reach
        assert float(difference[~seen].max()) <= 1e-13
        assert float(difference[seen & (distance > layer * CUTOFF)].max()) > 1e-11


class TestFrozen:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("name", NAMES)
    def test_the_encoder_is_bitwise_what_it_was_after_training(self, name, mode):
        model = small_negnn(name, "M3GNet", mode=mode, changes={} if name == "TensorNet" else {"dropout": 0.2}).train()
        before, encoder = weights_of(model.frozen), Encoder(model)
        trained = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        assert not any(n.startswith("frozen.") for n in trained)
        optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            encoder(make_batch(encoder, some_crystals())).output.square().mean().backward()
            optimizer.step()
        assert same(before, weights_of(model.frozen))
        assert all(p.grad is None for p in model.frozen.parameters())
        changed = [n for n, p in model.named_parameters() if p.requires_grad and not torch.equal(p, trained[n])]
        assert any(n.endswith("layer_representation.weight") for n in changed)

    def test_it_stays_in_eval_mode_whatever_is_said(self):
        model = build_negnn(plain("MEGNet"), plain("MEGNet", dropout=0.5))
        for mode in (True, False, True):
            assert model.train(mode).training is mode
            assert not any(module.training for module in model.frozen.modules())
        with evaluating(model):
            assert not model.training
        assert model.training
        assert not any(module.training for module in model.frozen.modules())

    def test_neither_model_nor_encoder_given_is_touched(self):
        model, encoder = plain("MEGNet"), plain("MEGNet", seed=2).train()
        kept, trainable = weights_of(encoder), [p.requires_grad for p in encoder.parameters()]
        negnn = build_negnn(model, encoder)
        assert [p.requires_grad for p in encoder.parameters()] == trainable
        assert any(trainable)
        assert encoder.training
        assert encoder is not negnn.frozen
        with torch.no_grad():
            negnn.frozen.embedding.layer_node_embedding.weight.zero_()
        assert same(kept, weights_of(encoder))
        assert all(torch.equal(v, negnn.state_dict()[k]) for k, v in model.state_dict().items())

    def test_nothing_is_left_behind_in_it(self):
        model = small_negnn()
        output_of(model)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert not getattr(model.frozen, "feature_dict", None)


class TestRefusals:
    @pytest.mark.parametrize("layers", [(), (3,), (-1,), ("readout",)])
    def test_layers_that_are_not_there(self, layers):
        with pytest.raises(ConfigError, match="layers 0, 1, 2 of its encoder"):
            small_negnn(layers=layers)

    def test_an_unknown_mode(self):
        with pytest.raises(ConfigError, match="enters by concat, replace, add, not 'multiply'"):
            small_negnn(mode="multiply")

    def test_models_with_state_labels(self):
        states = {"ntypes_state": 4, "dim_state_embedding": 6, "include_state": True}
        for model, encoder in (("MEGNet", plain("MEGNet", **states)), (plain("MEGNet", **states), "MEGNet")):
            with pytest.raises(ModelError, match="ntypes_state"):
                build_negnn(
                    plain(model) if isinstance(model, str) else model,
                    plain(encoder) if isinstance(encoder, str) else encoder,
                )

    def test_a_negnn_within_a_negnn_and_other_classes(self):
        with pytest.raises(ModelError, match="not of MEGNetNEGNN"):
            build_negnn(plain("MEGNet"), small_negnn("MEGNet"))
        with pytest.raises(ModelError, match="not of M3GNetNEGNN"):
            build_negnn(small_negnn("M3GNet"), plain("MEGNet"))
        with pytest.raises(ModelError, match="not of Linear"):
            build_negnn(plain("MEGNet"), torch.nn.Linear(2, 2))
        with pytest.raises(ModelError, match="not Popen"):
            MEGNetNEGNN({"@class": "Popen", "@module": "subprocess", "init_args": {}})

    def test_elements_in_another_order(self):
        with pytest.raises(ConfigError, match="element_types"):
            build_negnn(plain("MEGNet", element_types=ELEMENTS[::-1]), plain("MEGNet"))

    def test_hidden_atoms_that_the_frozen_encoder_would_see(self):
        encoder = Encoder(small_negnn())
        batch = make_batch(encoder, some_crystals())
        batch.atom[MASK] = torch.ones(len(batch.node_type), dtype=torch.bool)
        with pytest.raises(ModelError, match="pretrain that encoder instead"):
            encoder(batch)

    @pytest.mark.parametrize("place", ["encoder", "bond_expansion"])
    def test_a_foreign_class_inside_is_not_built(self, tmp_path, place):
        path = save_model(small_negnn("MEGNet", "MEGNet"), tmp_path / "model", kind="model", readout="trained")
        content = torch.load(path / "model.pt", weights_only=True)
        content[place] = {"@class": "Popen", "@module": "subprocess", "init_args": {"args": ["true"]}}
        torch.save(content, path / "model.pt")
        sign(path)
        with pytest.raises(ModelError, match=r"asks for the class subprocess\.Popen"):
            load_model(path)

    def test_only_the_architectures_classes_of_the_file_are_let_through(self, tmp_path):
        path = save_model(small_negnn("MEGNet", "MEGNet"), tmp_path / "model", kind="model", readout="trained")
        content = json.loads((path / "model.json").read_text())
        for module, cls in (
            ("matgl_ssl.models.negnn", "copy_model"),
            ("matgl_ssl.models.negnn", "NEGNN"),
            ("matgl_ssl.hub", "MEGNetNEGNN"),
        ):
            (path / "model.json").write_text(json.dumps({**content, "@module": module, "@class": cls}))
            with pytest.raises(ModelError, match="asks for the class"):
                load_model(path)


def test_what_depends_on_layers_counts_the_new_layer_as_layer_zero():
    model = small_negnn()
    encoder = Encoder(model)
    assert layer_of_parameter(encoder.architecture, encoder.n_layers, "embedding.layer_representation.weight") == 0
    assert encoder.n_layers == 2
    assert embed(model=model, data=some_crystals(), layer=[0, 1, 2]).vectors.shape == (4, sum(encoder.node_dims))


def test_a_copy_without_dropout_is_a_negnn_with_the_same_weights():
    model = small_negnn("MEGNet", changes={"dropout": 0.3})
    copy = without_dropout(model)
    assert type(copy) is MEGNetNEGNN
    assert copy._init_args["dropout"] == 0
    assert same(weights_of(copy), weights_of(model))


def test_it_can_be_built_with_the_encoders_elements_and_cutoff_alone():
    encoder = plain("M3GNet")
    model = MEGNetNEGNN(encoder, layers=(1,), nblocks=1)
    assert (model.element_types, model.cutoff) == (ELEMENTS, CUTOFF)
    assert type(new_model("MEGNet")) is not type(model)
