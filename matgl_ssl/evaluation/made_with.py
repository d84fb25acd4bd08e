"""What computed a unit of work: versions, and a hash of the package's own sources that the unit runs through."""

from __future__ import annotations

import ast
from functools import cache
from importlib.metadata import entry_points, version
from pathlib import Path

from matgl_ssl import __version__
from matgl_ssl._files import digest
from matgl_ssl.registry import KINDS, package_of

_PACKAGE = Path(__file__).parents[1]
_TASKS = ("crystals", "columns.py", "evaluation/tasks.py", "ensemble/folds.py")
_TRAINING = ("backends", "encoders", "acceleration", "models", "views", "losses", "hub", "inference", "training")
_RUN = (*_TASKS, *_TRAINING, "ensemble/kernels.py", "evaluation/probes.py", "evaluation/runner.py")
_BASELINE = (
    *_TASKS,
    "targets",
    "ensemble/kernels.py",
    "ensemble/members/line.py",
    "evaluation/baselines.py",
    "evaluation/anchors.py",
    "evaluation/foundation.py",
)
_PRETRAINED = (*_RUN, "pretexts", "targets", "recipes", "evaluation/pretraining.py")

SOURCES = {
    "guard": (*_TASKS, "evaluation/leaks.py"),
    "baseline": _BASELINE,
    "described": (*_BASELINE, "evaluation/descriptions.py", "evaluation/probes.py"),
    "scratch": _RUN,
    "pretrained": _PRETRAINED,
    "combined": (*_PRETRAINED, "ensemble"),
}
"""What units of each sort run through: rooms, and files of this one."""


@cache
def made_with(sort: str) -> str:
    """Today's ``matgl_ssl 0.2.0 (1a2b3c4d), matgl 4.1.2, torch 2.9.0`` for a sort of units, and what extends matgl_ssl.

    Comments, docstrings and layout are not part of the hash, and neither are builds of torch for other devices.
    """
    extensions = {package_of(point) for kind in KINDS for point in entry_points(group=f"matgl_ssl.{kind}")}
    others = sorted(name for name in extensions if not name.replace("-", "_").startswith("matgl_ssl "))
    packages = [f"matgl {version('matgl')}", f"torch {version('torch').partition('+')[0]}", *others]
    return ", ".join([f"matgl_ssl {__version__} ({_sources(sort)})", *packages])


def _sources(sort: str) -> str:
    places = (_PACKAGE / name for name in SOURCES[sort])
    files = sorted(file for place in places for file in ([place] if place.is_file() else place.rglob("*")))
    kept = (file for file in files if file.suffix in (".py", ".cpp", ".yaml"))
    return digest((part for file in kept for part in (file.relative_to(_PACKAGE).as_posix(), _meaning(file))), 8)


@cache
def _meaning(file: Path) -> str:
    """A file's text; of Python what it does."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [child for child in node.body if not _is_text(child)]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
