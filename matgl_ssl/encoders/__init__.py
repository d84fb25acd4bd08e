"""MatGL's models as encoders."""

from __future__ import annotations

from .architectures import ARCHITECTURES, Architecture, architecture_of, bare_model, depth_of_parameter, is_extensive
from .encoder import HIDDEN, MASK, Encoder, Features, GraphBuilder

__all__ = [
    "ARCHITECTURES",
    "HIDDEN",
    "MASK",
    "Architecture",
    "Encoder",
    "Features",
    "GraphBuilder",
    "architecture_of",
    "bare_model",
    "depth_of_parameter",
    "is_extensive",
]
