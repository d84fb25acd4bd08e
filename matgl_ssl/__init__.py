"""matgl_ssl: MatGL's encoders, pretrained on crystals without labels.

Import this package before ``matgl``: it chooses the graph library that the installed MatGL was made for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import _backend  # noqa: F401 - must come before anything imports matgl
from ._version import __version__ as __version__
from .renamed import EXPORTS, current

_EXPORTS = {
    "accelerate": "acceleration",
    "decelerate": "acceleration",
    "Prepared": "corpora.prepare",
    "prepare": "corpora.prepare",
    "Crystal": "crystals",
    "CrystalDataset": "crystals",
    "check_structure": "crystals",
    "read_crystals": "crystals",
    "doctor": "diagnosis",
    "Architecture": "encoders",
    "Encoder": "encoders",
    "Features": "encoders",
    "CrystalClassifier": "ensemble.estimators",
    "CrystalRegressor": "ensemble.estimators",
    "Explanation": "ensemble.explain",
    "explain": "ensemble.explain",
    "FitResult": "ensemble.fit",
    "fit": "ensemble.fit",
    "ClassPrediction": "ensemble.predict",
    "IntervalPrediction": "ensemble.predict",
    "predict": "ensemble.predict",
    "Suggestion": "ensemble.suggest",
    "suggest": "ensemble.suggest",
    "benchmark": "evaluation",
    "BenchmarkResult": "evaluation.benchmarking",
    "load_model": "hub",
    "pull": "hub",
    "push": "hub",
    "read_stamp": "hub",
    "save_model": "hub",
    "Embeddings": "inference.embed",
    "embed": "inference.embed",
    "StructureFeaturizer": "inference.featurizer",
    "Prediction": "inference.predict",
    "list_encoders": "listing",
    "list_models": "listing",
    "list_pretexts": "listing",
    "list_recipes": "listing",
    "list_targets": "listing",
    "list_teachers": "listing",
    "list_views": "listing",
    "NEGNN": "models",
    "build_negnn": "models",
    "Pretext": "pretexts",
    "PretextOutput": "pretexts",
    "report": "reporting",
    "Target": "targets",
    "teacher_labels": "targets.teacher",
    "FinetuneResult": "training.finetune",
    "finetune": "training.finetune",
    "PretrainResult": "training.pretrain",
    "pretrain": "training.pretrain",
    "View": "views",
}
__all__ = ["errors", *_EXPORTS]  # noqa: PLE0604 - names

if TYPE_CHECKING:
    from . import errors as errors
    from .acceleration import accelerate as accelerate
    from .acceleration import decelerate as decelerate
    from .corpora.prepare import Prepared as Prepared
    from .corpora.prepare import prepare as prepare
    from .crystals import Crystal as Crystal
    from .crystals import CrystalDataset as CrystalDataset
    from .crystals import check_structure as check_structure
    from .crystals import read_crystals as read_crystals
    from .diagnosis import doctor as doctor
    from .encoders import Architecture as Architecture
    from .encoders import Encoder as Encoder
    from .encoders import Features as Features
    from .ensemble.estimators import CrystalClassifier as CrystalClassifier
    from .ensemble.estimators import CrystalRegressor as CrystalRegressor
    from .ensemble.explain import Explanation as Explanation
    from .ensemble.explain import explain as explain
    from .ensemble.fit import FitResult as FitResult
    from .ensemble.fit import fit as fit
    from .ensemble.predict import ClassPrediction as ClassPrediction
    from .ensemble.predict import IntervalPrediction as IntervalPrediction
    from .ensemble.predict import predict as predict
    from .ensemble.suggest import Suggestion as Suggestion
    from .ensemble.suggest import suggest as suggest
    from .evaluation import benchmark as benchmark
    from .evaluation.benchmarking import BenchmarkResult as BenchmarkResult
    from .hub import load_model as load_model
    from .hub import pull as pull
    from .hub import push as push
    from .hub import read_stamp as read_stamp
    from .hub import save_model as save_model
    from .inference.embed import Embeddings as Embeddings
    from .inference.embed import embed as embed
    from .inference.featurizer import StructureFeaturizer as StructureFeaturizer
    from .inference.predict import Prediction as Prediction
    from .listing import list_encoders as list_encoders
    from .listing import list_models as list_models
    from .listing import list_pretexts as list_pretexts
    from .listing import list_recipes as list_recipes
    from .listing import list_targets as list_targets
    from .listing import list_teachers as list_teachers
    from .listing import list_views as list_views
    from .models import NEGNN as NEGNN
    from .models import build_negnn as build_negnn
    from .pretexts import Pretext as Pretext
    from .pretexts import PretextOutput as PretextOutput
    from .reporting import report as report
    from .targets import Target as Target
    from .targets.teacher import teacher_labels as teacher_labels
    from .training.finetune import FinetuneResult as FinetuneResult
    from .training.finetune import finetune as finetune
    from .training.pretrain import PretrainResult as PretrainResult
    from .training.pretrain import pretrain as pretrain
    from .views import View as View


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])


def __getattr__(name: str) -> Any:
    name = current(name, EXPORTS)
    if name == "errors":
        return import_module(".errors", __name__)
    if name in _EXPORTS:
        return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
