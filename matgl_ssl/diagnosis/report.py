"""The doctor's report: as text of a page, and as one document for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from matgl_ssl.crystals import CheckReport
from matgl_ssl.crystals.physics import Remark

from .counts import Summary
from .duplicates import Duplicates
from .estimate import Estimate
from .labels import Column
from .overlap import Overlap

_ASCII = str.maketrans({"Å": "A", "³": "^3", "²": "^2", "μ": "u", "±": "+-"})
_MOST = 12
"""Columns, and remarks of a kind, that the text shows."""
_VERDICT = {False: "problem", None: "look at", True: "fine"}


@dataclass(frozen=True)
class DoctorReport(CheckReport):
    """What the doctor found; ``n_total``, ``n_kept`` and ``findings`` are those of the check.

    Attributes:
        source: Where the crystals came from.
        model: Whose elements and cutoff count.
        summary: Elements, sizes and edges; None where no crystal is usable.
        columns: The label columns.
        duplicates: Crystals that are there twice; None where they were not sought.
        overlap: What another file has, too; None without one.
        remarks: Everything noticed, right or wrong.
        estimates: Time and memory of pretraining and fine-tuning.
    """

    source: str = ""
    model: str = ""
    summary: Summary | None = None
    columns: tuple[Column, ...] = ()
    duplicates: Duplicates | None = None
    overlap: Overlap | None = None
    remarks: tuple[Remark, ...] = ()
    estimates: tuple[Estimate, ...] = ()

    @property
    def problems(self) -> tuple[Remark, ...]:
        """The remarks of what is wrong."""
        return tuple(remark for remark in self.remarks if remark.ok is False)

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """Plain text of about a page: ASCII, whatever the terminal can show."""
        parts = (self._counted(), self._labelled(), self._compared(), self._remarked(), self._estimated())
        lines = [super().table(), *chain(*parts)]
        return "\n".join(lines).translate(_ASCII).encode("ascii", "backslashreplace").decode()

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it.

        Keys: ``source``, ``model``, ``n_total``, ``n_kept``, ``left_out`` (numbers by code), ``findings`` (``id``,
        ``code``, ``message``), and ``summary``, ``columns``, ``duplicates``, ``overlap``, ``remarks`` and
        ``estimates`` with the attributes of the classes of ``matgl_ssl.diagnosis``. ``ok`` of a remark is false for a
        problem and null for what cannot be determined.
        """
        left_out, given = super().counts(), asdict(self)
        return {"source": given.pop("source"), "model": given.pop("model"), "n_total": given.pop("n_total"),
                "n_kept": given.pop("n_kept"), "left_out": left_out,
                "summary": given.pop("summary"), **given}  # fmt: skip

    def _counted(self) -> Iterator[str]:
        if not (counts := self.summary):
            return
        first = ", ".join(f"{symbol} {n}" for symbol, n in list(counts.elements.items())[:8])
        rows = {
            "formulas": str(counts.formulas),
            "elements": f"{len(counts.elements)}: {first}{', ...' if len(counts.elements) > 8 else ''}",
            "atoms": str(counts.atoms),
            "volume/atom": f"{counts.volume_per_atom} Å³",
            "longest vector": f"{counts.longest_vector} Å",
            "edges": f"{counts.edges} (estimated, {counts.cutoff:g} Å as {self.model})",
        }
        if self.duplicates:
            among = f" (sample of {self.duplicates.looked_at})" if self.duplicates.looked_at < self.n_kept else ""
            rows["duplicates"] = f"{self.duplicates.repeats}{among}"
        yield ""
        yield from _aligned([*rows.items()])

    def _labelled(self) -> Iterator[str]:
        if not self.columns:
            yield from ("", "no labels")
            return
        rows: list[tuple[str, ...]] = [
            ("label", "unit", "values", "missing", "least", "median", "most", "histogram", "far")
        ]
        for column in self.columns[:_MOST]:
            numbers = [f"{column.quartiles[i]:.4g}" for i in (0, 2, 4)] if column.quartiles else ["", column.kind, ""]
            bars = f"[{column.bars()}]" if column.histogram else ""
            far = str(column.outliers or "")
            name = f"|{column.name}|" if column.kind == "array" else column.name
            rows.append((name, column.unit, str(column.present), str(column.missing), *numbers, bars, far))
        yield ""
        yield from _aligned(rows)
        if len(self.columns) > _MOST:
            yield f"and {len(self.columns) - _MOST} more: --json"

    def _compared(self) -> Iterator[str]:
        if not (found := self.overlap):
            return
        yield from ("", f"in {found.source} ({found.others} crystals), too")
        rows = [("by formula", found.formula, found.crystals, ""),
                ("by prototype", found.prototype, found.prototype_sample, " that were looked at"),
                ("by structure", found.structure, found.structure_sample, " of these formulas")]  # fmt: skip
        yield from _aligned([(f"  {name}", f"{n} of {among}{which}") for name, n, among, which in rows])

    def _remarked(self) -> Iterator[str]:
        for ok, title in _VERDICT.items():
            found = [remark for remark in self.remarks if remark.ok is ok]
            if found:
                yield ""
            for remark in found[:_MOST]:
                yield f"{title}: {remark.subject}: {remark.message}"
                if remark.advice:
                    yield f"    {remark.advice}"
            if len(found) > _MOST:
                yield f"and {len(found) - _MOST} more: --json"

    def _estimated(self) -> Iterator[str]:
        if self.estimates:
            yield ""
        for each in self.estimates:
            low, high = each.epoch_seconds
            yield (
                f"{each.verb} ({each.what}): an epoch of {each.crystals} crystals takes {_time(low, high)}, "
                f"{each.epochs} epochs {_time(low * each.epochs, high * each.epochs)}, "
                f"memory {each.memory / 1e9:.1f} GB"
            )
            yield (
                f"    measured on this machine's {each.device}: {each.batches} batches of {each.batch_size} crystals "
                f"in {each.seconds:.1f} s"
            )


def _time(low: float, high: float) -> str:
    """Bounds in the unit that suits the upper one."""
    for unit, seconds in (("days", 86400), ("h", 3600), ("min", 60)):
        if high >= 2 * seconds:
            return f"{low / seconds:.2g} to {high / seconds:.2g} {unit}"
    return f"{low:.2g} to {high:.2g} s"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
