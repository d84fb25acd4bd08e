"""An export that was changed after it was saved is refused, whatever was changed, and what was checked is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_systems import small_model

from matgl_ssl.errors import MatGLSSLError, ModelError
from matgl_ssl.hub import load_model, load_with_stamp, read_stamp, save_model
from matgl_ssl.hub.files import FILES, KEY, ModelFiles


def changed_json(path, change):
    content = json.loads((path / "model.json").read_text())
    change(content)
    (path / "model.json").write_text(json.dumps(content))


def changed_pt(path, file, change):
    content = torch.load(path / file, weights_only=True)
    change(content)
    torch.save(content, path / file)


def swap_elements(arguments):
    elements = list(arguments["element_types"])
    elements[:2] = elements[1::-1]
    arguments["element_types"] = tuple(elements)


def other_iron(weights):
    key = next(key for key in weights if "embedding" in key and weights[key].dim() == 2)
    weights[key][7] *= 1.01


CHANGES = {
    "two elements change places": lambda path: changed_pt(path, "model.pt", swap_elements),
    "another cutoff": lambda path: changed_pt(path, "model.pt", lambda a: a.update(cutoff=a.get("cutoff", 5.0) * 1.02)),
    "another iron": lambda path: changed_pt(path, "state.pt", other_iron),
    "a logarithm in the stamp": lambda path: changed_json(
        path, lambda c: c["metadata"][KEY].update(target={"name": "gap", "unit": "eV", "transform": "log10"})
    ),
    "another unit": lambda path: changed_json(path, lambda c: c["metadata"][KEY].update(unit="meV")),
    "another class": lambda path: changed_json(path, lambda c: c.update({"@model_version": 99})),
    "no digest": lambda path: changed_json(path, lambda c: c["metadata"][KEY].pop("digest")),
    "a digest that is none": lambda path: changed_json(path, lambda c: c["metadata"][KEY].update(digest=None)),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_refused(stamped, change):
    load_model(stamped)
    CHANGES[change](stamped)
    with pytest.raises(ModelError, match=r"were changed|is damaged"):
        load_model(stamped)


@pytest.mark.parametrize("file", FILES)
def test_any_flipped_bit_is_noticed(tmp_path, file):
    path = save_model(small_model("MEGNet"), tmp_path / "model", kind="model", readout="trained")
    content = (path / file).read_bytes()
    for place in range(7, len(content), len(content) // 40):
        flipped = bytearray(content)
        flipped[place] ^= 4
        (path / file).write_bytes(flipped)
        if file == "model.json" and json_or_none(flipped) == json.loads(content):
            continue  # white space
        with pytest.raises(MatGLSSLError):
            load_model(path)


def json_or_none(content):
    try:
        return json.loads(bytes(content))
    except ValueError:
        return None


def test_files_that_change_after_the_check_are_not_what_is_loaded(tmp_path, monkeypatch):
    first, second = (save_model(small_model("MEGNet", seed=i), tmp_path / str(i), readout="trained") for i in (0, 1))
    read = ModelFiles.read

    def then_swapped(folder: Path) -> ModelFiles:
        files = read(folder)
        for file in FILES:
            (folder / file).write_bytes((second / file).read_bytes())
        return files

    monkeypatch.setattr(ModelFiles, "read", then_swapped)
    loaded, expected = load_model(first).state_dict(), small_model("MEGNet", seed=0).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())


def test_copies_have_the_same_digest_and_other_weights_another(tmp_path):
    paths = [
        save_model(small_model("MEGNet", seed=i), tmp_path / str(n), readout="trained") for n, i in enumerate((0, 0, 1))
    ]
    digests = [read_stamp(path)["digest"] for path in paths]
    assert len(digests[0]) == 64
    assert digests[0] == digests[1] != digests[2]
    assert load_with_stamp(paths[0])[1]["digest"] == digests[0]
