"""Why a model could not be loaded: damaged files, another version, too little memory, a device, a compiler."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from matgl_ssl._backend import MATGL_VERSION
from matgl_ssl.boundary import is_out_of_memory
from matgl_ssl.errors import MatGLSSLError, ModelError


@contextmanager
def load_errors(name: str, stamp: Mapping[str, Any]) -> Iterator[None]:
    """Turn what breaks while files are read into a ``ModelError``; damaged files break anywhere, as anything."""
    try:
        yield
    except MatGLSSLError:
        raise
    except Exception as err:
        if said := reason(err):
            raise ModelError(f"{name} cannot be loaded: {said}") from err
        cause = err.__cause__ or err
        wrote = stamp["versions"]["matgl"] if stamp else MATGL_VERSION
        other = f"MatGL {wrote} saved it: install that version. Otherwise the" if wrote != MATGL_VERSION else "The"
        raise ModelError(
            f"MatGL {MATGL_VERSION} cannot load {name}: {type(cause).__name__}: {cause} "
            f"{other} files are incomplete or were changed; fetch or export them again."
        ) from err


@contextmanager
def run_errors(name: str, device: torch.device) -> Iterator[None]:
    """Turn what breaks when a loaded model is first run into a ``ModelError`` that does not blame its files."""
    try:
        yield
    except MatGLSSLError:
        raise
    except Exception as err:
        said = reason(err) or (
            f"{type(err).__name__}: {err} (MatGL {MATGL_VERSION}, torch {torch.__version__}). Its files could be read."
            + (" Does it run with --accelerator cpu (device='cpu')?" if device.type != "cpu" else "")
        )
        raise ModelError(f"{name} was loaded, but does not run on {device}: {said}") from err


def reason(err: BaseException) -> str | None:
    """What is wrong with this machine or environment, if that is the cause; None if the error may be the files'."""
    seen: BaseException | None = err
    while seen is not None:
        text = f"{type(seen).__name__}: {seen}"
        if is_out_of_memory(seen):
            return f"there is not enough memory ({text}). Close what takes it, or use another device."
        if isinstance(seen, ImportError):
            return f"a module is not installed, or not in that version ({text}); this is MatGL {MATGL_VERSION}."
        if isinstance(seen, subprocess.SubprocessError):
            return f"the compiler failed ({text}). Set MATGL_SSL_ACCELERATION=torch to do without it."
        if isinstance(seen, RuntimeError) and any(word in str(seen) for word in ("CUDA", "cuDNN", "MPS")):
            return f"the device failed ({text}). Try --accelerator cpu."
        if isinstance(seen, OSError) and seen.filename:  # without a name, it may be what the file holds
            return f"{text}. Mend the path or its permissions."
        seen = seen.__cause__
    return None
