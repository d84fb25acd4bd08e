"""Hostile inputs over every reader and loader: how many executed something, asked for something, or opened a stranger.

    python benchmarks/reliability_parts/hostile.py      # two minutes

The inputs are those of ``tests/hostile``, and so is the process that opens them and tells what it saw.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

WATCHING = Path(__file__).parents[2] / "tests" / "hostile" / "watching.py"


def seen(folder: Path, *how: str) -> list[dict[str, Any]]:
    """What came of each input, in a process of its own.

    Args:
        folder: An empty folder for the inputs.
        *how: ``"naive"`` for readers that believe what they read.

    Raises:
        RuntimeError: If the process did not get through all inputs.
    """
    command = [sys.executable, "-W", "ignore", str(WATCHING), str(folder), *how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode:
        last = rows[-1]["name"] if rows else "none"
        raise RuntimeError(f"exit code {done.returncode} at the input after {last!r}: {done.stderr[-2000:]}")
    return rows


def executed(folder: Path) -> dict[str, Any]:
    """Counts over all inputs.

    Args:
        folder: An empty folder for the inputs.

    Returns:
        ``tried``, and of them those of which something was ``executed``, asked for over a network (``requests``), or
        opened elsewhere (``foreign_paths``); ``by_loader``: how many each loader got; ``others``: what was seen.
    """
    rows = seen(folder)
    counts = Counter(kind for row in rows for kind in {kind for kind, _ in row["seen"]})
    return {
        "tried": len(rows),
        **{kind: counts[kind] for kind in ("executed", "requests", "foreign_paths")},
        "by_loader": dict(Counter(row["how"] for row in rows)),
        "others": [row for row in rows if row["seen"]],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="matgl_ssl-hostile-") as name:
        print(json.dumps(executed(Path(name)), indent=1))
