"""Representations in scikit-learn's shape, at a chosen range."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_systems import NAMES, cscl, iron, nacl, skewed, small_model, some_crystals, supercell

from matgl_ssl import StructureFeaturizer
from matgl_ssl.cli import main
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.errors import BadStructureError, ConfigError, ModelError
from matgl_ssl.hub import save_model
from matgl_ssl.inference import embed


@pytest.mark.parametrize("layer", [(0, 1), 2, (2, 0), "readout", (1, "readout"), None])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_a_crystals_vector_at_the_chosen_layers(name, layer):
    model = small_model(name)
    featurizer = StructureFeaturizer(model, layer=layer)
    found = featurizer.fit_transform(some_crystals())
    np.testing.assert_array_equal(found, embed(model=model, data=some_crystals(), layer=layer).vectors)
    names = featurizer.get_feature_names_out()
    assert len(set(names)) == len(names) == found.shape[1]
    parts = [str(n).rpartition("_")[0] for n in names]
    last = {"M3GNet": 2, "MEGNet": 3, "TensorNet": 3}[name]
    wanted = [last] if layer is None else [layer] if isinstance(layer, int | str) else layer
    assert list(dict.fromkeys(parts)) == [n if n == "readout" else f"layer{n}" for n in wanted]


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_an_atoms_vector_at_atom_level(name):
    found = StructureFeaturizer(small_model(name), level="atom").fit_transform(some_crystals())
    np.testing.assert_array_equal(
        found, embed(model=small_model(name), data=some_crystals(), level="atom", layer=(0, 1)).vectors
    )
    sizes = [len(c) for c in some_crystals()]
    assert len(found) == sum(sizes)
    means = StructureFeaturizer(small_model(name)).fit_transform(some_crystals())
    parts = np.split(found, np.cumsum(sizes)[:-1])
    np.testing.assert_allclose(means, [part.mean(0) for part in parts], rtol=1e-4, atol=1e-6)
    sums = StructureFeaturizer(small_model(name), reduce="sum").fit_transform(some_crystals())
    np.testing.assert_allclose(sums, [part.sum(0) for part in parts], rtol=1e-4, atol=1e-5)


def test_a_mean_is_the_materials_and_a_sum_the_cells():
    small, large = cscl(), supercell(cscl(), (2, 2, 1))
    for reduce, factor in (("mean", 1), ("sum", 4)):
        one, many = StructureFeaturizer(small_model("MEGNet"), reduce=reduce).fit_transform([small, large])
        np.testing.assert_allclose(many, factor * one, rtol=1e-4, atol=1e-5)
    readout = StructureFeaturizer(small_model("MEGNet"), layer="readout", reduce="sum").fit_transform([small, large])
    np.testing.assert_allclose(readout[1], readout[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "MEGNet"])
def test_layer_zero_is_the_composition_and_layer_one_is_not(name):
    wider = Crystal(nacl().numbers, nacl().frac_coords, 1.05 * nacl().lattice)
    zero, one = (StructureFeaturizer(small_model(name), layer=k).fit_transform([nacl(), wider]) for k in (0, 1))
    np.testing.assert_allclose(zero[0], zero[1], rtol=1e-6)
    assert not np.allclose(one[0], one[1], atol=1e-4)


def test_any_kind_of_structure_is_taken(tmp_path):
    featurizer = StructureFeaturizer(small_model("MEGNet")).fit()
    expected = featurizer.transform([cscl(), skewed()])
    crystals = [cscl(), skewed()]
    table = CrystalDataset.from_crystals(crystals)
    for same in (
        table, [c.to_structure() for c in crystals], [c.to_atoms() for c in crystals],
        table.write_parquet(tmp_path / "two.parquet"),
    ):  # fmt: skip
        np.testing.assert_allclose(featurizer.transform(same), expected, rtol=1e-4, atol=1e-6)


def test_it_is_a_step_of_a_pipeline():
    strained = [Crystal(c.numbers, c.frac_coords, s * c.lattice) for c in (nacl(), cscl()) for s in (1, 1.02, 1.04)]
    volumes = [c.volume / len(c) for c in strained]
    pipeline = make_pipeline(StructureFeaturizer(small_model("MEGNet")), StandardScaler(), Ridge())
    assert cross_val_predict(pipeline, [c.to_structure() for c in strained], volumes, cv=3).shape == (6,)
    assert pipeline[:2].fit(strained).get_feature_names_out()[0] == "layer0_0"


def test_clones_share_the_model_and_are_not_fitted():
    model = small_model("M3GNet").train()
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    featurizer = StructureFeaturizer(model, layer=1, reduce="sum", batch_size=2)
    first = featurizer.fit_transform(some_crystals())
    copy = clone(featurizer)
    assert copy.get_params() == featurizer.get_params()
    assert copy.model is model
    assert not hasattr(copy, "encoder_")
    np.testing.assert_array_equal(copy.fit_transform(some_crystals()), first)
    assert model.training
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert repr(clone(StructureFeaturizer("MEGNet", layer=2))) == "StructureFeaturizer(layer=2, model='MEGNet')"


def test_saved_models_are_found_by_name(tmp_path):
    save_model(small_model("MEGNet"), tmp_path / "run" / "encoder", kind="encoder", readout="untrained")
    found = StructureFeaturizer(tmp_path / "run").fit_transform([nacl()])
    expected = StructureFeaturizer(small_model("MEGNet")).fit_transform([nacl()])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_is_wrong_is_said():
    model = small_model("MEGNet")
    for options, message in (
        ({"layer": 4}, "takes 0, 1, 2, 3 or readout"), ({"level": "bond"}, "crystal or atom"),
        ({"reduce": "max"}, "mean or sum"), ({"batch_size": 0}, "at least 1"),
        ({"level": "atom", "layer": "readout"}, "--level crystal"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            StructureFeaturizer(model, **options).fit([nacl()])
    with pytest.raises(ModelError, match="no model"):
        StructureFeaturizer("./nowhere").fit([nacl()])
    with pytest.raises(ConfigError, match="mean or sum"):
        embed(model=model, data=nacl(), reduce="max")
    with pytest.raises(BadStructureError):  # rows would no longer be those asked for
        StructureFeaturizer(model).fit_transform([nacl(), Crystal(np.array([79]), np.zeros((1, 3)), 3 * np.eye(3))])
    with pytest.raises(AttributeError, match="not fitted"):
        StructureFeaturizer(model).transform([iron()])


def test_the_command_line_sums(tmp_path):
    save_model(small_model("MEGNet"), tmp_path / "encoder", kind="encoder", readout="untrained")
    data = CrystalDataset.from_crystals(some_crystals()).write_parquet(tmp_path / "data.parquet")
    command = ["embed", "-m", str(tmp_path / "encoder"), "--data", str(data), "--layer", "0", "1", "--reduce", "sum"]
    assert main([*command, "--out", str(tmp_path / "out.parquet")]) == 0
    import pyarrow.parquet as pq

    found = np.array(pq.read_table(tmp_path / "out.parquet")["embedding"].to_pylist())
    expected = StructureFeaturizer(small_model("MEGNet"), reduce="sum").fit_transform(some_crystals())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("source", ["file", "instance"])
@pytest.mark.parametrize("name", NAMES)
def test_a_fitted_pipeline_can_be_pickled(tmp_path, name, source):
    """And needs neither the file nor the instance any more."""
    model = small_model(name)
    path = save_model(model, tmp_path / "model", kind="encoder", readout="untrained")
    pipeline = make_pipeline(StructureFeaturizer(model if source == "instance" else path), Ridge())
    pipeline.fit(some_crystals(), np.arange(float(len(some_crystals()))))
    expected = pipeline.predict(some_crystals())
    kept = pickle.dumps(pipeline)
    shutil.rmtree(path)
    before = torch.random.get_rng_state()
    again = pickle.loads(kept)
    assert again[0].encoder_.dtype == torch.float32
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(again.predict(some_crystals()), expected)
