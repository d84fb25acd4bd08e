"""Errors, warnings and log lines are written in the project's style: the words of the field, and short sentences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import prose
import pytest

import matgl_ssl

ROOT = Path(matgl_ssl.__file__).parent
LOGS = {"debug", "info", "warning", "error", "warn"}
LONGEST = 45
"""Words of a sentence. Messages name values and commands, so that they need more than pages."""


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """The texts that a file's errors and log lines are made of, with line numbers; values are one word."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        call = node.exc if isinstance(node, ast.Raise) else node
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if isinstance(node, ast.Raise) or name in LOGS or name.endswith("Error"):
            for argument in call.args:
                if isinstance(argument, ast.JoinedStr):
                    parts = [p.value if isinstance(p, ast.Constant) else prose.CODE for p in argument.values]
                    yield argument.lineno, "".join(map(str, parts))
                elif isinstance(argument, ast.Constant) and isinstance(argument.value, str) and " " in argument.value:
                    yield argument.lineno, re.sub(r"%[-.\d]*[a-z]", prose.CODE, argument.value)


def test_messages_are_found():
    found = [text for _, text in messages(ROOT / "training" / "rundir.py")]
    assert any("is not empty. Give another --out" in text for text in found)
    assert len(found) > 5


@pytest.mark.parametrize("room", sorted({path.relative_to(ROOT).parts[0] for path in ROOT.rglob("*.py")}))
def test_messages_are_in_the_style(room):
    files = [ROOT / room] if (ROOT / room).is_file() else sorted((ROOT / room).rglob("*.py"))
    wrong = []
    for path in files:
        for line, text in messages(path):
            plain = re.sub(r"`[^`]*`", prose.CODE, text)
            wrong += [f"{path.name}:{line}: {word[0]!r}" for each in prose.PRIVATE if (word := each.search(plain))]
            wrong += [
                f"{path.name}:{line}: {len(sentence.split())} words"
                for sentence in re.split(r"(?<=[.:!?;])\s+", plain)
                if len(sentence.split()) > LONGEST
            ]
    assert not wrong
