"""One place for the version, and a clone that is installed as it lies shadows nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import matgl_ssl

ROOT = Path(matgl_ssl.__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """What ``pip install -e`` puts into site-packages, for a clone called as git calls it."""
    pytest.importorskip("setuptools", "77")
    folder = tmp_path_factory.mktemp("projects")
    clone = folder / "matgl_ssl"
    clone.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    shutil.copytree(ROOT / "matgl_ssl", clone / "matgl_ssl", ignore=shutil.ignore_patterns("__pycache__"))
    build = "import setuptools.build_meta as backend; backend.build_editable('..'); backend.build_wheel('../wheel')"
    (folder / "wheel").mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=clone, check=True, capture_output=True)
    zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(folder / "site")
    return folder / "site"


def test_the_version_stands_in_the_package_alone(site):
    metadata = next(site.glob("*.dist-info")) / "METADATA"
    assert f"\nVersion: {matgl_ssl.__version__}\n" in metadata.read_text()


def test_beside_a_clone_its_package_is_imported_and_not_its_folder(site):
    """The folder ``matgl_ssl`` of a clone is a namespace package to Python, which wins over an import hook."""
    code = f"import site; site.addsitedir({str(site)!r}); import importlib.util; "
    code += "print(importlib.util.find_spec('matgl_ssl').origin)"
    find = [sys.executable, "-S", "-c", code]
    found = subprocess.run(find, cwd=site.parent, env={}, text=True, capture_output=True, check=True)
    assert found.stdout.strip() == str(site.parent / "matgl_ssl" / "matgl_ssl" / "__init__.py")


def test_the_wheel_brings_everything_that_is_no_python(site):
    wheel = zipfile.ZipFile(next((site.parent / "wheel").glob("*.whl")))
    inside = {name for name in wheel.namelist() if not name.endswith(".py") and ".dist-info/" not in name}
    package = ROOT / "matgl_ssl"
    there = {f"matgl_ssl/{path.relative_to(package).as_posix()}" for path in package.rglob("*") if path.is_file()}
    assert inside == {name for name in there if not name.endswith((".py", ".pyc"))}
    assert any(name.startswith("matgl_ssl/weights/") for name in inside)
