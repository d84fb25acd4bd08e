"""Load MatGL models, ours and others', after looking at them first."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matgl
import numpy as np
import torch
from matgl.data import transformer
from numpy._core.multiarray import _reconstruct
from torch import nn

from matgl_ssl._lane import LANE
from matgl_ssl.encoders import ARCHITECTURES
from matgl_ssl.errors import ModelError
from matgl_ssl.pretexts.registry import unknown

from .resolve import resolve
from .stamp import check_lane, check_references, stamp_of

_TRUSTED = ("matgl.models", "matgl.apps.pes", "matgl.apps._pes", "matgl.data.transformer", "matgl.layers", "matgl_ssl.")


def load_model(
    source: str | Path | nn.Module,
    *,
    trained_with: str | None = None,
    prefer: Sequence[str] = ("model", "potential", "encoder"),
) -> tuple[nn.Module, dict[str, Any]]:
    """Load a model in eval mode.

    Args:
        source: A MatGL model (returned as it is), a model directory, a run directory, or a hub name.
        trained_with: ``"pyg"`` or ``"dgl"``, for a model without a matgl_ssl stamp.
        prefer: Which export of a run directory to take.

    Returns:
        The model, and its stamp (empty for a foreign model).

    Raises:
        ModelError: If there is none, or it cannot be read or trusted.
        LaneError: If it belongs to the other graph library.
    """
    if isinstance(source, nn.Module):
        return source, {}
    path = resolve(source, prefer=prefer)
    try:
        model_json = json.loads((path / "model.json").read_text())
    except ValueError as err:
        raise ModelError(f"{path / 'model.json'} is not JSON: {err}") from err
    _check_class(str(source), model_json)
    check_lane(str(source), model_json, trained_with)
    try:
        with _safe_globals():
            _check_classes(str(source), torch.load(path / "model.pt", map_location="cpu", weights_only=True))
            model: nn.Module = matgl.load_model(path)
    except ModelError:
        raise
    except Exception as err:
        cause = err.__cause__ or err
        raise ModelError(f"MatGL {matgl.__version__} cannot load {source}: {type(cause).__name__}: {cause}") from err
    model.eval()
    stamp = stamp_of(model_json)
    check_references(str(source), model, stamp)
    return model, stamp


def new_model(name: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Build an architecture with random weights.

    Raises:
        ConfigError: If the architecture or an argument is unknown.
    """
    if name not in ARCHITECTURES:
        raise unknown("architecture", name, ARCHITECTURES)
    cls = ARCHITECTURES[name].cls
    valid = [p for p in inspect.signature(cls).parameters if p != "kwargs"]
    for argument in arguments or {}:
        if argument not in valid:  # MatGL's **kwargs would swallow it
            raise unknown(f"argument of {name}:", argument, valid)
    model = cls(**(arguments or {}))
    if LANE == "dgl" and name == "M3GNet":
        # MatGL 2.2 builds the blocks from a set, in the order of their addresses: draw their weights again, in order.
        for module in (*model.three_body_interactions.modules(), *model.graph_layers.modules()):
            if isinstance(module, nn.Linear):
                module.reset_parameters()
    return model


def _check_class(name: str, node: Mapping[str, Any]) -> None:
    module = str(node.get("@module"))
    if not module.startswith(_TRUSTED):
        raise ModelError(
            f"{name} asks for the class {module}.{node.get('@class')}, which is not MatGL's. It was not loaded: "
            "a model file can name any class of any installed package and have it built."
        )


def _check_classes(name: str, node: Any) -> None:
    if isinstance(node, Mapping):
        if "@class" in node or "@module" in node:
            _check_class(name, node)
        for value in node.values():
            _check_classes(name, value)
    elif isinstance(node, list | tuple):
        for value in node:
            _check_classes(name, value)


def _safe_globals() -> AbstractContextManager[Any]:
    """What MatGL's files may hold besides tensors: numpy arrays, and MatGL's own target transformers."""
    scalars = [getattr(np.dtypes, f"{kind}DType") for kind in ("Float32", "Float64", "Int32", "Int64")]
    transformers = [cls for _, cls in inspect.getmembers(transformer, inspect.isclass) if cls.__module__ == transformer.__name__]
    return torch.serialization.safe_globals([np.ndarray, np.dtype, _reconstruct, *scalars, *transformers])
