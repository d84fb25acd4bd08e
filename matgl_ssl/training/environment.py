"""What a run is computed with, and what of it has changed since."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from matgl_ssl._backend import BACKEND
from matgl_ssl._version import __version__

COMPUTING = ("matgl_ssl", "matgl", "torch", "lightning", "torch-geometric", "dgl", "pymatgen", "numpy")
"""Packages that a run's numbers come from. Others can change the data alone, which resuming checks anyway."""


def environment() -> dict[str, Any]:
    """The versions of everything that takes part."""
    packages = {"matgl_ssl": __version__}
    for name in (*COMPUTING[1:], "ase", "datasets"):
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


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """What two environments compute with that differs: each package's, Python's or the backend's two versions.

    Builds of one version for other devices (``2.13.0+cpu``) are the same, and so are Python's patch releases.
    """
    first, second = _versions(then), _versions(now)
    return {
        name: (first.get(name, "none"), second.get(name, "none"))
        for name in {**first, **second}
        if first.get(name) != second.get(name)
    }


def _versions(environment: Mapping[str, Any]) -> dict[str, str]:
    packages = {name: v.split("+")[0] for name, v in environment["packages"].items() if name in COMPUTING}
    python = ".".join(environment["python"].split(".")[:2])
    return {"Python": python, "backend": environment["backend"], **packages}
