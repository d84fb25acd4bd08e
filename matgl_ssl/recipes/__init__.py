"""Recipes: published (and better) ways to pretrain, as defaults for ``pretrain``'s options. One YAML file each."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from matgl_ssl.errors import unknown
from matgl_ssl.training.config import read_yaml

SUMMARY = "summary"
"""Key of a recipe's one-line description; all others are options of ``pretrain``."""


def _files() -> dict[str, Path]:
    folder = Path(str(resources.files(__name__)))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def list_recipes() -> dict[str, str]:
    """Names and one-line descriptions of the recipes that come with the package."""
    return {name: str(read_yaml(path)[SUMMARY]) for name, path in _files().items()}


def load_recipe(name: str) -> dict[str, Any]:
    """The options a recipe sets.

    Args:
        name: A recipe's name, or a YAML file of one's own.

    Raises:
        ConfigError: If there is no such recipe.
    """
    files = _files()
    if name in files:
        recipe = read_yaml(files[name])
    elif name.endswith((".yaml", ".yml")):
        recipe = read_yaml(name)
    else:
        raise unknown("recipe", name, files)
    return {k: v for k, v in recipe.items() if k != SUMMARY}
