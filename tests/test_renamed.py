"""Names of version 0.1 still work, and say what they are called now."""

from __future__ import annotations

import pytest
from small_systems import nacl, small_model

import matgl_ssl
from matgl_ssl import cli, errors
from matgl_ssl.pretexts import build_pretext
from matgl_ssl.recipes import load_recipe
from matgl_ssl.training.config import FinetuneConfig


def test_an_option_under_its_old_name_is_taken():
    with pytest.warns(FutureWarning, match="'depth_lr_factor' is now called 'layer_decay'"):
        settings = FinetuneConfig.build({"target": "gap", "depth_lr_factor": 0.5})
    assert settings.layer_decay == 0.5


@pytest.mark.parametrize(("old", "new"), [("l1", "mae"), ("l2", "mse")])
def test_a_loss_under_its_old_name_is_taken(old, new):
    with pytest.warns(FutureWarning, match=f"'{old}' is now called '{new}'"):
        assert FinetuneConfig.build({"target": "gap", "loss": old}).loss == new
    with pytest.warns(FutureWarning, match=f"'{old}' is now called '{new}'"):
        build_pretext("direct-denoising", matgl_ssl.Encoder(small_model("MEGNet")), {"loss": old})


@pytest.mark.parametrize(("old", "new"), [("best", "textbook"), ("best-labels", "textbook-labels")])
def test_a_recipe_under_its_old_name_is_the_same_recipe(old, new):
    with pytest.warns(FutureWarning, match=f"'{old}' is now called '{new}'"):
        assert load_recipe(old) == load_recipe(new)


def test_keywords_under_their_old_names_are_taken(tmp_path):
    model = small_model("MEGNet")
    with pytest.warns(FutureWarning, match="'structures' is now called 'data'"):
        (found,) = matgl_ssl.predict(model=model, structures=nacl())
    assert found.value == matgl_ssl.predict(model=model, data=nacl())[0].value
    with pytest.warns(FutureWarning, match="'output' is now called 'out'"):
        matgl_ssl.embed(model=model, data=nacl(), output=tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet").exists()


def test_exports_under_their_old_names_are_the_new_ones():
    with pytest.warns(FutureWarning, match="build_negnn"):
        assert matgl_ssl.node_embedded is matgl_ssl.build_negnn
    with pytest.warns(FutureWarning, match="BackendError"):
        assert errors.LaneError is errors.BackendError


def test_flags_under_their_old_names_are_taken():
    _, verbs = cli._parsers(wanted="finetune")
    options = vars(verbs["finetune"].parse_args(["--target", "gap", "--out", "x", "--depth-lr-factor", "0.5"]))
    assert options["layer_decay"] == 0.5
