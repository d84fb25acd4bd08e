"""Models in and out: names to directories, checks before loading, stamps on what we save."""

from __future__ import annotations

from .copies import copy_model, without_dropout
from .load import is_intact, load_model, load_with_stamp, new_model, read_stamp, refuse_other_arguments
from .output import evaluating, model_output
from .resolve import resolve
from .save import save_model
from .share import pull, push
from .shipped import shipped_encoder, shipped_names

__all__ = [
    "copy_model",
    "evaluating",
    "is_intact",
    "load_model",
    "load_with_stamp",
    "model_output",
    "new_model",
    "pull",
    "push",
    "read_stamp",
    "refuse_other_arguments",
    "resolve",
    "save_model",
    "shipped_encoder",
    "shipped_names",
    "without_dropout",
]
