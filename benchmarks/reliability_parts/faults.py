"""A full disk and a broken one, wherever a file is made, written, synced or moved; then the same command again.

Of writes to a file in a row the first, the one in the middle and the last are hit: torch writes each tensor apart.
"""

from __future__ import annotations

import random
from typing import Any

from .again import after, summed, whole
from .commands import ROOT, Command, commands
from .processes import Ended, places, run

KINDS = {"ENOSPC": "what needs room fails from there on", "EIO": "one call fails"}


def injected(n: int | None = None, only: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Let calls fail, look at what the user is told, and give the command again.

    Args:
        n: Faults of each command and kind; at every call by default.
        only: The one command to be hit.
        seed: Of the choice.

    Returns:
        Counts by command, and every case in which something was lost, left, or not told.
    """
    rows, wrong = {}, []
    with commands() as known:
        for command in known:
            for kind in KINDS if only in (None, command.name) and not command.shared else ():
                name = f"{command.name}, {kind}"
                rows[name], cases = _injected(command, kind, n, random.Random(seed))
                wrong += cases
                print(name, rows[name], flush=True)
    return {"total": summed(rows), "by_command": rows, "wrong": wrong}


def _injected(
    command: Command, kind: str, n: int | None, draw: random.Random
) -> tuple[dict[str, int], list[dict[str, str]]]:
    expected = whole(command, kind)
    counted = ("faults", "told", "not_needed", "not_told", "survived", "lost", "stuck", "leftover_files")
    row, wrong = dict.fromkeys(counted, 0), []
    for at in places(expected.ended.calls, n, draw):
        command.start()
        ended = run(command.call, ROOT, at=at, what=kind)
        if not ended.hit:  # threads write in another order, and a run may need a call less
            continue
        told = said(ended, kind)
        found = after(command, expected, repeat=bool(ended.code))
        row["faults"] += 1
        row[told] += 1
        row[found.result] += 1
        row["leftover_files"] += len(found.leftovers)
        if told == "not_told" or found.result != "survived" or found.leftovers:
            wrong.append({
                "command": command.name, "kind": kind, "at": ended.hit, "result": found.result,
                "left": ", ".join(found.leftovers), "told": f"{told} ({ended.code}): {ended.said[-1500:]}",
                "why": found.why,
            })  # fmt: skip
    return row, wrong


def said(ended: Ended, kind: str) -> str:
    """Whether the user was told which path it is, and of a full disk how much is free; or was not in need of it."""
    lines = ended.said.splitlines()
    is_typed = "Traceback" not in ended.said and (not ended.code or lines[-1].startswith("mgl-ssl: error: "))
    if not ended.code:
        return "not_needed" if is_typed else "not_told"
    why = "MB are free" if kind == "ENOSPC" else "rror"
    return "told" if is_typed and any(str(ROOT) in line and why in line for line in lines) else "not_told"
