"""What every test shares: a quiet, offline environment, the backend, and the evaluation data where there is any."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

# Read when datasets, huggingface_hub, torch or matplotlib is first imported, so set before anything else is.
_HF_HOME = tempfile.mkdtemp(prefix="matgl_ssl-hf-")
os.environ["HF_HOME"] = _HF_HOME
os.environ["HF_DATASETS_CACHE"] = str(Path(_HF_HOME) / "datasets")
os.environ["XDG_CACHE_HOME"] = str(Path(_HF_HOME) / "cache")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["MPLBACKEND"] = "Agg"
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest  # noqa: E402
import torch  # noqa: E402

from matgl_ssl import _backend  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """With tensors this small, a second one only waits."""
    torch.set_num_threads(1)


_ONCE = (
    "corpora/", "crystals/", "ensemble/test_calibrate.py", "ensemble/test_combine.py", "ensemble/test_curve.py",
    "ensemble/test_estimators.py", "ensemble/test_explain.py", "ensemble/test_folds.py", "ensemble/test_gaussian.py",
    "ensemble/test_novelty.py", "ensemble/test_suggest.py", "ensemble/test_transforms.py", "hub/test_documentation.py",
    "hub/test_share.py", "losses/", "test_config.py", "test_extending.py", "test_files.py", "test_help.py",
    "reporting/", "test_house_style.py", "test_messages.py", "test_notebooks.py", "test_packaging.py", "test_pages.py",
    "test_progress.py", "test_prose.py", "test_published_numbers.py", "test_site.py", "test_systems.py",
    "test_troubleshooting.py", "test_work.py",
)  # fmt: skip
"""What does not depend on the graph library, and is tested in the default backend only: rooms below the backends
(``docs/architecture.md``), corpora, the hub's protocol, pages, and learners on descriptors."""

_LONGEST = (
    "test_cli.py", "test_pages.py", "training/test_two_ranks.py", "training/test_resume.py",
    "evaluation/test_benchmark.py", "ensemble/test_fit.py", "corpora/test_prepare.py", "test_extending.py",
    "test_every_device.py", "hub/test_documentation.py", "training/test_finetune_run.py", "test_boundary.py",
    "hub/test_share.py", "hub/test_stamp.py",
)  # fmt: skip
"""Begun first, so that of several processes none is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips, with the reason, what cannot run here: the other backend's tests, GPU tests, tests on absent data."""
    places = {item.path: item.path.relative_to(Path(__file__).parent).as_posix() for item in items}
    order = {name: i for i, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(places[item.path], len(order)))
    for item in items:
        if _backend.BACKEND == "dgl" and places[item.path].startswith(_ONCE):
            item.add_marker(pytest.mark.skip(reason="no matter of the graph library: tested in the default backend"))
        for backend_name in ("pyg", "dgl"):
            if item.get_closest_marker(backend_name) and backend_name != _backend.BACKEND:
                item.add_marker(
                    pytest.mark.skip(
                        reason=f"needs {backend_name}; this is {_backend.BACKEND}, matgl {_backend.MATGL_VERSION}"
                    )
                )
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if item.get_closest_marker("data") and not os.environ.get("MATGL_SSL_DATA"):
            item.add_marker(pytest.mark.skip(reason=_NO_DATA))


_NO_DATA = "set MATGL_SSL_DATA to the directory that holds the evaluation data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The evaluation data, which is not part of the repository."""
    value = os.environ.get("MATGL_SSL_DATA")
    if not value:
        pytest.skip(_NO_DATA)
    path = Path(value)
    if not path.is_dir():
        pytest.fail(f"MATGL_SSL_DATA is set, but {path} is not a directory")
    return path


@pytest.fixture(scope="session")
def backend_name() -> str:
    """The backend of the installed matgl, ``pyg`` or ``dgl``."""
    return _backend.BACKEND


@pytest.fixture(scope="session")
def matgl_only_python() -> str:
    """A Python with matgl and without matgl_ssl (``make test-bare`` makes one).

    Run it with ``-I``, which keeps the checkout in the working directory from being imported after all.
    """
    value = os.environ.get("MATGL_ONLY_PYTHON")
    if not value:
        pytest.skip("set MATGL_ONLY_PYTHON to a Python with matgl and without matgl_ssl (make test-bare does)")
    return value


@pytest.fixture(scope="session", autouse=True)
def _throw_away_hf_home() -> Iterator[None]:
    yield
    shutil.rmtree(_HF_HOME, ignore_errors=True)
