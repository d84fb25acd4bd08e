"""The only package that imports PyG or DGL: the same five functions on either.

``backend`` is the module of this environment's backend; ``Potential`` is MatGL's.
"""

from __future__ import annotations

from importlib import import_module

from matgl_ssl._backend import BACKEND

from .batch import CrystalBatch, Graph, collate
from .keys import EDGE_VECTOR, HIDDEN, MASK, NOISE, NORMAL, REPRESENTATION, STRAIN

backend = import_module(f".{BACKEND}", __name__)
Potential = backend.Potential

GPA = 160.21766208
"""GPa in an eV/Å³, as MatGL has it."""

__all__ = [
    "EDGE_VECTOR", "GPA", "HIDDEN", "MASK", "NOISE", "NORMAL", "REPRESENTATION", "STRAIN",
    "CrystalBatch", "Graph", "Potential", "backend", "collate",
]  # fmt: skip
