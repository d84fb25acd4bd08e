"""The one way to show progress: a bar on a terminal, and in logs a line every 30 seconds, both with the time left."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

SECONDS = 30.0
"""From one line of a log to the next."""
_DELAY = 2.0
"""Seconds before a bar shows up. What is faster needs none."""


def track(
    items: Iterable[Item], what: str, total: int | None = None, size: Callable[[Item], int] = lambda _: 1
) -> Iterator[Item]:
    """Hand over items, and show how many are done.

    Args:
        items: The items.
        what: Name of the work; nothing is shown if it is empty.
        total: Sum of the sizes; without it no time left is shown.
        size: What an item counts, for example the crystals of a batch.

    Yields:
        The items.
    """
    with bar(what, total) as shown:
        for item in items:
            yield item
            shown.update(size(item))


def bar(what: str, total: int | None = None, **options: Any) -> Any:
    """A bar to be updated by hand: a context with ``update(n)``.

    Args:
        what: Name of the work; nothing is shown if it is empty.
        total: What the updates add up to; without it no time left is shown.
        **options: Further ones of ``tqdm``.
    """
    terminal = sys.stderr.isatty()
    shown = bool(what) and (terminal or logger.isEnabledFor(logging.INFO))
    options |= {"desc": what, "total": total, "disable": not shown, "leave": False}
    if terminal:
        return tqdm(**options, delay=_DELAY, dynamic_ncols=True)
    return _Lines(**options, mininterval=SECONDS, miniters=1, file=io.StringIO())


class _Lines(tqdm):
    """A bar for logs."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Log a line; tqdm also calls this at the start and to clear the bar."""
        seconds = self.format_dict["elapsed"]
        if not self.n or msg is not None or seconds < self.mininterval:
            return
        if not self.total:
            logger.info("%s: %s after %s", self.desc, f"{self.n:,}", duration(seconds))
            return
        left = duration(seconds * (self.total - self.n) / self.n)
        logger.info("%s: %.0f%%, about %s left", self.desc, 100 * self.n / self.total, left)


class Every:
    """Says when the next line of a log is due.

    Args:
        seconds: From one line to the next.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self.last = time.monotonic()

    def __call__(self) -> bool:
        """Whether a line is due; if so, the time starts again."""
        due = time.monotonic() - self.last >= self.seconds
        if due:
            self.last = time.monotonic()
        return due


def duration(seconds: float) -> str:
    """A time as people say it: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
