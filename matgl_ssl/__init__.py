"""matgl_ssl: MatGL's encoders, pretrained on crystals without labels.

Import this package before ``matgl``: it chooses the graph library that the installed MatGL was made for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import _lane  # noqa: F401 - must come before anything imports matgl

__version__ = "0.1.0"

_EXPORTS = {
    "CrystalDataset": "crystals",
    "Encoder": "encoders",
    "check_structure": "crystals",
    "doctor": "diagnose",
    "embed": "inference",
    "finetune": "training.finetune",
    "list_encoders": "listing",
    "list_pretexts": "listing",
    "list_recipes": "listing",
    "load_model": "hub",
    "predict": "inference",
    "pretrain": "training.pretrain",
    "read_crystals": "crystals",
}

__all__ = ["__version__", *_EXPORTS]

if TYPE_CHECKING:
    from .crystals import CrystalDataset, check_structure, read_crystals
    from .diagnose import doctor
    from .encoders import Encoder
    from .hub import load_model
    from .inference import embed, predict
    from .listing import list_encoders, list_pretexts, list_recipes
    from .training.finetune import finetune
    from .training.pretrain import pretrain


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
