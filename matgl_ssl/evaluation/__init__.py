"""What a representation knows: probes, and folds that keep siblings together."""

from __future__ import annotations

from .probes import chemical_systems, grouped_folds, kernel_ridge, ridge

__all__ = ["chemical_systems", "grouped_folds", "kernel_ridge", "ridge"]
