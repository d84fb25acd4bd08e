"""Recipes: published (and better) ways to pretrain, as defaults for ``pretrain``'s options. One YAML file each."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from matgl_ssl.config import read_yaml
from matgl_ssl.errors import unknown
from matgl_ssl.renamed import RECIPES, current

SUMMARY = "summary"
"""Key of a recipe's one-line description."""
FINETUNE = "finetune"
"""Key of the options of ``finetune`` that suit its encoders; all others are options of ``pretrain``."""


def _files() -> dict[str, Path]:
    folder = Path(str(resources.files(__name__)))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"), key=lambda path: path.stem)}


def list_recipes() -> dict[str, str]:
    """Names and one-line descriptions of the recipes that come with the package."""
    return {name: str(read_yaml(path)[SUMMARY]) for name, path in _files().items()}


def load_recipe(name: str) -> dict[str, Any]:
    """The options of ``pretrain`` that a recipe sets.

    Args:
        name: A recipe's name, or a YAML file of one's own.

    Raises:
        ConfigError: If there is no such recipe.
    """
    return {k: v for k, v in _read(name).items() if k not in (SUMMARY, FINETUNE)}


def fine_tuning(name: str) -> dict[str, Any]:
    """The options of ``finetune`` that suit a recipe's encoders.

    Args:
        name: As for ``load_recipe``, which tells of what is raised.
    """
    return dict(_read(name).get(FINETUNE, {}))


def _read(name: str) -> dict[str, Any]:
    files, name = _files(), current(name, RECIPES)
    if name in files:
        return read_yaml(files[name])
    if name.endswith((".yaml", ".yml")):
        return read_yaml(name)
    raise unknown("recipe", name, files)
