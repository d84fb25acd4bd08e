"""Model files that ask for more than a machine has are refused before anything is built."""

from __future__ import annotations

import io
import zipfile

import pytest
import torch
from small_systems import SMALL, small_model

from matgl_ssl.errors import ModelError
from matgl_ssl.hub import load_model, save_model
from matgl_ssl.hub.limits import no_more_than
from matgl_ssl.hub.stamp import sign


@pytest.fixture
def saved(tmp_path):
    return save_model(small_model("MEGNet"), tmp_path / "model", kind="model", readout="trained")


def pickled(path, file, payload: bytes):
    """Put a pickle of our own into one of torch's archives."""
    old = zipfile.ZipFile(io.BytesIO((path / file).read_bytes()))
    with zipfile.ZipFile(path / file, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, payload if entry.filename.endswith("data.pkl") else old.read(entry))


def rewritten(path, file, change):
    content = torch.load(path / file, weights_only=True)
    change(content)
    torch.save(content, path / file)


def doubling(kind, depth):
    value = kind(["x"])
    for _ in range(depth):
        value = kind([value, value])
    return value


def many_keys(path):
    rewritten(path, "state.pt", lambda w: w.update({f"extra.{i}": torch.zeros(1) for i in range(20_000)}))


def compressed(path):
    old = zipfile.ZipFile(io.BytesIO((path / "state.pt").read_bytes()))
    with zipfile.ZipFile(path / "state.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))


TUPLE_AS_KEY = b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(40)) + b"}h\x28K\x01s."
"""A dictionary whose key is a pair of twice the same pair, and so on: its hash takes 2^40 steps."""

NESTED = {"@module": "matgl.models", "@class": "MEGNet", "init_args": {**SMALL["MEGNet"], "nblocks": 10_000_000}}

EMBEDDING = "embedding.layer_node_embedding.weight"

CRAFTED = {
    "many keys of weights": many_keys,
    "many keys of arguments": lambda path: rewritten(
        path, "model.pt", lambda a: a.update({f"k{i}": i for i in range(90_000)})
    ),
    "lists that unfold": lambda path: rewritten(path, "model.pt", lambda a: a.update(extra=doubling(list, 40))),
    "lists within lists": lambda path: pickled(path, "model.pt", b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."),
    "a tuple that unfolds as a key": lambda path: pickled(path, "model.pt", TUPLE_AS_KEY),
    "three gigabytes of nothing": lambda path: pickled(
        path, "model.pt", b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x5e\xd0\xb2\x00\x85R."
    ),
    "ten million blocks": lambda path: rewritten(path, "model.pt", lambda a: a.update(nblocks=10_000_000)),
    "ten million blocks within": lambda path: rewritten(path, "model.pt", lambda a: a.update(bond_expansion=NESTED)),
    "ten million units": lambda path: rewritten(path, "model.pt", lambda a: a.update(dim_node_embedding=10_000_000)),
    "a shape without content": lambda path: (
        rewritten(path, "model.pt", lambda a: a.update(dim_node_embedding=10**9)),
        rewritten(path, "state.pt", lambda w: w.update(extra=torch.zeros(1).expand(10**9))),
    ),
    "a size without content": lambda path: (
        rewritten(path, "model.pt", lambda a: a.update(nblocks=10**6)),
        rewritten(path, "state.pt", lambda w: w.update(extra=torch.zeros(10**6, 0))),
    ),
    "thousands of layers": lambda path: (
        rewritten(path, "model.pt", lambda a: a.update(nblocks=50_000)),
        rewritten(path, "state.pt", lambda w: w.update(extra=torch.zeros(50_000))),
    ),
    "a layer of many gigabytes": lambda path: (
        rewritten(path, "model.pt", lambda a: a.update(hidden_layer_sizes_output=[50_000, 50_000])),
        rewritten(path, "state.pt", lambda w: w.update(extra=torch.zeros(50_000))),
    ),
    "a formula of order 64": lambda path: (
        rewritten(path, "model.pt", lambda a: a.update(max_l=64)),
        rewritten(path, "state.pt", lambda w: w.update(extra=torch.zeros(64))),
    ),
    "a cutoff of a micrometre": lambda path: rewritten(path, "model.pt", lambda a: a.update(cutoff=1e4)),
    "an element a thousand times": lambda path: (
        rewritten(path, "model.pt", lambda a: a.update(element_types=("H",) * 1000)),
        rewritten(path, "state.pt", lambda w: w.update({EMBEDDING: torch.zeros(1000, 8)})),
    ),
    "a list that holds itself": lambda path: pickled(path, "model.pt", b"\x80\x02}U\x01xq\x01]q\x00h\x00as."),
    "a compressed archive": compressed,
}  # fmt: skip


@pytest.mark.parametrize("crafted", CRAFTED)
def test_it_is_refused(saved, crafted):
    CRAFTED[crafted](saved)
    sign(saved)
    with pytest.raises(ModelError, match=r"not (built|read)"):
        load_model(saved)


@pytest.mark.parametrize("name", ["M3GNet", "MEGNet", pytest.param("TensorNet", marks=pytest.mark.pyg)])
def test_counting_what_is_built_leaves_models_as_they_are(tmp_path, name):
    model = small_model(name)
    with pytest.raises(ModelError, match=r"more than state\.pt holds"), no_more_than("x", {}):
        [torch.nn.Linear(3, 3) for _ in range(1000)]
    loaded = load_model(save_model(model, tmp_path / "model", kind="model", readout="trained"))
    for key, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], weight), key


@pytest.mark.parametrize("depth", [900, 100_000])
@pytest.mark.parametrize("bracket", ["[]", "{}"])
def test_deep_json_is_one_error(saved, depth, bracket):
    opening, closing = ("[" * depth, "]" * depth) if bracket == "[]" else ('{"a":' * depth, "}" * depth)
    (saved / "model.json").write_text(f'{{"metadata": null, "kwargs": {opening}1{closing}}}')
    with pytest.raises(ModelError):
        load_model(saved)
