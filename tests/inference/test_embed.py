"""Embeddings: the same whatever the batch and the cell, and written without being held."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from small_systems import NAMES, cscl, iron, nacl, skewed, small_model, some_crystals, supercell

from matgl_ssl._backend import BACKEND
from matgl_ssl.errors import ConfigError, DataError, ModelError
from matgl_ssl.hub import save_model
from matgl_ssl.hub.stamp import VECTOR
from matgl_ssl.inference import embed

READOUTS = ("set2set", "weighted_atom", "reduce_atom")
CASES = {
    "MEGNet": ("MEGNet", {}, [0, 1, 2, 3, "readout"]),
    **{f"M3GNet {readout}": ("M3GNet", {"readout_type": readout}, [0, 1, 2, "readout"]) for readout in READOUTS},
    "M3GNet sum over atoms": ("M3GNet", {"is_intensive": False}, [0, 1, 2]),
}
if BACKEND == "pyg":
    CASES["TensorNet"] = ("TensorNet", {}, [0, 1, 2, 3, "readout"])
    CASES["TensorNet sum over atoms"] = ("TensorNet", {"is_intensive": False}, [0, 1, 2, 3])


def model_of(case: str, **changes):
    name, arguments, _ = CASES[case]
    return small_model(name, **arguments, **changes)


def one_cell_for_all(case: str) -> dict[str, float]:
    """MatGL 2.2's M3GNet mistakes bonds if some are longer than its three-body cutoff, differently in each cell."""
    return {"threebody_cutoff": 5.0} if BACKEND == "dgl" and case.startswith("M3GNet") else {}


def assert_close(found, expected, sizes) -> None:
    """To 2e-5 of the length of each vector, layer by layer."""
    assert found.layers == expected.layers
    bounds = np.cumsum(sizes)[:-1]
    pairs = (np.split(e.astype(float), bounds, axis=1) for e in (found.vectors, expected.vectors))
    for layer, ours, theirs in zip(found.layers, *pairs, strict=True):
        distance = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
        assert distance.max() <= 2e-5, (layer, distance)


def sizes_of(model, layers) -> list[int]:
    return [embed(model=model, data=iron(), layer=layer).dim for layer in layers]


@pytest.mark.parametrize("case", CASES)
def test_a_crystals_vectors_do_not_depend_on_the_batch(case):
    model, layers = model_of(case), CASES[case][2]
    sizes = sizes_of(model, layers)
    together = embed(model=model, data=some_crystals(), layer=layers)
    assert together.ids == ("nacl", "cscl", "fe", "skewed")
    assert together.vectors.dtype == np.float32
    assert together.vectors.shape == (4, together.dim) == (4, sum(sizes))
    assert_close(embed(model=model, data=some_crystals(), layer=layers, batch_size=1), together, sizes)
    backwards = embed(model=model, data=some_crystals()[::-1], layer=layers, batch_size=3)
    assert_close(replace(backwards, vectors=backwards.vectors[::-1]), together, sizes)


@pytest.mark.parametrize("case", CASES)
def test_a_crystals_vectors_do_not_depend_on_the_cell(case):
    model, layers = model_of(case, **one_cell_for_all(case)), CASES[case][2]
    if (BACKEND, case) == ("dgl", "M3GNet weighted_atom"):
        layers = layers[:-1]  # MatGL 2.2 sums there instead of averaging
    cells = [(1, 2, 1), (2, 2, 1), (3, 2, 1), (2, 1, 1)]
    larger = [supercell(crystal, cell) for crystal, cell in zip(some_crystals(), cells, strict=True)]
    expected = embed(model=model, data=some_crystals(), layer=layers)
    assert_close(embed(model=model, data=larger, layer=layers), expected, sizes_of(model, layers))


@pytest.mark.parametrize("case", CASES)
def test_an_atoms_vectors_depend_on_neither_batch_nor_cell(case):
    model, layers = model_of(case, **one_cell_for_all(case)), [n for n in CASES[case][2] if n != "readout"]
    sizes = sizes_of(model, layers)
    found = embed(model=model, data=some_crystals(), level="atom", layer=layers)
    n_atoms = [len(crystal) for crystal in some_crystals()]
    assert found.vectors.shape == (sum(n_atoms), found.dim)
    assert found.crystal_index.tolist() == np.repeat(np.arange(4), n_atoms).tolist()
    assert found.atom_index.tolist() == [i for n in n_atoms for i in range(n)]
    assert found.numbers.tolist() == [z for crystal in some_crystals() for z in crystal.numbers]
    alone = embed(model=model, data=skewed(), level="atom", layer=layers)
    assert_close(alone, replace(found, vectors=found.vectors[-6:]), sizes)
    doubled = embed(model=model, data=supercell(skewed(), (2, 1, 1)), level="atom", layer=layers)
    assert_close(doubled, replace(alone, vectors=np.tile(alone.vectors, (2, 1))), sizes)


@pytest.mark.parametrize("case", ["MEGNet", "M3GNet set2set"])
def test_a_crystals_vector_is_the_mean_over_its_atoms(case):
    model = model_of(case)
    atoms = embed(model=model, data=some_crystals(), level="atom")
    crystals = embed(model=model, data=some_crystals())
    means = [atoms.vectors[atoms.crystal_index == i].mean(0) for i in range(4)]
    np.testing.assert_allclose(crystals.vectors, means, rtol=1e-4, atol=1e-6)


def test_the_last_layer_is_the_default_and_several_are_concatenated():
    model = small_model("MEGNet")
    default = embed(model=model, data=some_crystals())
    assert default.layers == (3,)
    several = embed(model=model, data=some_crystals(), layer=[3, "readout", 0])
    assert several.layers == (3, "readout", 0)
    parts = [embed(model=model, data=some_crystals(), layer=layer).vectors for layer in (3, "readout", 0)]
    np.testing.assert_array_equal(several.vectors, np.concatenate(parts, axis=1))
    np.testing.assert_array_equal(default.vectors, parts[0])


def test_a_trained_readout_is_there_by_default(tmp_path):
    def layers(readout: str, level: str) -> tuple:
        path = save_model(small_model("MEGNet"), tmp_path / f"{readout} {level}", kind="encoder", readout=readout)
        return embed(model=path, data=some_crystals(), level=level).layers

    assert layers(VECTOR, "crystal") == layers("trained", "crystal") == (3, "readout")
    assert layers(VECTOR, "atom") == layers("untrained", "crystal") == (3,)


@pytest.mark.parametrize("layer", [4, -1, "last", [0, 9], [], True + 4])
def test_a_layer_that_is_not_there_is_refused_with_those_that_are(layer):
    with pytest.raises(ConfigError, match="takes 0, 1, 2, 3 or readout"):
        embed(model=small_model("MEGNet"), data=nacl(), layer=layer)


def test_a_readout_is_a_crystals_and_not_every_models():
    with pytest.raises(ConfigError, match="--level crystal"):
        embed(model=small_model("MEGNet"), data=nacl(), level="atom", layer="readout")
    with pytest.raises(ModelError, match="sum over atoms"):
        embed(model=small_model("M3GNet", is_intensive=False), data=nacl(), layer="readout")
    with pytest.raises(ConfigError, match="crystal or atom"):
        embed(model=small_model("MEGNet"), data=nacl(), level="bond")


def test_the_callers_model_is_untouched():
    model = small_model("MEGNet", dropout=0.4).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first = embed(model=model, data=some_crystals()).vectors
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    np.testing.assert_array_equal(embed(model=model, data=some_crystals()).vectors, first)
    assert not getattr(model, "feature_dict", None)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_encoders_and_models_of_runs_are_taken_and_backend_rules_hold(tmp_path):
    encoder = save_model(small_model("MEGNet"), tmp_path / "run" / "encoder", kind="encoder", readout="untrained")
    expected = embed(model=small_model("MEGNet"), data=nacl()).vectors
    for saved in (encoder, encoder.parent):
        np.testing.assert_allclose(embed(model=saved, data=nacl()).vectors, expected, rtol=1e-5, atol=1e-6)


def test_state_labels_are_asked_for():
    model = small_model("MEGNet", ntypes_state=4, dim_state_embedding=6, include_state=True)
    with pytest.raises(ModelError, match="takes one of 0 to 3"):
        embed(model=model, data=nacl())
    first, second = (embed(model=model, data=[nacl(), cscl()], state_attr=state).vectors for state in (0, 3))
    assert not np.allclose(first, second)


def test_bad_crystals_are_left_out_and_reported(mixed):
    found = embed(model=small_model("MEGNet"), data=mixed)
    assert found.ids == ("nacl", "cscl", "skewed")
    assert (found.skipped.n_total, found.skipped.n_kept) == (6, 3)
    assert found.skipped.ids("non-finite") == ["nan"]
    assert found.skipped.ids("unknown-element") == ["unknown-element"]


@pytest.mark.parametrize("kind", ["nan", "coincident", "no-edges", "unknown-element", "disordered", "empty"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_left_is_an_error_and_writes_nothing(tmp_path, bad_file, name, kind):
    source = bad_file(kind)
    with pytest.raises(DataError):
        embed(model=small_model(name), data=source, out=tmp_path / "out.parquet")
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("level", ["crystal", "atom"])
def test_the_file_holds_what_would_have_been_returned(tmp_path, mixed, level, monkeypatch):
    monkeypatch.setattr(sys.modules[embed.__module__], "_ROWS_PER_GROUP", 2)
    path = tmp_path / "embeddings.parquet"
    held = embed(model=small_model("MEGNet"), data=mixed, level=level, layer=[0, 2])
    written = embed(model=small_model("MEGNet"), data=mixed, level=level, layer=[0, 2], out=path, batch_size=1)
    assert written.vectors is None
    assert (written.n_vectors, written.dim, written.out) == (held.n_vectors, held.dim, path)
    file = pq.ParquetFile(path)
    assert file.num_row_groups > 1
    table = file.read()
    assert str(table.schema.field("embedding").type) == f"fixed_size_list<element: float>[{held.dim}]"
    vectors = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    np.testing.assert_allclose(vectors, held.vectors, rtol=1e-4, atol=1e-6)
    if level == "atom":
        assert table.column_names == ["material_id", "atom", "number", "embedding"]
        assert table["material_id"].to_pylist() == [held.ids[i] for i in held.crystal_index]
        assert table["atom"].to_pylist() == held.atom_index.tolist()
        assert table["number"].to_pylist() == held.numbers.tolist()
    else:
        assert table.column_names == ["material_id", "embedding"]
        assert table["material_id"].to_pylist() == list(held.ids)
    about = json.loads(table.schema.metadata[b"matgl_ssl"])
    assert (about["level"], about["layers"]) == (level, [0, 2])
    skipped = json.loads((tmp_path / "embeddings.parquet.skipped.json").read_text())
    assert skipped["n_kept"] == 3
    assert skipped["findings"]["non-finite"]["ids"] == ["nan"]


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "out.parquet").write_text("precious")
    with pytest.raises(ConfigError, match="not overwritten"):
        embed(model=small_model("MEGNet"), data=iron(), out=tmp_path / "out.parquet")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.parquet", "precious")]


def test_vectors_get_their_name_last(tmp_path):
    """Killed between the two files, it was told that its report exists, and there were no vectors."""
    (tmp_path / "out.parquet.skipped.json").write_text("left by a process that was killed")
    embed(model=small_model("MEGNet"), data=iron(), out=tmp_path / "out.parquet")
    assert json.loads((tmp_path / "out.parquet.skipped.json").read_text())["n_kept"] == 1


def test_an_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    module = sys.modules[embed.__module__]
    calls = iter([module._table])

    def fail(*args, **kwargs):
        return next(calls)(*args, **kwargs)

    monkeypatch.setattr(module, "_table", fail)
    with pytest.raises((RuntimeError, StopIteration)):
        embed(model=small_model("MEGNet"), data=some_crystals(), out=tmp_path / "out.parquet", batch_size=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layer", [np.arange(2), np.array([1]), np.int64(1), [np.int32(0), "readout"]])
def test_layers_may_be_numpys(layer):
    """What looks like a layer is one, never the readout."""
    plain = layer.tolist() if isinstance(layer, np.ndarray | np.generic) else [0, "readout"]
    found, expected = (embed(model=small_model("MEGNet"), data=some_crystals(), layer=each) for each in (layer, plain))
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert all(isinstance(each, int | str) for each in found.layers)


@pytest.mark.parametrize("layer", [1.0, [1.0], [None]])
def test_what_is_no_layer_is_refused(layer):
    with pytest.raises(ConfigError, match="No layer"):
        embed(model=small_model("MEGNet"), data=some_crystals(), layer=layer)
