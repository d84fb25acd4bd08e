"""A tiny encoder in the place of those that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_systems import ELEMENTS, small_model

from matgl_ssl._backend import BACKEND
from matgl_ssl.crystals.demo import EMT_METALS
from matgl_ssl.hub import save_model, shipped
from matgl_ssl.hub.stamp import VECTOR

NAME = "MEGNet-textbook"


def ship(folder: Path, monkeypatch: pytest.MonkeyPatch, library: str = BACKEND) -> Path:
    """Ship one small MEGNet for a graph library, and nothing else; returns its directory."""
    monkeypatch.setattr(shipped, "FOLDER", folder)
    model = small_model("MEGNet", element_types=(*ELEMENTS, *EMT_METALS))
    facts = {"recipe": "textbook", "n_crystals": 60_000, "steps": 12_000, "elements": ["Si", "O"]}
    place = folder / library / NAME
    return save_model(model, place, kind="encoder", readout=VECTOR, pretexts=["atom-targets"], **facts)
