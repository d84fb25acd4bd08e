"""What a representation knows: probes, folds that keep siblings together, and benchmarks with paired statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .probes import chemical_systems, grouped_folds, kernel_ridge, mlp, ridge

if TYPE_CHECKING:
    from .benchmarking import BenchmarkResult as BenchmarkResult
    from .benchmarking import benchmark as benchmark

__all__ = ["benchmark", "chemical_systems", "grouped_folds", "kernel_ridge", "mlp", "ridge"]


def __getattr__(name: str) -> Any:
    if name in ("benchmark", "BenchmarkResult"):  # seconds of imports that probes do not need
        from . import benchmarking

        return getattr(benchmarking, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
