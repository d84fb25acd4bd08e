"""``kill -9`` in the middle of writes, before every other change of a file, and at random moments."""

from __future__ import annotations

import random
from typing import Any

from .again import after, summed, whole
from .commands import ROOT, Command, commands
from .processes import places, run


def killed(n: int, only: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Kill commands, give them again, and compare with what is there without a kill.

    Args:
        n: Kills of each command: three quarters at chosen calls that change files, a quarter at random moments.
        only: The one command to be killed.
        seed: Of the choice.

    Returns:
        Counts by command, and every case in which something was lost or left.
    """
    rows, wrong = {}, []
    with commands() as known:
        for command in known:
            if only in (None, command.name):
                rows[command.name], cases = _killed(command, n, random.Random(seed))
                wrong += cases
                print(command.name, rows[command.name], flush=True)
    return {"total": summed(rows), "by_command": rows, "wrong": wrong}


def _killed(command: Command, n: int, draw: random.Random) -> tuple[dict[str, int], list[dict[str, str]]]:
    expected = whole(command)
    n = n if expected.ended.calls else 0
    chosen = [] if command.shared else [{"at": at} for at in places(expected.ended.calls, n - n // 4, draw)]
    moments = [{"after": expected.ended.seconds * draw.random()} for _ in range(n // 2 if command.shared else n // 4)]
    row = dict.fromkeys(("calls", "kills", "survived", "lost", "stuck", "leftover_files", "leftover_processes"), 0)
    row["calls"], wrong = len(expected.ended.calls), []
    for hit in [*chosen, *moments]:
        command.start()
        ended = run(command.call, ROOT, **hit)
        if ended.code >= 0:  # over before its moment came
            continue
        found = after(command, expected)
        row["kills"] += 1
        row[found.result] += 1
        row["leftover_files"] += len(found.leftovers)
        row["leftover_processes"] += ended.left
        if found.result != "survived" or found.leftovers or ended.left:
            left = ", ".join([*found.leftovers, *[f"{ended.left} processes"] * bool(ended.left)])
            wrong.append({
                "command": command.name, "at": ended.hit or str(hit), "result": found.result, "left": left,
                "why": found.why,
            })  # fmt: skip
    return row, wrong
