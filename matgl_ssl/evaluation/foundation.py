"""Tabular foundation models, which read the labels and predict without being trained: TabPFN and TabICL.

Neither package brings its weights, and nothing is downloaded here: a variable of the environment names their file.
Both take missing numbers as they are.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from matgl_ssl.errors import ModelError


def tabpfn(seed: int) -> Any:
    """TabPFN (Hollmann et al., Nature 637, 319 (2025)), with the weights that ``MATGL_SSL_TABPFN`` names.

    Raises:
        ModelError: If the package or the weights are not here.
    """
    regressor = _regressor("tabpfn", "TabPFNRegressor")
    options = {"model_path": _weights("tabpfn"), "device": "cpu", "random_state": seed}
    return regressor(**options, ignore_pretraining_limits=True)  # else a CPU is refused more than 1,000 labels


def tabicl(seed: int) -> Any:
    """TabICL (Qu et al., arXiv 2502.05564), with the weights that ``MATGL_SSL_TABICL`` names.

    Raises:
        ModelError: If the package or the weights are not here.
    """
    regressor = _regressor("tabicl", "TabICLRegressor")
    options = {"model_path": _weights("tabicl"), "device": "cpu", "random_state": seed}
    return regressor(**options, allow_auto_download=False)


def _regressor(package: str, name: str) -> Any:
    try:
        return getattr(import_module(package), name)
    except ImportError as err:
        raise ModelError(
            f"{package} needs a package that is not installed ({err}): pip install 'matgl_ssl[foundation]'."
        ) from err


def _weights(package: str) -> str:
    variable = f"MATGL_SSL_{package.upper()}"
    path = os.environ.get(variable, "")
    if not Path(path).is_file():
        given = f"{variable} names {path}, which is no file" if path else f"{variable} is not set"
        raise ModelError(
            f"{package} needs the weights of its regressor, which matgl_ssl does not download: {given}. Get the "
            f"checkpoint as {package}'s own pages say, and set {variable} to its path."
        )
    return path
