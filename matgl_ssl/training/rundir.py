"""One run, one directory, always of the same shape."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from matgl_ssl._backend import BACKEND
from matgl_ssl._files import write_text
from matgl_ssl.config import Config
from matgl_ssl.errors import RunDirectoryError

from .config import RunConfig

_FREE_ON_RESUME = {"num_workers", "checkpoint_minutes", "accelerator", "devices"}
"""Options that change how a run is computed, not what it computes."""

_PACKAGES = [
    "matgl_ssl",
    "matgl",
    "torch",
    "lightning",
    "torch-geometric",
    "dgl",
    "pymatgen",
    "ase",
    "datasets",
    "numpy",
]


class RunDirectory:
    """``config.yaml``, ``metrics.csv``, ``environment.json``, ``checkpoints/``, ``figures/``, and the exports.

    Args:
        path: The directory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoints" / "last.ckpt"
        self.metrics = self.path / "metrics.csv"
        self.incidents = self.path / "incidents"
        self.figures = self.path / "figures"

    def refuse_if_used(self) -> None:
        """Never write over another run.

        Raises:
            RunDirectoryError: If the directory holds anything.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunDirectoryError(
                f"{self.path} is not empty. Give another --out, or --resume to go on with the run in it."
            )

    def start(self, config: Config) -> None:
        """Make the directory of a new run."""
        self.refuse_if_used()
        for folder in (self.path, self.checkpoint.parent, self.figures):
            folder.mkdir(parents=True, exist_ok=True)
        self.write_text("config.yaml", config.to_yaml())
        self.write_json("environment.json", environment())

    def resume(self, config: RunConfig) -> Path | None:
        """Check that the run in the directory is this one.

        Returns:
            The checkpoint to go on from; None if the run was stopped before its first one.

        Raises:
            RunDirectoryError: If there is no run, or an option differs.
        """
        stored = self.stored_config()
        asked = yaml.safe_load(config.to_yaml())
        differing = sorted(k for k in {*stored, *asked} - _FREE_ON_RESUME if stored.get(k) != asked.get(k))
        if differing:
            k = differing[0]
            raise RunDirectoryError(
                f"--resume goes on with the same run, but {', '.join(differing)} differ ({k}: {stored.get(k)!r} there, "
                f"{asked.get(k)!r} here). Drop the option, or start another run with "
                f"{config.weights_option} {self.path}."
            )
        return self.checkpoint if self.checkpoint.exists() else None

    def stored_config(self) -> dict[str, Any]:
        """The configuration of the run in the directory.

        Raises:
            RunDirectoryError: If there is none.
        """
        path = self.path / "config.yaml"
        if not path.exists():
            raise RunDirectoryError(f"There is no run to resume in {self.path} (no config.yaml). Leave out --resume.")
        return dict(yaml.safe_load(path.read_text()))

    def write_text(self, name: str, text: str) -> None:
        """Write a file in one move."""
        write_text(self.path / name, text)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file in one move."""
        self.write_text(name, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def environment() -> dict[str, Any]:
    """What the run was computed with."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "backend": BACKEND,
        "packages": packages,
    }
