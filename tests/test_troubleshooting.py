"""``docs/troubleshooting.md`` quotes messages that the package really has."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import matgl_ssl

PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
QUOTED = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@cache
def messages() -> str:
    """Every text in the package, a line each, with … where a value is filled in."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in Path(matgl_ssl.__file__).parent.rglob("*.py")]
    found = {text for tree in trees for node in ast.walk(tree) if (text := shown(node))}
    return "\n".join(" ".join(re.sub(r"%[-.\d]*[sdgf]", "…", text).split()) for text in found)


def shown(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(shown(part) for part in node.values)
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "…" if isinstance(node, ast.FormattedValue) else ""


def test_quoted_messages_are_those_of_the_code():
    assert len(QUOTED) > 40
    pattern = {text: "[^\n]*?".join(map(re.escape, text.split("…"))) for text in map(str.strip, QUOTED)}
    assert not [text for text, wanted in pattern.items() if not re.search(wanted, messages())]


def test_a_message_that_nobody_says_is_seen():
    assert "No such text is anywhere" not in messages()
    assert re.search(r"is not empty\.", messages())
