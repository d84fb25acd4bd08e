from __future__ import annotations

import pytest

from matgl_ssl import list_recipes
from matgl_ssl.errors import ConfigError
from matgl_ssl.recipes import fine_tuning, load_recipe
from matgl_ssl.training.config import FinetuneConfig, PretrainConfig


def test_every_recipe_has_a_summary_and_valid_options():
    recipes = list_recipes()
    assert {"masked-atoms", "derivative-denoising"} <= set(recipes)
    for name, summary in recipes.items():
        assert summary
        config = PretrainConfig.build(load_recipe(name), {"recipe": name})
        assert config.pretexts
        FinetuneConfig.build({"target": "gap"}, fine_tuning(name))


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="masked-atoms"):
        load_recipe("masked-atom")


def test_own_recipe_is_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("summary: mine\npretexts:\n  - name: masked-atoms\n    weight: 0.5\nlr: 0.01\n")
    config = PretrainConfig.build(load_recipe(str(path)), {"recipe": str(path)})
    assert config.lr == 0.01
    assert config.pretexts[0].weight == 0.5


def test_misspelt_option_in_a_recipe_is_an_error(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("summary: mine\nlearning_rate: 0.01\n")
    with pytest.raises(ConfigError, match="learning_rate"):
        PretrainConfig.build(load_recipe(str(path)))
