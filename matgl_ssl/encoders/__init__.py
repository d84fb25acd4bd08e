"""MatGL's models as encoders."""

from __future__ import annotations

from .architectures import ARCHITECTURES, Architecture, architecture_of, bare_model, is_extensive, layer_of_parameter
from .encoder import Encoder, Features, GraphBuilder
from .joint import encode_jointly
from .taps import tapped

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Encoder",
    "Features",
    "GraphBuilder",
    "architecture_of",
    "bare_model",
    "encode_jointly",
    "is_extensive",
    "layer_of_parameter",
    "tapped",
]
