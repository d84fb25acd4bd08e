"""Saved models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_systems import NAMES, small_model

from matgl_ssl.hub import save_model
from matgl_ssl.hub.stamp import sign


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def stamped(tmp_path: Path, name: str) -> Path:
    """A small model with our stamp."""
    return save_model(small_model(name), tmp_path / "stamped", kind="model", readout="trained")


@pytest.fixture
def bare(tmp_path: Path, name: str) -> Path:
    """A small model as MatGL itself saves it."""
    small_model(name).save(tmp_path / "bare")
    return tmp_path / "bare"


@pytest.fixture
def edit_json() -> Callable[[Path, Callable[[dict[str, Any]], None]], None]:
    """A function that changes a saved model's ``model.json``, and signs it again: the digest would tell of it."""

    def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
        file = path / "model.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))
        if content["metadata"]:
            sign(path)

    return edit
