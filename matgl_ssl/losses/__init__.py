"""Losses as pure functions of tensors; over several processes each is the loss of their joint batch."""

from __future__ import annotations

from .barlow_twins import barlow_twins
from .cosine import cosine
from .distributed import JointMeans, gather, global_mean, rank_and_world, rows_before, total, world_size
from .elementwise import ELEMENTWISE
from .nt_xent import nt_xent
from .simsiam import simsiam
from .vicreg import vicreg

__all__ = [
    "ELEMENTWISE",
    "JointMeans",
    "barlow_twins",
    "cosine",
    "gather",
    "global_mean",
    "nt_xent",
    "rank_and_world",
    "rows_before",
    "simsiam",
    "total",
    "vicreg",
    "world_size",
]
