"""The only room that knows PyG or DGL: the same five functions on either.

``backend`` is the module of this environment's backend; ``Potential`` is MatGL's.
"""

from __future__ import annotations

from importlib import import_module

from matgl_ssl._backend import BACKEND

from .batch import EDGE_VECTOR, CrystalBatch, Graph, collate

backend = import_module(f".{BACKEND}", __name__)
Potential = backend.Potential

__all__ = ["EDGE_VECTOR", "CrystalBatch", "Graph", "Potential", "backend", "collate"]
