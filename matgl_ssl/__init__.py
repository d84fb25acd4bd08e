"""matgl_ssl: MatGL's encoders, pretrained on crystals without labels.

Import this package before ``matgl``: it chooses the graph library that the installed MatGL was made for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import _backend  # noqa: F401 - must come before anything imports matgl
from .renamed import EXPORTS, current

__version__ = "0.2.0.dev0"

_EXPORTS = {
    "CrystalDataset": "crystals",
    "Encoder": "encoders",
    "NEGNN": "models",
    "StructureFeaturizer": "inference.featurizer",
    "accelerate": "acceleration",
    "benchmark": "evaluation",
    "check_structure": "crystals",
    "decelerate": "acceleration",
    "doctor": "diagnose",
    "embed": "inference",
    "finetune": "training.finetune",
    "list_encoders": "listing",
    "list_pretexts": "listing",
    "list_recipes": "listing",
    "build_negnn": "models",
    "load_model": "hub",
    "predict": "inference",
    "pretrain": "training.pretrain",
    "read_crystals": "crystals",
    "read_stamp": "hub",
}

if TYPE_CHECKING:
    from .acceleration import accelerate as accelerate
    from .acceleration import decelerate as decelerate
    from .crystals import CrystalDataset as CrystalDataset
    from .crystals import check_structure as check_structure
    from .crystals import read_crystals as read_crystals
    from .diagnose import doctor as doctor
    from .encoders import Encoder as Encoder
    from .evaluation import benchmark as benchmark
    from .hub import load_model as load_model
    from .hub import read_stamp as read_stamp
    from .inference.embed import embed as embed
    from .inference.featurizer import StructureFeaturizer as StructureFeaturizer
    from .inference.predict import predict as predict
    from .listing import list_encoders as list_encoders
    from .listing import list_pretexts as list_pretexts
    from .listing import list_recipes as list_recipes
    from .models import NEGNN as NEGNN
    from .models import build_negnn as build_negnn
    from .training.finetune import finetune as finetune
    from .training.pretrain import pretrain as pretrain


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])


def __getattr__(name: str) -> Any:
    name = current(name, EXPORTS)
    if name in _EXPORTS:
        return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
