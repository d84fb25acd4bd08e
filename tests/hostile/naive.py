"""Readers that believe what they read: what the watch must see."""

from __future__ import annotations

import io
import json
import pickle
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import yaml
from monty.json import MontyDecoder
from pymatgen.core import Structure

from .bait import CALLS, MODULE, PAYLOADS, PLACES, URL, salt


def _monty(_: Path) -> Any:
    return MontyDecoder().decode(json.dumps(PAYLOADS["class"]))


def _pymatgen(_: Path) -> Any:
    return Structure.from_dict(PLACES["site property"](salt(), PAYLOADS["class"]))


def _pickle(_: Path) -> Any:
    return pickle.loads(pickle.dumps(CALLS["exec"]))


def _system(_: Path) -> Any:
    return pickle.loads(pickle.dumps(CALLS["system"]))


def _torch(_: Path) -> Any:
    packed = io.BytesIO()
    torch.save(CALLS["exec"], packed)
    packed.seek(0)
    return torch.load(packed, weights_only=False)


def _yaml(_: Path) -> Any:
    return yaml.unsafe_load(f"!!python/object/apply:{MODULE}.run []")


def _request(_: Path) -> Any:
    return urllib.request.urlopen(URL, timeout=1)


def _open(bait: Path) -> Any:
    return (bait / "secret.cif").read_text()


def _arrow(bait: Path) -> Any:
    return pa.memory_map(str(bait / "secret.cif"))


OPENERS: dict[str, Callable[[Path], Any]] = {
    "monty": _monty, "pymatgen": _pymatgen, "pickle": _pickle, "system": _system, "torch": _torch, "yaml": _yaml,
    "request": _request, "open": _open, "arrow": _arrow,
}  # fmt: skip
"""By name; each does what it must not."""
