"""What a command ends with when nothing hits it, and whether it gets there after it was hit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .commands import ROOT, Command
from .outcome import contents, damaged
from .processes import KILL, Ended, run

_DONE = ("has been prepared already", "exists and is not overwritten", "is not empty. Give another --out.")
"""What commands without --resume say when they were hit after their last write."""


@dataclass(frozen=True)
class Whole:
    """A command that nothing hit: how it ended, and what was there then."""

    ended: Ended
    contents: dict[str, str]


@dataclass(frozen=True)
class After:
    """What became of a command that was hit.

    Attributes:
        result: ``survived`` if the same command then ends with the same bits, ``stuck`` if it is told to use --resume
            and then to leave it out, else ``lost``.
        why: For what did not survive.
        leftovers: Files that a command that nothing hit does not leave.
        damaged: Files in their places that could not be read when the command was hit.
    """

    result: str
    why: str
    leftovers: list[str]
    damaged: list[str]


def whole(command: Command, what: str = KILL) -> Whole:
    """Run a command twice without hitting it.

    Raises:
        RuntimeError: If it fails, or two runs of it differ.
    """
    found = []
    for _ in range(2):
        command.start()
        ended = run(command.call, ROOT, what=what)
        if ended.code:
            raise RuntimeError(f"{command.name} ended with {ended.code}:\n{ended.said}")
        found.append(Whole(ended, contents(ROOT)))
    if differing := _differing(found[0].contents, found[1].contents):
        raise RuntimeError(f"{command.name} differs from itself: {', '.join(differing)}")
    return found[1]


def after(command: Command, expected: Whole, *, repeat: bool = True) -> After:
    """Look at what is there, give the same command again, unless it ended well, and compare."""
    broken = damaged(ROOT)
    ended = run(command.call, ROOT) if repeat else expected.ended
    resumed = "--resume to continue" in ended.said and ended.code
    if resumed:
        ended = run(lambda: command.call("--resume"), ROOT)
    found = contents(ROOT)
    leftovers = sorted(found.keys() - expected.contents.keys())
    differing = _differing(found, expected.contents)
    if resumed and "Leave out --resume" in ended.said:
        return After("stuck", ended.said[-500:], leftovers, broken)
    if (ended.code and not any(text in ended.said for text in _DONE)) or broken or differing:
        why = f"exit code {ended.code}; damaged: {broken}; other: {differing}; {ended.said[-1500:]}"
        return After("lost", why, leftovers, broken)
    return After("survived", "", leftovers, broken)


def summed(rows: dict[str, dict[str, int]]) -> dict[str, int]:
    """The sum of counts by command."""
    total: Counter[str] = Counter()
    for row in rows.values():
        total.update(row)
    return dict(total)


def _differing(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Files that are missing or other than expected."""
    return sorted(name for name, content in expected.items() if found.get(name) != content)
