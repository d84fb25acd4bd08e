"""What ``matgl_ssl`` itself exports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import matgl_ssl


def test_every_name_is_there_and_known_to_type_checkers():
    for name in matgl_ssl.__all__:
        assert getattr(matgl_ssl, name).__name__.rpartition(".")[2] == name
    tree = ast.parse(Path(matgl_ssl.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert sorted(alias.asname for line in block.body for alias in line.names) == sorted(matgl_ssl.__all__)


def test_importing_it_imports_nothing_heavy():
    script = "import sys, matgl_ssl; assert not {'torch', 'matgl', 'pymatgen', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
