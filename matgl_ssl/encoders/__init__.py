"""MatGL's models as encoders."""

from __future__ import annotations

from .architectures import (
    ARCHITECTURES,
    Architecture,
    Tap,
    architecture_of,
    bare_model,
    find_architecture,
    is_classifier,
    is_extensive,
    layer_of_parameter,
    recognise,
    release,
)
from .encoder import BatchReader, Encoder, Features, GraphBuilder
from .joint import encode_jointly
from .state import no_state
from .taps import tapped

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "BatchReader",
    "Encoder",
    "Features",
    "GraphBuilder",
    "Tap",
    "architecture_of",
    "bare_model",
    "encode_jointly",
    "find_architecture",
    "is_classifier",
    "is_extensive",
    "layer_of_parameter",
    "no_state",
    "recognise",
    "release",
    "tapped",
]
