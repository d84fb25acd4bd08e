"""The sizes and the docstrings that the project promises, checked on its own source."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import matgl_ssl
from matgl_ssl.encoders import ARCHITECTURES

FILES = sorted(Path(matgl_ssl.__file__).parent.rglob("*.py"))


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_one_concept_a_file(path):
    source = path.read_text()
    assert len(source.splitlines()) <= 400
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "no module docstring"
    long = [f"{f.name}: {f.end_lineno - f.lineno}" for f in functions(tree) if f.end_lineno - f.lineno > 80]
    assert not long, f"functions over 80 lines: {long}"


def test_what_differs_between_architectures_is_an_architectures():
    """No other file compares with a model's name, or names MatGL's class, but for code written for one of them."""
    own = (
        "encoders/architectures.py", "backends/dgl_three_body.py", "acceleration/m3gnet.py", "acceleration/megnet.py",
    )  # fmt: skip
    for path in FILES:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        compared = [c for node in nodes if isinstance(node, ast.Compare) for c in (node.left, *node.comparators)]
        named = {c.value for c in compared if isinstance(c, ast.Constant)}
        named |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        named |= {a.name for node in nodes if isinstance(node, ast.ImportFrom) for a in node.names}
        if not path.as_posix().endswith(own):
            assert not named & ARCHITECTURES.keys(), path


def test_only_backends_know_the_graph_libraries():
    for path in FILES:
        imported = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and node.level == 0
                else []
            )
        }
        if path.parent.name != "backends":
            assert not imported & {"dgl", "torch_geometric"}, path
        if path.parent.name in ("pretexts", "views", "encoders", "crystals", "backends", "hub", "recipes"):
            assert "lightning" not in imported, path


def test_promises_name_tests_that_exist():
    root = Path(__file__).parents[1]
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(?:(\w+)::)?(\w+))?`", (root / "docs" / "reliability.md").read_text())
    assert len(named) > 20
    for file, cls, function in named:
        source = (root / file).read_text()
        wanted = [*([f"class {cls}:"] if cls else []), *([f"def {function}("] if function else [])]
        missing = [text for text in wanted if text not in source]
        assert not missing, file
