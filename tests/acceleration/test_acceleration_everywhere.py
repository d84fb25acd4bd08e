"""An accelerated model can do what a plain one can, and is what everything here runs."""

from __future__ import annotations

import copy
import io
import json
import pickle

import matgl
import numpy as np
import pytest
import torch
from matgl.ext.ase import PESCalculator
from small_negnns import small_negnn
from small_systems import make_batch, nacl, small_model, some_crystals

import matgl_ssl
from matgl_ssl.backends import Potential, backend
from matgl_ssl.encoders import Encoder, architecture_of, bare_model
from matgl_ssl.hub import copy_model, load_model, model_output, save_model
from matgl_ssl.models import build_negnn
from matgl_ssl.targets.representation import Representation

pytestmark = pytest.mark.pyg

NAMES = ("M3GNet", "MEGNet")


def is_accelerated(model) -> bool:
    """Whether anything in it is not MatGL's own."""
    return any(vars(module).get("forward") or type(module) is not plain_class(module) for module in model.modules())


def plain_class(module) -> type:
    """The class that one gets who looks the module's class up by its name."""
    cls = type(module)
    found = __import__(cls.__module__, fromlist=["*"])
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, cls)
    return found


def output(model) -> torch.Tensor:
    """In float64, without leaving a trace."""
    return model_output(model, make_batch(Encoder(model), some_crystals()).to("cpu", torch.float64))


def accelerated(name: str, **changes):
    return matgl_ssl.accelerate(small_model(name, **changes).double())


def shift_weights(model) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture
def exported(name, tmp_path):
    return save_model(small_model(name), tmp_path / "export", kind="model", readout="trained")


@pytest.fixture
def potential():
    return Potential(small_model("M3GNet", is_intensive=False), element_refs=np.linspace(-2, 0, 11)).eval().double()


# --- copies and files


@pytest.mark.parametrize("after", ["fresh", "after a pass", "after training"])
def test_a_deep_copy_shares_nothing_with_its_original(name, after):
    model = accelerated(name)
    if after == "after a pass":
        output(model)
    elif after == "after training":
        Encoder(model).train()(make_batch(Encoder(model), some_crystals())).output.sum().backward()
        model.eval()
    expected = output(model)
    twin = copy.deepcopy(model)
    torch.testing.assert_close(output(twin), expected, rtol=1e-10, atol=1e-10)
    shift_weights(model)
    torch.testing.assert_close(output(twin), expected, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(output(model), expected)
    theirs = {id(m) for m in model.modules()}
    assert theirs.isdisjoint(id(m) for m in twin.modules())
    bound = [x.__self__ for m in twin.modules() for x in vars(m).values() if hasattr(x, "__self__")]
    assert theirs.isdisjoint(map(id, bound))


def test_a_shallow_copy_of_a_potential_goes_its_own_way(potential):
    matgl_ssl.accelerate(potential)
    energy_only = copy.copy(potential)
    energy_only.calc_forces = energy_only.calc_stresses = False
    state, batch = torch.zeros(4, 2).double(), make_batch(Encoder(potential), some_crystals()).to("cpu", torch.float64)
    assert backend.run_potential(energy_only, batch, state)[1].numel() == 1
    assert backend.run_potential(potential, batch, state)[1].shape == (len(batch.node_type), 3)


@pytest.mark.parametrize("way", ["pickle", "torch.save", "weights"])
def test_a_pickle_is_that_of_a_plain_model(name, way):
    """MatGL's M3GNet cannot be pickled, accelerated or not: its functions of the angle are made as it is built."""
    plain = small_model(name).double()
    fast = accelerated(name)
    if way == "weights":
        twin = small_model(name, seed=1).double()
        twin.load_state_dict(fast.state_dict())
        assert list(fast.state_dict()) == list(plain.state_dict())
        assert torch.equal(output(twin), output(plain))
        return

    def dump(model) -> bytes:
        if way == "pickle":
            return pickle.dumps(model)
        torch.save(model, file := io.BytesIO())
        return file.getvalue()

    if name == "M3GNet":
        for model in (plain, fast):
            with pytest.raises((pickle.PicklingError, AttributeError)):
                dump(model)
        return
    content = dump(fast)
    assert b"matgl_ssl" not in content
    twin = pickle.loads(content) if way == "pickle" else torch.load(io.BytesIO(content), weights_only=False)
    torch.testing.assert_close(output(twin), output(plain), rtol=1e-10, atol=1e-10)


def saved_alike(plain, fast, folder):
    """What MatGL loads of the accelerated one, after its files were found to be those of a plain one."""
    plain.save(folder / "plain")
    fast.save(folder / "fast")
    about = [json.loads((folder / which / "model.json").read_text()) for which in ("plain", "fast")]
    assert about[0] == about[1]
    assert b"matgl_ssl" not in (folder / "fast" / "model.pt").read_bytes()
    loaded = matgl.load_model(folder / "fast").eval()
    assert not is_accelerated(loaded)
    return loaded


def test_what_matgl_saves_is_a_plain_model(name, tmp_path):
    plain = small_model(name)
    expected = output(plain.double())
    loaded = saved_alike(plain.float(), matgl_ssl.accelerate(small_model(name)), tmp_path)
    assert torch.equal(output(loaded.double()), expected)


def test_what_matgl_saves_of_a_potential_is_a_plain_one(potential, tmp_path):
    expected = output(potential)
    fast = Potential(
        matgl_ssl.accelerate(small_model("M3GNet", is_intensive=False)), element_refs=np.linspace(-2, 0, 11)
    )
    loaded = saved_alike(potential.float(), fast, tmp_path)
    torch.testing.assert_close(output(loaded.double()), expected, rtol=1e-10, atol=1e-10)


def test_a_copy_through_the_constructor_is_plain(name):
    model = accelerated(name)
    twin = copy_model(model)
    assert not is_accelerated(twin)
    assert is_accelerated(model)
    torch.testing.assert_close(output(twin), output(model), rtol=1e-10, atol=1e-10)


# --- what is loaded here is accelerated


def test_a_loaded_model_is_accelerated_and_saves_itself_plain(name, exported, tmp_path):
    model = load_model(exported)
    assert is_accelerated(model)
    model.save(tmp_path / "matgl")
    save_model(model, tmp_path / "ours", kind="model", readout="trained")
    for folder in ("matgl", "ours"):
        plain = matgl.load_model(tmp_path / folder).eval()
        assert not is_accelerated(plain)
        assert type(plain) is architecture_of(plain).cls
        torch.testing.assert_close(output(model.double()), output(plain.double()), rtol=1e-10, atol=1e-10)
    assert not is_accelerated(matgl_ssl.decelerate(model))


def test_an_architecture_by_name_is_accelerated(name):
    assert is_accelerated(load_model(name))


def test_predictions_and_embeddings_are_those_of_the_plain_model(name, exported):
    plain = small_model(name)
    crystals = some_crystals()
    found, expected = ([p.value for p in matgl_ssl.predict(model=m, data=crystals)] for m in (exported, plain))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for layer in range(3):
        found, expected = (matgl_ssl.embed(model=m, data=crystals, layer=layer).vectors for m in (exported, plain))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    found, expected = (matgl_ssl.StructureFeaturizer(m).fit_transform(crystals) for m in (exported, plain))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fast", [False, True])
def test_inference_leaves_a_model_that_it_is_given_as_it_is(name, fast):
    model = small_model(name)
    if fast:
        matgl_ssl.accelerate(model)
    before = [(m, type(m), dict(vars(m))) for m in model.modules()]
    matgl_ssl.predict(model=model, data=[nacl()])
    matgl_ssl.embed(model=model, data=[nacl()])
    matgl_ssl.StructureFeaturizer(model).fit_transform([nacl()])
    for module, cls, attributes in before:
        assert type(module) is cls
        assert vars(module).keys() == attributes.keys()
    assert is_accelerated(model) == fast


def test_a_calculator_gives_the_energy_forces_and_stress_of_the_plain_potential(potential, tmp_path):
    path = save_model(potential.float(), tmp_path / "potential", kind="potential", readout="trained")
    loaded = load_model(path)
    assert is_accelerated(loaded)
    results = []
    for model in (potential, loaded):
        atoms = nacl().to_atoms()
        atoms.calc = PESCalculator(model, stress_unit="eV/A3")
        results.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    for plain, fast in zip(*results, strict=True):
        assert np.linalg.norm(fast - plain) <= 1e-5 * max(np.linalg.norm(plain), 1e-2)


def test_derivatives_are_taken_again_and_again(potential):
    """Two passes before two backwards, as an optimiser with a line search has it."""
    batch = make_batch(Encoder(potential), some_crystals()).to("cpu", torch.float64)
    plain = [Encoder(potential)(batch, stresses=True) for _ in range(2)]
    matgl_ssl.accelerate(potential)
    fast = [Encoder(potential)(batch, stresses=True) for _ in range(2)]
    for found, expected in zip(fast, plain, strict=True):
        torch.testing.assert_close(found.forces, expected.forces, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found.stresses, expected.stresses, rtol=1e-9, atol=1e-9)


# --- NEGNNs


@pytest.mark.parametrize("encoder", NAMES)
def test_an_accelerated_negnn_still_takes_its_representation_in(name, encoder):
    model = small_negnn(name, encoder).double()
    expected = output(model)
    torch.testing.assert_close(output(matgl_ssl.accelerate(model)), expected, rtol=1e-9, atol=1e-9)


def test_a_negnn_is_made_of_accelerated_models_as_of_plain_ones(name, tmp_path):
    changes = {"cutoff": 4.5, **({"threebody_cutoff": 4.5} if name == "M3GNet" else {})}
    plain = build_negnn(small_model(name, **changes), small_model(name, **changes))
    parts = [matgl_ssl.accelerate(small_model(name, **changes)) for _ in range(2)]
    torch.manual_seed(0)
    model = build_negnn(*parts)
    model.load_state_dict(plain.state_dict())
    torch.testing.assert_close(output(model.double()), output(plain.double()), rtol=1e-9, atol=1e-9)
    path = save_model(model.float().eval(), tmp_path / "negnn", kind="model", readout="trained")
    loaded = load_model(path)
    torch.testing.assert_close(output(loaded.double()), output(plain.double()), rtol=1e-9, atol=1e-9)


def test_the_cache_of_representations_does_not_tell_an_accelerated_encoder_from_a_plain_one(name):
    plain, fast = small_model(name), matgl_ssl.accelerate(small_model(name))
    assert Representation.of(bare_model(plain), (0, 1)) == Representation.of(bare_model(fast), (0, 1))
