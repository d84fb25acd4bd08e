"""The suite of recipes: valid options, and a run that leaves an encoder behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import load_model
from matgl_ssl.recipes import fine_tuning, load_recipe, read_recipe
from matgl_ssl.training.config import FinetuneConfig, PretrainConfig
from matgl_ssl.training.pretrain import pretrain

from .systems import SMALL, rattled, some_crystals


class RecipeTests:
    """What every recipe must do: inherit it and say which.

    Attributes:
        recipes: Names of recipes.
        models: Architectures to run them on, with arguments of the model.
    """

    recipes: ClassVar[list[str]]
    models: ClassVar[Mapping[str, Mapping[str, Any]]] = {"MEGNet": SMALL["MEGNet"]}

    def crystals(self) -> list[Crystal]:
        """Twelve crystals; override it to add labels."""
        found = [rattled(crystal, 0.05, seed=i) for i in range(3) for crystal in some_crystals()]
        return [dataclasses.replace(crystal, id=f"c{i}") for i, crystal in enumerate(found)]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test on each of ``recipes`` and ``models``."""
        for name, values in (("recipe", self.recipes), ("model", list(self.models))):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values)

    def test_its_options_are_valid(self, recipe: str) -> None:
        """A summary, options of ``pretrain``, and of ``finetune``; every pretext's arguments are written down."""
        assert str(read_recipe(recipe)["summary"]).strip()
        config = PretrainConfig.build(load_recipe(recipe), {"recipe": recipe})
        assert config.pretexts
        assert all(pretext.arguments for pretext in config.pretexts), "a default that changes would change the recipe"
        FinetuneConfig.build({"target": "gap"}, fine_tuning(recipe))

    def test_it_pretrains(self, recipe: str, model: str, tmp_path: Path) -> None:
        """An epoch, and the encoder can be loaded."""
        result = pretrain(
            data=self.crystals(), out=tmp_path / "run", recipe=recipe, model=model, model_args=dict(self.models[model]),
            epochs=1, batch_size=6, val_fraction=0.2, accelerator="cpu",
        )  # fmt: skip
        assert Encoder(load_model(result.encoder)).architecture.name == model
