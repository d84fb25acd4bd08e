"""What a representation knows: probes, folds that keep siblings together, and benchmarks with paired statistics."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .probes import chemical_systems, grouped_folds, kernel_ridge, mlp, ridge

if TYPE_CHECKING:
    from .benchmarking import BenchmarkResult as BenchmarkResult
    from .benchmarking import benchmark as benchmark
    from .predictions import read_predictions as read_predictions

__all__ = ["benchmark", "chemical_systems", "grouped_folds", "kernel_ridge", "mlp", "read_predictions", "ridge"]
_LATER = {"benchmark": "benchmarking", "BenchmarkResult": "benchmarking", "read_predictions": "predictions"}
"""Seconds of imports that probes do not need."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
