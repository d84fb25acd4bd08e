"""What a run was: options, data, and the environment that it was computed in."""

from __future__ import annotations

import json
from typing import Any

from .blocks import Block, Section, Table
from .runs import Run


def record(run: Run) -> Section:
    """Tables of all that is needed to run it again."""
    blocks: list[Block] = []
    if run.facts:
        rows = [(name, value) for name, value in run.facts.items()]
        text = (
            "Digests of crystals, labels and weights. Equal digests mean equal data, whatever their files are called."
        )
        blocks.append(Table("Data fingerprint", ("what", "fingerprint"), rows, text))
    if left_out := reasons(run):
        blocks.append(Table("Crystals left out", ("reason", "crystals", "what to do"), left_out, _counted(run)))
    options = [(name, as_text(value)) for name, value in run.options.items()]
    blocks.append(Table("Options", ("option", "value"), options, "All options, defaults included.", folded=True))
    if run.environment:
        blocks.append(Table("Environment", ("package", "version"), list(run.environment.items()), folded=True))
    return Section("What was run", "What it takes to run this again, and to tell whether it is the same run.", blocks)


def reasons(run: Run) -> list[tuple[str, int, str]]:
    """Why crystals were left out, how many, and what to do about it."""
    found = run.skipped.get("findings") or {}
    return [(code, each["count"], each["what to do"]) for code, each in found.items()]


def _counted(run: Run) -> str:
    kept, total = run.skipped.get("n_kept"), run.skipped.get("n_total")
    return f"Of {total:,} crystals {kept:,} were kept. The file skipped.json in the run's directory names the others."


def as_text(value: Any) -> str:
    """An option's value as a cell of a table."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
