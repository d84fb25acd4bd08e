"""Embeddings: the same whatever the batch and the cell, and written without being held."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from small_systems import cscl, iron, nacl, skewed, small_model, some_crystals, supercell

from matgl_ssl.errors import ConfigError, DataError, ModelError
from matgl_ssl.hub import save_model
from matgl_ssl.inference import embed
from matgl_ssl.inference import embed as embed_function

READOUTS = ("set2set", "weighted_atom", "reduce_atom")
CASES = {
    "MEGNet": ("MEGNet", {}, 3, True),
    **{f"M3GNet {readout}": ("M3GNet", {"readout_type": readout}, 2, True) for readout in READOUTS},
    "M3GNet sum over atoms": ("M3GNet", {"is_intensive": False}, 2, False),
}
LAYERS = [
    (case, layer)
    for case, (_, _, n_depths, has_readout) in CASES.items()
    for layer in [*range(n_depths + 1), *(["readout"] if has_readout else [])]
]


def model_of(case: str):
    name, arguments, _, _ = CASES[case]
    return small_model(name, **arguments)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """To 1e-5 of the length of each vector."""
    assert found.shape == expected.shape
    distance = np.linalg.norm(found.astype(float) - expected.astype(float), axis=-1)
    assert (distance <= 1e-5 * np.linalg.norm(expected.astype(float), axis=-1)).all()


@pytest.mark.parametrize(("case", "layer"), LAYERS)
def test_a_crystals_vector_depends_on_neither_batch_nor_cell(case, layer):
    model = model_of(case)
    together = embed(model=model, data=some_crystals(), layer=layer)
    assert together.ids == ("nacl", "cscl", "fe", "skewed")
    assert together.vectors.dtype == np.float32
    assert together.vectors.shape == (4, together.dim)
    assert_close(embed(model=model, data=some_crystals(), layer=layer, batch_size=1).vectors, together.vectors)
    assert_close(embed(model=model, data=some_crystals()[::-1], layer=layer).vectors[::-1], together.vectors)
    larger = [supercell(c, r) for c, r in zip(some_crystals(), [(1, 2, 1), (2, 2, 1), (3, 2, 1), (2, 1, 1)], strict=True)]
    assert_close(embed(model=model, data=larger, layer=layer).vectors, together.vectors)


@pytest.mark.parametrize(("case", "layer"), [pair for pair in LAYERS if pair[1] != "readout"])
def test_an_atoms_vector_depends_on_neither_batch_nor_cell(case, layer):
    model = model_of(case)
    found = embed(model=model, data=some_crystals(), level="atom", layer=layer)
    sizes = [len(crystal) for crystal in some_crystals()]
    assert found.vectors.shape == (sum(sizes), found.dim)
    assert found.crystal_index.tolist() == np.repeat(np.arange(4), sizes).tolist()
    assert found.atom_index.tolist() == [i for size in sizes for i in range(size)]
    assert found.numbers.tolist() == [z for crystal in some_crystals() for z in crystal.numbers]
    alone = embed(model=model, data=skewed(), level="atom", layer=layer)
    assert_close(alone.vectors, found.vectors[-6:])
    doubled = embed(model=model, data=supercell(skewed(), (2, 1, 1)), level="atom", layer=layer)
    assert_close(doubled.vectors, np.tile(alone.vectors, (2, 1)))


@pytest.mark.parametrize("case", ["MEGNet", "M3GNet set2set"])
def test_a_crystals_vector_is_the_mean_over_its_atoms(case):
    model = model_of(case)
    atoms = embed(model=model, data=some_crystals(), level="atom")
    crystals = embed(model=model, data=some_crystals())
    means = [atoms.vectors[atoms.crystal_index == i].mean(0) for i in range(4)]
    np.testing.assert_allclose(crystals.vectors, means, rtol=1e-4, atol=1e-6)


def test_the_last_depth_is_the_default_and_several_are_concatenated():
    model = small_model("MEGNet")
    default = embed(model=model, data=some_crystals())
    assert default.layers == (3,)
    several = embed(model=model, data=some_crystals(), layer=[3, "readout", 0])
    assert several.layers == (3, "readout", 0)
    parts = [embed(model=model, data=some_crystals(), layer=layer).vectors for layer in (3, "readout", 0)]
    np.testing.assert_array_equal(several.vectors, np.concatenate(parts, axis=1))
    np.testing.assert_array_equal(default.vectors, parts[0])


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


def test_encoders_and_models_of_runs_are_taken_and_lane_rules_hold(tmp_path):
    encoder = save_model(small_model("MEGNet"), tmp_path / "run" / "encoder", kind="encoder", readout="untrained")
    expected = embed(model=small_model("MEGNet"), data=nacl()).vectors
    np.testing.assert_array_equal(embed(model=encoder, data=nacl()).vectors, expected)
    np.testing.assert_array_equal(embed(model=encoder.parent, data=nacl()).vectors, expected)


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
@pytest.mark.parametrize("name", ["MEGNet", "M3GNet"])
def test_nothing_left_is_an_error_and_writes_nothing(tmp_path, bad_file, name, kind):
    source = bad_file(kind)
    with pytest.raises(DataError):
        embed(model=small_model(name), data=source, output=tmp_path / "out.parquet")
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("level", ["crystal", "atom"])
def test_the_file_holds_what_would_have_been_returned(tmp_path, mixed, level, monkeypatch):
    monkeypatch.setattr(__import__("sys").modules[embed_function.__module__], "_ROWS_PER_GROUP", 2)
    path = tmp_path / "embeddings.parquet"
    held = embed(model=small_model("MEGNet"), data=mixed, level=level, layer=[0, 2])
    written = embed(model=small_model("MEGNet"), data=mixed, level=level, layer=[0, 2], output=path, batch_size=1)
    assert written.vectors is None
    assert (written.n_vectors, written.dim, written.output) == (held.n_vectors, held.dim, path)
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


@pytest.mark.parametrize("taken", ["out.parquet", "out.parquet.skipped.json"])
def test_nothing_is_written_over(tmp_path, taken):
    (tmp_path / taken).write_text("precious")
    with pytest.raises(ConfigError, match="not written over"):
        embed(model=small_model("MEGNet"), data=iron(), output=tmp_path / "out.parquet")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(taken, "precious")]


def test_an_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    module = __import__("sys").modules[embed_function.__module__]
    calls = iter([module._table])

    def fail(*args, **kwargs):
        return next(calls)(*args, **kwargs)

    monkeypatch.setattr(module, "_table", fail)
    with pytest.raises((RuntimeError, StopIteration)):
        embed(model=small_model("MEGNet"), data=some_crystals(), output=tmp_path / "out.parquet", batch_size=1)
    assert not list(tmp_path.iterdir())
