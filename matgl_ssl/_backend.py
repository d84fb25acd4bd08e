"""Decides, before matgl is imported, which graph library this process works with.

The installed matgl decides: version 4.1 and later work with PyTorch Geometric (``pyg``), version 2 from 2.2 on works
with DGL (``dgl``). MatGL 2 reads its backend from the environment once, when it is imported. For ``dgl`` it is set here
first.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import re
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from matgl_ssl.errors import BackendError

Backend = Literal["pyg", "dgl"]

_SUPPORTED = (
    "matgl_ssl works with matgl>=4.1,<5 (PyTorch Geometric, the default: pip install 'matgl>=4.1,<5') "
    "and with matgl>=2.2,<3 (DGL: pip install 'matgl_ssl[dgl]')"
)


def _matgl_version() -> str:
    try:
        return version("matgl")
    except PackageNotFoundError as err:
        raise BackendError(f"matgl is not installed. {_SUPPORTED}.") from err


def _require_dgl() -> None:
    if importlib.util.find_spec("dgl") is not None:
        return
    if sys.version_info >= (3, 12):
        raise BackendError(
            "matgl 2 needs dgl, which is not installed, and dgl 1.1.3 has wheels for Python 3.11 and older only; "
            f"this is Python {sys.version_info[0]}.{sys.version_info[1]}. Make a Python 3.11 environment and run "
            "pip install 'matgl_ssl[dgl]' there, or use the default backend here: pip install 'matgl>=4.1,<5'."
        )
    raise BackendError(
        "matgl 2 needs dgl, which is not installed: pip install 'matgl_ssl[dgl]' "
        "(dgl 1.1.3, which has wheels for Python 3.11 and older only)."
    )


def _select_dgl_backend() -> None:
    config = sys.modules.get("matgl.config")
    if config is not None and getattr(config, "BACKEND", None) != "DGL":
        raise BackendError(
            "matgl was imported before matgl_ssl and chose another backend than DGL: "
            "import matgl_ssl before matgl, or set MATGL_BACKEND=DGL."
        )
    os.environ["MATGL_BACKEND"] = "DGL"
    os.environ["DGLBACKEND"] = "pytorch"


def _need_a_home() -> None:
    """Give this process a home for its caches if it has none: MatGL makes a folder there when it is imported."""
    try:
        (Path.home() / ".cache" / "matgl").mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as err:  # a container whose user is nobody, a compute node
        home = os.environ["HOME"] = tempfile.mkdtemp(prefix="matgl_ssl-home-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        logging.getLogger(__name__).warning(
            "The home directory cannot be written (%s): caches are in %s until this process ends. Set HOME.", err, home
        )


def decide_backend() -> Backend:
    """Reads the backend off the installed matgl and, in the DGL backend, points matgl and dgl at each other.

    Returns:
        ``"pyg"`` or ``"dgl"``.

    Raises:
        BackendError: If matgl is absent or of an unsupported version, if dgl is needed and missing, or if matgl was
            imported earlier with another backend.
    """
    found = _matgl_version()
    match = re.match(r"(\d+)\.(\d+)", found)
    major, minor = (int(match[1]), int(match[2])) if match else (-1, -1)
    if major == 4 and minor >= 1:
        return "pyg"
    if major == 2 and minor >= 2:
        _require_dgl()
        _select_dgl_backend()
        return "dgl"
    raise BackendError(f"matgl {found} is installed. {_SUPPORTED}.")


_need_a_home()
BACKEND: Final[Backend] = decide_backend()
MATGL_VERSION: Final[str] = _matgl_version()
