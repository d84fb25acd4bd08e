"""Encoders that come with the package are found by name, without the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from shipped_weights import NAME, ship

from matgl_ssl import StructureFeaturizer, embed, list_models, load_model, read_stamp
from matgl_ssl._backend import BACKEND
from matgl_ssl.cli import main
from matgl_ssl.errors import ModelError
from matgl_ssl.hub import remote, resolve, shipped_encoder
from matgl_ssl.testing.systems import nacl


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "MATGL_CACHE", tmp_path / "cache")
    return ship(tmp_path / "weights", monkeypatch)


def test_whatever_takes_a_model_takes_its_name(folder):
    assert resolve(NAME) == folder
    state, saved = load_model(NAME).state_dict(), load_model(folder).state_dict()
    assert all(torch.equal(state[key], saved[key]) for key in saved)
    assert read_stamp(NAME)["recipe"] == "textbook"
    vectors = StructureFeaturizer(NAME, layer=None).fit().transform([nacl()])
    np.testing.assert_array_equal(vectors, embed(model=NAME, data=[nacl()]).vectors)


def test_it_is_listed(folder, capsys):
    assert list_models() == {NAME: "MEGNet by recipe textbook on 60,000 crystals, 12,000 steps"}
    assert list(list_models("MEG*")) == [NAME]
    assert list_models("M3G*") == {}
    assert main(["list", "models"]) == 0
    assert NAME in capsys.readouterr().out
    assert shipped_encoder("MEGNet") == NAME
    assert shipped_encoder("M3GNet") is None


def test_a_folder_of_that_name_goes_before_it(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()
    with pytest.raises(ModelError, match="neither a model directory"):
        resolve(NAME)


def test_a_misspelt_name_gets_the_nearest(folder):
    with pytest.raises(ModelError, match=f"Did you mean '{NAME}'"):
        resolve("MEGnet-textbok")


def test_weights_of_the_other_graph_library_say_so(tmp_path, monkeypatch):
    other = "dgl" if BACKEND == "pyg" else "pyg"
    ship(tmp_path, monkeypatch, library=other)
    assert list_models() == {}
    with pytest.raises(ModelError, match=f"{NAME} belongs to MatGL on {other.upper()}.*Available here: none"):
        load_model(NAME)
