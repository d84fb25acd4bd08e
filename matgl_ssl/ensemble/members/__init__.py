"""Learners that are combined, one kind a file."""

from __future__ import annotations

from .estimators import EstimatorMember
from .finetuned import FineTuned
from .gaussian import GaussianProcess
from .line import Line
from .median import Median
from .member import Fitted, Lesson, Member
from .tabular import Kernels, Trees

KINDS: dict[str, type[Member]] = {
    member.kind: member for member in (Median, Trees, Kernels, GaussianProcess, Line, FineTuned)
}
"""By what files call them."""

__all__ = [
    "KINDS",
    "EstimatorMember",
    "FineTuned",
    "Fitted",
    "GaussianProcess",
    "Kernels",
    "Lesson",
    "Line",
    "Median",
    "Member",
    "Trees",
]
