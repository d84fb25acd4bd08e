"""The files of a command line as one data set, with a place for each entry that could not be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from matgl_ssl.crystals import Crystal, CrystalDataset, Finding, read_crystals
from matgl_ssl.crystals.layouts import readable
from matgl_ssl.errors import NothingLeftError


def read_files(files: Sequence[str]) -> CrystalDataset:
    """Read one source after the other; ids begin with the source's name.

    Raises:
        DataError: If there is no such source, or nothing in it that could be crystals.
    """
    crystals: list[Crystal] = []
    rejected: list[Finding] = []
    for file in files:
        found: Sequence[Crystal] = ()
        try:
            dataset = read_crystals(file, columns=[])
            found, bad = list(dataset), dataset.rejected
        except NothingLeftError as err:
            bad = err.report.findings
        start, name, alone = len(crystals) + len(rejected), readable(file), len(found) + len(bad) == 1
        crystals += [replace(crystal, id=name if alone else f"{name}:{crystal.id}") for crystal in found]
        rejected += [
            replace(finding, id=name if alone else f"{name}:{finding.id}", index=start + (finding.index or 0))
            for finding in bad
        ]
    return CrystalDataset.from_crystals(crystals, source=", ".join(map(readable, files)), rejected=rejected)
