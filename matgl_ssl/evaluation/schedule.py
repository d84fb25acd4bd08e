"""The order of a study's units: what one needs first, none twice, together with whoever else works on them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from matgl_ssl.errors import MatGLSSLError, NotWrittenError, TrainingInterrupted

from .store import Store, Unit

logger = logging.getLogger(__name__)


def work(units: Sequence[Unit], store: Store, failed: dict[str, Unit] | None = None) -> Iterator[Unit]:
    """Finish units, until none is left that is neither finished nor at work elsewhere.

    A unit that fails is logged and left out, with all that need it. The others continue.

    Args:
        units: The units; what one needs stands before it.
        store: Where results go.
        failed: Takes, by name, the units that failed here, or needed one that did.

    Yields:
        Each unit after this process finished it, or failed to.
    """
    failed = {} if failed is None else failed
    waiting = list(units)
    while True:
        failed |= {u.name: u for u in waiting if any(need.name in failed for need in u.needs)}
        waiting = [u for u in waiting if store.get(u) is None and u.name not in failed]
        if not waiting:
            return
        if tried := next((unit for unit in waiting if _attempt(unit, store, failed)), None):
            yield tried
        else:
            time.sleep(0.5)


def _attempt(unit: Unit, store: Store, failed: dict[str, Unit]) -> bool:
    """Try to finish a unit; whether anything happened."""
    if any(store.get(need) is None for need in unit.needs):
        return False
    with store.claim(unit) as mine:
        if not mine:
            return False
        started = time.perf_counter()
        try:
            store.keep(unit, unit.run(), time.perf_counter() - started)
        except (TrainingInterrupted, NotWrittenError):  # the others would fare no better
            raise
        except Exception as err:  # whatever a library raises on one cell, the others go on
            logger.warning("%s failed: %s", unit.label, err, exc_info=not isinstance(err, MatGLSSLError))
            failed[unit.name] = unit
    return True


def seconds_left(units: Sequence[Unit], store: Store, jobs: int) -> float | None:
    """About how long the unfinished units take, from finished ones of the same kind; None while that is not known."""
    totals: dict[Any, list[float]] = {}
    for unit in units:
        if found := store.get(unit):
            for alike in (unit.kind, (unit.kind, unit.where.get("n_labels"), unit.where.get("arm"))):
                totals.setdefault(alike, []).append(found["seconds"])
    left = 0.0
    for unit in units:
        if store.get(unit) is None:
            alike = (unit.kind, unit.where.get("n_labels"), unit.where.get("arm"))
            known = totals.get(alike) or totals.get(unit.kind)
            if not known:
                return None
            left += sum(known) / len(known)
    return left / jobs
