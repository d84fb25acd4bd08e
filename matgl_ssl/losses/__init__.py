"""Losses as pure functions of tensors; over several processes each is the loss of their joint batch."""

from __future__ import annotations

from .barlow_twins import barlow_twins
from .cosine import cosine
from .distributed import gather, global_mean, joint_means, rank_and_world, rows_before, total, world_size
from .elementwise import ELEMENTWISE
from .nt_xent import nt_xent
from .simsiam import simsiam
from .vicreg import vicreg

__all__ = [
    "ELEMENTWISE",
    "barlow_twins",
    "cosine",
    "gather",
    "global_mean",
    "joint_means",
    "nt_xent",
    "rank_and_world",
    "rows_before",
    "simsiam",
    "total",
    "vicreg",
    "world_size",
]
