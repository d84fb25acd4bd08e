"""Suites that a package inherits to test what it adds: pretexts, targets, views, architectures, recipes.

They are classes for pytest, which must be installed. matgl_ssl's own tests inherit the same ones.
"""

from __future__ import annotations

from .architectures import ArchitectureTests
from .asking import answer, losses_while_learning, view_batch, view_batches
from .pretexts import PretextTests
from .recipes import RecipeTests
from .targets import TargetTests
from .two_processes import assert_two_processes_agree
from .views import ViewTests

__all__ = [
    "ArchitectureTests",
    "PretextTests",
    "RecipeTests",
    "TargetTests",
    "ViewTests",
    "answer",
    "assert_two_processes_agree",
    "losses_while_learning",
    "view_batch",
    "view_batches",
]
