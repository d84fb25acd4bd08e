"""Reports: what was wrong with which crystal, and what to do about it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from matgl_ssl._files import atomic_path

ADVICE = {
    "empty": "remove the entry: it has no atoms",
    "unreadable": "repair or remove the entry; its message says what failed",
    "malformed": "repair the row: its lists do not fit each other",
    "non-finite": "repair the source: NaN or infinity among coordinates or lattice",
    "no-volume": "repair the lattice: its three vectors must span a volume",
    "not-periodic": "put it in a periodic cell with vacuum (atoms.center(vacuum=10); atoms.pbc = True)",
    "disordered": "order it first, e.g. with pymatgen's OrderDisorderedStructureTransformation",
    "unknown-element": "remove it, or choose a model whose element_types include the element",
    "too-close": "remove duplicate atoms, or check the unit of the lattice (Å)",
    "no-edges": "remove it, or choose a model with a longer cutoff",
    "too-many-edges": "check the unit of the lattice (Å), or use a smaller cell",
    "duplicate": "nothing: another entry is the same crystal; prepare's --keep-duplicates keeps both",
    "too-large": "reduce the cell (Structure.get_reduced_structure), wrap its coordinates, or remove vacuum",
}
_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One reason why one crystal is left out; ``code`` is a key of ``ADVICE``."""

    id: str
    code: str
    message: str


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

    def table(self) -> str:
        """A plain-text table: code, count, example ids, what to do."""
        rows = [("code", "count", "examples", "what to do")]
        for code, count in self.counts().items():
            examples = ", ".join(self.ids(code)[:_EXAMPLES]) + (", ..." if count > _EXAMPLES else "")
            rows.append((code, str(count), examples, ADVICE[code]))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([f"{self.n_kept} of {self.n_total} crystals are usable"] + (lines if self.findings else []))

    def write(self, path: str | Path) -> Path:
        """Write counts and ids per code as JSON, atomically."""
        found = {code: {"count": count, "ids": self.ids(code)} for code, count in self.counts().items()}
        with atomic_path(path) as temporary:
            content = {"n_total": self.n_total, "n_kept": self.n_kept, "findings": found}
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return Path(path)
