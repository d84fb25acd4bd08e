from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from matgl_ssl import _backend
from matgl_ssl.errors import BackendError


@pytest.fixture
def pretend(monkeypatch):
    """Pretends that another matgl, dgl or Python is here; the environment is put back afterwards."""
    for name in ("MATGL_BACKEND", "DGLBACKEND"):
        monkeypatch.setenv(name, "")  # so that monkeypatch restores what decide_backend sets

    def apply(matgl: str | None, *, dgl: bool = True, python: tuple[int, int] = (3, 11), config: object = None) -> None:
        def version(name: str) -> str:
            assert name == "matgl"
            if matgl is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return matgl

        monkeypatch.setattr(_backend, "version", version)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if dgl else None)
        monkeypatch.setattr(sys, "version_info", (*python, 0, "final", 0))
        if config is None:
            monkeypatch.delitem(sys.modules, "matgl.config", raising=False)
        else:
            monkeypatch.setitem(sys.modules, "matgl.config", config)

    return apply


def test_backend_is_the_installed_matgls():
    assert importlib.metadata.version("matgl") == _backend.MATGL_VERSION
    assert {"4": "pyg", "2": "dgl"}[_backend.MATGL_VERSION[0]] == _backend.BACKEND


@pytest.mark.parametrize("matgl", ["4.1.0", "4.1.2", "4.2.0rc1", "4.10.0"])
def test_matgl_4_is_pyg_and_leaves_the_environment_alone(pretend, matgl):
    pretend(matgl, dgl=False)
    assert _backend.decide_backend() == "pyg"
    assert os.environ["MATGL_BACKEND"] == ""
    assert os.environ["DGLBACKEND"] == ""


@pytest.mark.parametrize("matgl", ["2.2.0", "2.2.1", "2.10.3"])
def test_matgl_2_is_dgl_and_points_matgl_at_it(pretend, matgl):
    pretend(matgl)
    assert _backend.decide_backend() == "dgl"
    assert os.environ["MATGL_BACKEND"] == "DGL"
    assert os.environ["DGLBACKEND"] == "pytorch"


@pytest.mark.parametrize("matgl", ["1.3.0", "2.1.1", "3.0.0", "3.2.1", "4.0.3", "5.0.0", "unknown"])
def test_other_versions_are_refused_with_the_way_out(pretend, matgl):
    pretend(matgl)
    with pytest.raises(BackendError) as caught:
        _backend.decide_backend()
    message = str(caught.value)
    assert f"matgl {matgl} is installed" in message
    assert "pip install 'matgl>=4.1,<5'" in message
    assert "pip install 'matgl_ssl[dgl]'" in message


def test_no_matgl_is_refused_with_the_way_out(pretend):
    pretend(None)
    with pytest.raises(BackendError, match=r"matgl is not installed.*pip install 'matgl>=4\.1,<5'"):
        _backend.decide_backend()


def test_dgl_backend_without_dgl_names_the_extra(pretend):
    pretend("2.2.1", dgl=False)
    with pytest.raises(BackendError, match=r"pip install 'matgl_ssl\[dgl\]'.*Python 3\.11 and older only"):
        _backend.decide_backend()


@pytest.mark.parametrize("python", [(3, 12), (3, 13)])
def test_dgl_backend_without_dgl_on_a_newer_python_says_so(pretend, python):
    pretend("2.2.1", dgl=False, python=python)
    with pytest.raises(BackendError, match=rf"this is Python 3\.{python[1]}\. Make a Python 3\.11 environment"):
        _backend.decide_backend()


def test_a_dgl_of_ones_own_is_welcome_on_a_newer_python(pretend):
    pretend("2.2.1", dgl=True, python=(3, 12))
    assert _backend.decide_backend() == "dgl"


def test_matgl_imported_earlier_with_another_backend_is_refused(pretend):
    pretend("2.2.1", config=SimpleNamespace(BACKEND="PYG"))
    with pytest.raises(BackendError, match="import matgl_ssl before matgl, or set MATGL_BACKEND=DGL"):
        _backend.decide_backend()
    assert os.environ["MATGL_BACKEND"] == ""


def test_matgl_imported_earlier_with_dgl_is_fine(pretend):
    pretend("2.2.1", config=SimpleNamespace(BACKEND="DGL"))
    assert _backend.decide_backend() == "dgl"


def _python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in {"MATGL_BACKEND", "DGLBACKEND"}} | environ
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


@pytest.mark.dgl
def test_importing_matgl_first_fails_loudly_in_the_dgl_backend():
    done = _python("import matgl, matgl_ssl._backend")
    assert done.returncode != 0
    assert "import matgl_ssl before matgl, or set MATGL_BACKEND=DGL" in done.stderr


@pytest.mark.dgl
@pytest.mark.parametrize("code", ["import matgl_ssl._backend, matgl", "import matgl, matgl_ssl._backend"])
def test_either_order_works_in_the_dgl_backend_when_the_backend_is_set(code):
    environ = {"MATGL_BACKEND": "DGL"} if code.startswith("import matgl,") else {}
    done = _python(code + "; print(matgl.config.BACKEND)", **environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "DGL"


@pytest.mark.pyg
def test_importing_matgl_first_is_fine_in_the_pyg_backend():
    done = _python("import matgl, matgl_ssl._backend; print(matgl_ssl._backend.BACKEND)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "pyg"
