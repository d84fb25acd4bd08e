"""Load MatGL models, ours and others', after looking at them first."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

import matgl
import numpy as np
import torch
from matgl import models
from matgl.data import transformer
from numpy._core.multiarray import _reconstruct
from torch import nn

from matgl_ssl.acceleration import Mode, accelerate
from matgl_ssl.backends import Potential
from matgl_ssl.devices import fit_to
from matgl_ssl.encoders import ARCHITECTURES, bare_model, find_architecture
from matgl_ssl.errors import ConfigError, ModelError, unknown

from .failures import load_errors, run_errors
from .files import ModelFiles, read_description
from .limits import check_reach, check_sizes, no_more_than, values_within
from .resolve import EXPORTS, resolve
from .stamp import check_backend, check_digest, check_references, stamp_of

logger = logging.getLogger(__name__)

_TRUSTED_MODULE = re.compile(r"matgl\.(models|apps)(\.\w+)?")
_TRUSTED_CLASSES = {"Potential": Potential} | {n: cls for n, cls in vars(models).items() if isinstance(cls, type)}
"""MatGL builds whatever class a file names, with the arguments the file names: only its own models are let through."""
_NEGNN_MODULE = "matgl_ssl.models.negnn"


def load_model(
    source: str | Path | nn.Module,
    *,
    trained_with: str | None = None,
    prefer: Sequence[str] = EXPORTS,
    device: torch.device | str = "cpu",
    acceleration: Mode | None = None,
) -> nn.Module:
    """Load a model in eval mode, accelerated.

    Args:
        source: A MatGL model (returned as it is: ``accelerate`` it to have it faster), a model directory, a run
            directory, a shipped encoder's name (``list_models``), a hub name, or an architecture's name (random
            weights, drawn from torch's global generator).
        trained_with: ``"pyg"`` or ``"dgl"``, for a model without a matgl_ssl stamp.
        prefer: Which export of a run directory to take.
        device: Where to put it; a model in memory stays where it lies.
        acceleration: ``"native"``, ``"torch"`` or ``"off"`` (see ``accelerate``).

    Returns:
        The model. What its files say of it is ``read_stamp(source)``.

    Raises:
        ModelError: If there is none, it cannot be read or trusted, is not what was saved, or does not run here. The
            message tells damaged files from another MatGL, too little memory, and a device that fails.
        BackendError: If it belongs to the other graph library, or nobody can tell.
        ConfigError: If ``trained_with`` is neither.
    """
    return load_with_stamp(source, trained_with=trained_with, prefer=prefer, device=device, acceleration=acceleration)[
        0
    ]


def read_stamp(source: str | Path, *, prefer: Sequence[str] = EXPORTS) -> dict[str, Any]:
    """What matgl_ssl wrote into a saved model: its kind, target, unit, versions. Empty for a foreign model.

    Args:
        source: A model directory, a run directory or a hub name.
        prefer: Which export of a run directory to take.

    Raises:
        ModelError: If there is no such model, or its stamp is damaged.
    """
    return stamp_of(read_description(resolve(source, prefer=prefer) / "model.json"))


def is_intact(folder: Path) -> bool:
    """Whether a stamped model is there as it was saved; one that was changed is logged."""
    try:
        files = ModelFiles.read(folder)
        check_digest(str(folder), files, stamp_of(files.description))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ModelError as err:
        logger.warning("%s", err)
        return False
    return True


def load_with_stamp(
    source: str | Path | nn.Module,
    *,
    trained_with: str | None = None,
    prefer: Sequence[str] = EXPORTS,
    device: torch.device | str | None = None,
    acceleration: Mode | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """``load_model`` and ``read_stamp`` in one; the stamp of a model in memory is empty."""
    if trained_with not in (None, "pyg", "dgl"):
        raise unknown("graph library in trained_with:", str(trained_with), ("pyg", "dgl"))
    if isinstance(source, nn.Module):
        return source, {}
    device = torch.device(device or "cpu")
    if source in ARCHITECTURES and not Path(source).is_dir():
        with run_errors(str(source), device):
            model = _placed(new_model(str(source)).eval(), device, acceleration)
        return model, {"kind": "encoder", "readout": "untrained"}
    files, name = ModelFiles.read(resolve(source, prefer=prefer)), str(source)
    cls = _trusted_class(name, files.description)
    check_backend(name, files.description, trained_with)
    stamp = stamp_of(files.description)
    check_digest(name, files, stamp)
    with load_errors(name, stamp):
        model = _load_checked(name, cls, files)
    with run_errors(name, device):
        # Before its references are checked, so that they check this, too.
        model = _placed(model, device, acceleration)
        check_references(name, model, stamp)
    return model, stamp


def _placed(model: nn.Module, device: torch.device, acceleration: Mode | None) -> nn.Module:
    return accelerate(fit_to(model, device).to(device), acceleration)


def new_model(name: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Build an architecture with random weights.

    Raises:
        ConfigError: If the architecture or an argument is unknown, or has a value MatGL does not take.
    """
    architecture = find_architecture(name)
    cls = architecture.cls
    valid = [p for p in inspect.signature(cls).parameters if p != "kwargs"]
    for argument in arguments or {}:
        if argument not in valid:  # MatGL's **kwargs would swallow it
            raise unknown(f"argument of {name}:", argument, valid)
    try:
        model: Any = cls(**(arguments or {}))
    except Exception as err:  # MatGL checks its arguments nowhere in particular
        raise ConfigError(f"{name} cannot be built with {dict(arguments or {})}: {type(err).__name__}: {err}") from err
    architecture.finish(model)
    return model


def refuse_other_arguments(model: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that differ from those of the loaded model, which would be ignored.

    Raises:
        ConfigError: If one differs.
    """
    for name, value in arguments.items():
        own = model._init_args.get(name)
        if (list(own) if isinstance(own, tuple) else own) != (list(value) if isinstance(value, tuple) else value):
            raise ConfigError(
                f"model_args: {name} of the model that is loaded is {own!r}, not {value!r}. Leave model_args out, or "
                "start with a new model."
            )


def _load_checked(name: str, cls: Any, files: ModelFiles) -> nn.Module:
    """Load with MatGL what torch's restricted unpickler has read before: MatGL 2.2 itself unpickles without limits."""
    with _safe_globals():
        arguments, weights = (
            torch.load(files.archive(file), map_location="cpu", weights_only=True) for file in ("model.pt", "state.pt")
        )
        for value in values_within(name, arguments):
            if isinstance(value, Mapping) and ("@class" in value or "@module" in value):
                _trusted_class(name, value)
        check_sizes(name, arguments, weights)
        try:
            with no_more_than(name, weights):
                built = _read_by_matgl(cls, files)
        except RuntimeError as err:
            if "meta tensors" not in str(err):
                raise
            with no_more_than(name, weights, device="cpu"):  # MatGL 2.2 looks at numbers of smooth Bessel functions
                built = _read_by_matgl(cls, files)
        check_reach(name, bare_model(built))
        # Its TensorNet is built in two precisions where matgl.float_th was changed: all in that one.
        model = _read_by_matgl(cls, files).eval().to(matgl.float_th)
    missing = sorted({key for key, _ in model.named_parameters()} - set(weights))
    if missing:  # MatGL 2.2 leaves them random without a word
        raise ModelError(f"{name}: state.pt lacks {len(missing)} of the model's weights, {missing[0]} for one.")
    return model


def _read_by_matgl(cls: Any, files: ModelFiles) -> nn.Module:
    read = {file: files.archive(file) for file in ("model.pt", "state.pt")}
    # Of model.json MatGL takes the number of the class's version, for a warning.
    return cls.load({**read, "model.json": files.folder / "model.json"})


def _trusted_class(name: str, node: Mapping[str, Any]) -> Any:
    """The class a file names, if it is MatGL's, an installed architecture's, or a NEGNN, which builds none but these.

    Raises:
        ModelError: If it is another, which is not looked up.
    """
    module, cls = str(node.get("@module")), str(node.get("@class"))
    if module == _NEGNN_MODULE and cls in {f"{a}NEGNN" for a in ARCHITECTURES}:
        return getattr(import_module(_NEGNN_MODULE), cls)
    known = dict(_TRUSTED_CLASSES) if _TRUSTED_MODULE.fullmatch(module) else {}
    known |= {a.cls.__name__: a.cls for a in ARCHITECTURES.values() if a.cls.__module__ == module}
    if cls not in known:
        raise ModelError(
            f"{name} asks for the class {module}.{cls}, which is not a model of MatGL's. It was not loaded: "
            "a model file can name any class of any installed package and have it built. If you trust it, build the "
            "model in Python and pass the instance."
        )
    return known[cls]


def _safe_globals() -> AbstractContextManager[Any]:
    """What MatGL's files may hold besides tensors: numpy arrays, and MatGL's own target transformers."""
    scalars = [getattr(np.dtypes, f"{kind}DType") for kind in ("Float32", "Float64", "Int32", "Int64")]
    transformers = [
        cls for _, cls in inspect.getmembers(transformer, inspect.isclass) if cls.__module__ == transformer.__name__
    ]
    return torch.serialization.safe_globals([np.ndarray, np.dtype, _reconstruct, *scalars, *transformers])
