"""Reports: what was wrong with which crystal, and what to do about it."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from matgl_ssl._files import atomic_path

logger = logging.getLogger(__name__)

ADVICE = {
    "empty": "remove the entry: it has no atoms",
    "unreadable": "repair or remove the entry; its message says what failed",
    "incomplete": "complete the file: it says itself that atoms are missing, or that it has others",
    "no-symbols": "write the elements' symbols into line 6 (VASP 5 and later), for example: Na Cl",
    "malformed": "repair the row: its lists do not fit each other",
    "non-finite": "repair the source: NaN or infinity among coordinates or lattice",
    "no-volume": "repair the lattice: its three vectors must span a volume",
    "not-periodic": "put it in a periodic cell with vacuum (atoms.center(vacuum=10); atoms.pbc = True)",
    "disordered": "order it first, e.g. with pymatgen's OrderDisorderedStructureTransformation",
    "unknown-element": "remove it, or choose a model whose element_types include the element",
    "unlabelled": "give it a value of the target, or leave it out",
    "too-close": "remove duplicate atoms, or check the unit of the lattice (Å)",
    "no-edges": "remove it, or choose a model with a longer cutoff",
    "too-many-edges": "check the unit of the lattice (Å), or use a smaller cell",
    "duplicate": "nothing: another entry is the same crystal; prepare's --keep-duplicates keeps both",
    "too-large": "reduce the cell (Structure.get_reduced_structure), wrap its coordinates, or remove vacuum",
}
_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One reason why one crystal is left out.

    Attributes:
        id: Name of the crystal.
        code: A key of ``ADVICE``.
        message: What is wrong with it.
        index: Its place among all entries of its source, if that is known.
    """

    id: str
    code: str
    message: str
    index: int | None = None


def placed(findings: Iterable[Finding], n_kept: int) -> tuple[Finding, ...]:
    """Findings that all have a place: those without one come after the ``n_kept`` entries that were kept."""
    return tuple(f if f.index is not None else replace(f, index=n_kept + i) for i, f in enumerate(findings))


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        n_total: Crystals looked at, those rejected by the reader included.
        n_kept: Crystals without a finding.
        findings: One or more per crystal left out.
    """

    n_total: int
    n_kept: int
    findings: tuple[Finding, ...] = ()

    def counts(self) -> dict[str, int]:
        """Number of findings per code, the most frequent first."""
        return dict(Counter(finding.code for finding in self.findings).most_common())

    def ids(self, code: str) -> list[str]:
        """The crystals with this finding."""
        return [finding.id for finding in self.findings if finding.code == code]

    def reasons(self) -> str:
        """How many are left out for which reason, and what is wrong with the first of them."""
        counts = ", ".join(f"{count} {code}" for code, count in self.counts().items())
        return counts + (f"; for example {self.findings[0].message}" if self.findings else "")

    def tell(self, where: object) -> None:
        """Log how many are left out and why, if any are, and where each one's reason stands."""
        if left_out := self.n_total - self.n_kept:
            logger.warning(
                "%d of %d crystals are left out: %s (all reasons: %s).", left_out, self.n_total, self.reasons(), where
            )

    def table(self) -> str:
        """A plain-text table: code, count, example ids, what to do."""
        rows = [("code", "count", "examples", "what to do")]
        for code, count in self.counts().items():
            examples = ", ".join(self.ids(code)[:_EXAMPLES]) + (", ..." if count > _EXAMPLES else "")
            rows.append((code, str(count), examples, ADVICE[code]))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        firsts = {finding.code: finding.message for finding in reversed(self.findings)}
        lines += [f"for example {message}" for message in firsts.values()]
        return "\n".join([f"{self.n_kept} of {self.n_total} crystals are usable"] + (lines if self.findings else []))

    def write(self, path: str | Path) -> Path:
        """Write counts, ids and each one's reason, per code, as JSON, atomically."""
        found = {
            code: {
                "count": count, "what to do": ADVICE[code], "ids": self.ids(code),
                "reasons": list(dict.fromkeys(finding.message for finding in self.findings if finding.code == code)),
            }
            for code, count in self.counts().items()
        }  # fmt: skip
        with atomic_path(path) as temporary:
            content = {"n_total": self.n_total, "n_kept": self.n_kept, "findings": found}
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return Path(path)
