"""Recipes: published (and better) ways to pretrain, as defaults for ``pretrain``'s options. One YAML file each."""

from __future__ import annotations

from importlib import import_module, resources
from typing import Any

from matgl_ssl import registry
from matgl_ssl.config import read_yaml
from matgl_ssl.errors import ConfigError
from matgl_ssl.renamed import RECIPES, current

SUMMARY = "summary"
"""Key of a recipe's one-line description."""
FINETUNE = "finetune"
"""Key of the options of ``finetune`` that suit its encoders; all others are options of ``pretrain``."""


def load_recipe(name: str) -> dict[str, Any]:
    """The options of ``pretrain`` that a recipe sets.

    Args:
        name: A recipe's name, or a YAML file of one's own.

    Raises:
        ConfigError: If there is no such recipe.
    """
    return {k: v for k, v in read_recipe(name).items() if k not in (SUMMARY, FINETUNE)}


def fine_tuning(name: str) -> dict[str, Any]:
    """The options of ``finetune`` that suit a recipe's encoders.

    Args:
        name: As for ``load_recipe``, which tells of what is raised.
    """
    return dict(read_recipe(name).get(FINETUNE, {}))


def read_recipe(name: str) -> dict[str, Any]:
    """A whole recipe: its summary, and all the options that it sets.

    An entry point ``name = "package"`` is the file ``name.yaml`` in the package; ``name = "module:function"`` is what
    the function returns.

    Args:
        name: As for ``load_recipe``, which tells of what is raised.
    """
    name = current(name, RECIPES)
    if name.endswith((".yaml", ".yml")):
        return read_yaml(name)
    point = registry.find("recipes", name)
    if point.attr:
        return dict(registry.load("recipes", name)())
    try:
        package = import_module(point.module)
    except ImportError as err:
        raise ConfigError(f"Recipe {name!r} of {registry.package_of(point)} cannot be imported: {err}") from err
    with resources.as_file(resources.files(package) / f"{name}.yaml") as path:
        return read_yaml(path)
