"""Finished units of work: a folder of small files, and archives of what is published.

A unit's result is one file, named by the hash of what identifies it and written in one move. A process that works on a
unit holds a lock which the operating system takes back when the process ends, however it ends. Every result says what
computed it: one of other code is not what this code would say.
"""

from __future__ import annotations

import json
import logging
import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from matgl_ssl._files import atomic_path, digest, locked, write_text
from matgl_ssl.errors import RunDirectoryError
from matgl_ssl.formats import is_intact, signed, upgrade, verified

from .made_with import made_with

logger = logging.getLogger(__name__)

Kept = Literal["all", "published", "none"]


@dataclass(frozen=True, eq=False)
class Unit:
    """A piece of work.

    Attributes:
        kind: What sort of work it is: ``corpus``, ``pretraining``, ``trial`` or ``cell``.
        label: For people.
        where: Which of its kind it is, within a study; JSON.
        facts: What else the configuration says of it; JSON.
        sources: What it runs through (see ``made_with.SOURCES``).
        run: Does it, and returns the result; JSON.
        needs: Units that must be finished before.
    """

    kind: str
    label: str
    where: Mapping[str, Any]
    run: Callable[[], dict[str, Any]] = field(repr=False)
    needs: tuple[Unit, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    sources: str = "scratch"

    @cached_property
    def name(self) -> str:
        """The unit's file."""
        return f"{self.kind}-{_hash([self.kind, self.where, _hash(self.facts)])}"

    @property
    def made_with(self) -> str:
        """What would compute it now."""
        return made_with(self.sources)

    def kept(self, result: Mapping[str, Any], seconds: float, made: str) -> dict[str, Any]:
        """What is written down of it."""
        return {
            "label": self.label, "where": dict(self.where), "facts": dict(self.facts), "made_with": made,
            "result": dict(result), "seconds": seconds,
        }  # fmt: skip


class Store:
    """Finished units.

    Args:
        folder: Where this machine's lie.
        archives: Files that ``archive`` wrote, perhaps elsewhere. Of two that differ the later counts.
        stale: Which results of other code count as finished: none, those that only an archive has, or all. Of two such
            results of a unit the archive's counts.
    """

    def __init__(self, folder: Path, *archives: Path, stale: Kept = "published") -> None:
        self.folder, self.stale = folder, stale
        self._read: dict[str, dict[str, Any]] = {}
        self._archived: dict[str, dict[str, Any]] = {}
        for archive in filter(Path.exists, archives):
            self._archived |= read_archive(archive)

    def get(self, unit: Unit) -> dict[str, Any] | None:
        """``result``, ``seconds`` and ``made_with`` of a finished unit, or None."""
        if unit.name in self._read:
            return self._read[unit.name]
        local, archived = self._local(unit), self._archived.get(unit.name)
        for found in (local, archived):
            if found and found["made_with"] == unit.made_with:
                self._read[unit.name] = found
                return found
        if self.stale == "all" or (self.stale == "published" and not local):
            return archived or local
        return None

    def shown(self, unit: Unit) -> dict[str, Any] | None:
        """What tables show of a unit: as ``get``, but what is published stays until today's code has done it again."""
        return self.get(unit) or self._archived.get(unit.name)

    def _local(self, unit: Unit) -> dict[str, Any] | None:
        path = self.folder / f"{unit.name}.json"
        try:
            content = _parsed(path.read_bytes())
        except FileNotFoundError:
            return None
        if not is_intact("unit", content, path) or content.get("unit", unit.name) != unit.name:
            logger.warning("%s is damaged: %s is done again.", path, unit.label)
            path.unlink(missing_ok=True)
            return None
        return upgrade("unit", content, path)

    def result(self, unit: Unit) -> dict[str, Any]:
        """The result of a finished unit."""
        found = self.get(unit)
        if found is None:
            raise KeyError(f"{unit.label} is not finished")
        return dict(found["result"])

    def keep(self, unit: Unit, result: dict[str, Any], seconds: float) -> None:
        """Write a result down, in one move."""
        content = signed("unit", {"unit": unit.name, **unit.kept(result, seconds, unit.made_with)})
        write_text(self.folder / f"{unit.name}.json", json.dumps(content, indent=1))

    def forget(self, unit: Unit) -> None:
        """Have a unit done again."""
        self._read.pop(unit.name, None)
        (self.folder / f"{unit.name}.json").unlink(missing_ok=True)

    def archive(self, units: Iterable[Unit], path: Path) -> None:
        """Write those of the units that are finished into one file, and after them what archives had."""
        found = {
            unit.name: unit.kept(_without_predictions(kept["result"]), kept["seconds"], kept["made_with"])
            for unit in units
            if (kept := self.get(unit))
        }
        write_archive(path, found | (self._archived | found))

    @contextmanager
    def claim(self, unit: Unit) -> Iterator[bool]:
        """Whether this process may work on a unit now; nobody else does within the block."""
        with locked(self.folder / "locks" / unit.name, wait=False) as mine:
            yield mine and self.get(unit) is None  # finished by another since


def read_archive(path: Path) -> dict[str, dict[str, Any]]:
    """The finished units of an archive by name; a damaged line is logged and left out.

    Raises:
        RunDirectoryError: If the first line is damaged, which all others depend on, or a compressed archive.
    """
    content = path.read_bytes()
    if path.suffix == ".xz":
        try:
            content = lzma.decompress(content)
        except lzma.LZMAError as err:
            raise RunDirectoryError(
                f"{path} is damaged ({err}). Take it from where it came from again, or remove it: its units are then "
                "done again."
            ) from err
    lines = content.splitlines() or [b""]
    first = _parsed(lines[0])
    named = not (isinstance(first, dict) and "unit" in first)
    head = verified("archive", first, f"{path}, line 1") if named else {}
    if not named:
        logger.warning("Version 0.1 wrote %s. Convert it with benchmarks/upgrade_units.py.", path)
    units = {}
    for number, line in enumerate(lines[named:], 1 + named):
        if not is_intact("unit", row := _parsed(line), path):
            logger.warning("%s, line %d is damaged: its unit is done again.", path, number)
            continue
        unit = upgrade("unit", row, path)
        units[unit.pop("unit")] = {**unit, "facts": head["facts"][unit["facts"]]} if named else unit
    if (missing := head.get("units", 0) - len(lines) + 1) > 0:
        logger.warning("%s was cut short: %d units are missing, and done again.", path, missing)
    return units


def write_archive(path: Path, units: Mapping[str, Mapping[str, Any]]) -> None:
    """Write finished units, a line each; the first line has the facts that many of them share. ``.xz`` compresses."""
    facts = {_hash(unit["facts"]): unit["facts"] for unit in units.values()}
    rows = [signed("unit", {"unit": name, **unit, "facts": _hash(unit["facts"])}) for name, unit in units.items()]
    head = signed("archive", {"units": len(rows), "facts": facts})
    text = "".join(f"{json.dumps(row)}\n" for row in [head, *rows]).encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(lzma.compress(text) if path.suffix == ".xz" else text)


def _parsed(text: bytes) -> Any:
    """What a JSON text holds; None if it is none, or not UTF-8."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _without_predictions(result: Mapping[str, Any]) -> dict[str, Any]:
    """They are published as tables of their own."""
    return {name: value for name, value in result.items() if name != "predictions"}


def _hash(content: Any) -> str:
    return digest([json.dumps(content, sort_keys=True, default=str)], 20)
