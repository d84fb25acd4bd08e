"""Units of work that several processes share, each finished once, and none twice because somebody was killed.

A unit's result is one small file, named by the hash of everything that determines it and written in one move. A process
that works on a unit holds a lock which the operating system takes back when the process ends, however it ends.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from matgl_ssl._files import digest, locked, write_text
from matgl_ssl.errors import MatGLSSLError, TrainingInterrupted

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Unit:
    """A piece of work.

    Attributes:
        kind: What sort of work it is: ``corpus``, ``pretraining``, ``trial`` or ``cell``.
        label: For people.
        key: Everything that determines the result; JSON.
        run: Does it, and returns the result; JSON.
        needs: Units that must be finished before.
    """

    kind: str
    label: str
    key: Mapping[str, Any]
    run: Callable[[], dict[str, Any]] = field(repr=False)
    needs: tuple[Unit, ...] = ()

    @cached_property
    def name(self) -> str:
        """The unit's file."""
        text = json.dumps([self.kind, self.key], sort_keys=True, default=str)
        return f"{self.kind}-{digest([text], 20)}"


class Store:
    """Finished units, in a folder.

    Args:
        folder: Where they lie.
        archives: Files that ``archive`` wrote, perhaps elsewhere: their units are finished, too, unless the folder has
            them. Of two that differ the later counts.
    """

    def __init__(self, folder: Path, *archives: Path) -> None:
        self.folder = folder
        self._read: dict[str, dict[str, Any]] = {}
        self._archived: dict[str, dict[str, Any]] = {}
        for archive in filter(Path.exists, archives):
            with archive.open(encoding="utf-8") as file:
                self._archived |= {unit.pop("unit"): unit for unit in map(json.loads, file)}

    def get(self, unit: Unit) -> dict[str, Any] | None:
        """``result`` and ``seconds`` of a finished unit, or None."""
        if unit.name not in self._read:
            try:
                text = (self.folder / f"{unit.name}.json").read_text(encoding="utf-8")
            except FileNotFoundError:
                return self._archived.get(unit.name)
            self._read[unit.name] = json.loads(text)
        return self._read[unit.name]

    def result(self, unit: Unit) -> dict[str, Any]:
        """The result of a finished unit."""
        found = self.get(unit)
        if found is None:
            raise KeyError(f"{unit.label} is not finished")
        return dict(found["result"])

    def keep(self, unit: Unit, result: dict[str, Any], seconds: float) -> None:
        """Write a result down, in one move."""
        content = {"label": unit.label, "key": unit.key, "result": result, "seconds": seconds}
        write_text(self.folder / f"{unit.name}.json", json.dumps(content, indent=1, default=str))

    def forget(self, unit: Unit) -> None:
        """Have a unit done again."""
        self._read.pop(unit.name, None)
        (self.folder / f"{unit.name}.json").unlink(missing_ok=True)

    def archive(self, units: Iterable[Unit], path: Path) -> None:
        """Write those of the units that are finished into one file, a line each, and after them what archives had."""
        found = {
            unit.name: {"label": unit.label, "result": kept["result"], "seconds": kept["seconds"]}
            for unit in units
            if (kept := self.get(unit))
        }
        lines = [json.dumps({"unit": name, **kept}) for name, kept in (found | (self._archived | found)).items()]
        write_text(path, "".join(f"{line}\n" for line in lines))

    @contextmanager
    def claim(self, unit: Unit) -> Iterator[bool]:
        """Whether this process may work on a unit now; nobody else does within the block."""
        with locked(self.folder / "locks" / unit.name, wait=False) as mine:
            yield mine and self.get(unit) is None  # finished by another since


def work(
    units: Sequence[Unit],
    store: Store,
    finished: Callable[[Unit], None] = lambda unit: None,
    wanted: Callable[[], bool] = lambda: True,
) -> list[Unit]:
    """Finish all units, in order where what they need is there, together with whoever else works on them.

    A unit that fails is told of, and left out with all that need it; the others go on.

    Args:
        units: The units; what one needs stands before it.
        store: Where results go.
        finished: Called after each unit of this process.
        wanted: Asked before each unit; False ends the work.

    Returns:
        The units that failed here, or needed one that did.
    """
    failed: dict[str, Unit] = {}
    waiting = list(units)
    while waiting and wanted():
        failed |= {u.name: u for u in waiting if any(need.name in failed for need in u.needs)}
        waiting = [u for u in waiting if store.get(u) is None and u.name not in failed]
        if waiting and not any(_attempt(unit, store, failed, finished) for unit in waiting):
            time.sleep(0.5)
    return list(failed.values())


def _attempt(unit: Unit, store: Store, failed: dict[str, Unit], finished: Callable[[Unit], None]) -> bool:
    """Try to finish a unit; whether anything happened."""
    if any(store.get(need) is None for need in unit.needs):
        return False
    with store.claim(unit) as mine:
        if not mine:
            return False
        started = time.perf_counter()
        try:
            store.keep(unit, unit.run(), time.perf_counter() - started)
        except TrainingInterrupted:
            raise
        except Exception as err:  # whatever a library raises on one cell, the others go on
            logger.warning("%s failed: %s", unit.label, err, exc_info=not isinstance(err, MatGLSSLError))
            failed[unit.name] = unit
            return True
    finished(unit)
    return True


def seconds_left(units: Sequence[Unit], store: Store, jobs: int) -> float | None:
    """About how long the unfinished units take, from finished ones of the same kind; None while that is not known."""
    totals: dict[Any, list[float]] = {}
    for unit in units:
        if found := store.get(unit):
            for alike in (unit.kind, (unit.kind, unit.key.get("n_labels"), unit.key.get("arm"))):
                totals.setdefault(alike, []).append(found["seconds"])
    left = 0.0
    for unit in units:
        if store.get(unit) is None:
            alike = (unit.kind, unit.key.get("n_labels"), unit.key.get("arm"))
            known = totals.get(alike) or totals.get(unit.kind)
            if not known:
                return None
            left += sum(known) / len(known)
    return left / jobs
