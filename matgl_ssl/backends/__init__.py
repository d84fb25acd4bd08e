"""The only room that knows PyG or DGL: the same five functions on either.

``backend`` is the module of this environment's lane; ``Potential`` is MatGL's.
"""

from __future__ import annotations

from importlib import import_module

from matgl_ssl._lane import LANE

from .batch import EDGE_VECTOR, CrystalBatch, Graph, collate

backend = import_module(f".{LANE}", __name__)
Potential = backend.Potential

__all__ = ["EDGE_VECTOR", "CrystalBatch", "Graph", "Potential", "backend", "collate"]
