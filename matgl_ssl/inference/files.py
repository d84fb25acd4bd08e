"""Crystals of a command line's files, with a place for each that could not be read; predictions as text."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matgl_ssl.crystals import Crystal, CrystalDataset, Finding, read_crystals
from matgl_ssl.crystals.layouts import readable
from matgl_ssl.errors import NothingLeftError

from .predict import Prediction


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


def as_json(predictions: Sequence[Prediction]) -> str:
    """A JSON list with an object a prediction; what is no finite number is null, and an empty note is left out."""
    rows = [{name: value for name, value in row.items() if name != "note" or value} for row in _rows(predictions)]
    return json.dumps(rows, indent=1, ensure_ascii=False)


def as_csv(predictions: Sequence[Prediction]) -> str:
    """A line of names, and a line a prediction; what is no finite number is empty."""
    rows = _rows(predictions)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*dict.fromkeys(name for row in rows for name in row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    return [{name: _known(value) for name, value in vars(prediction).items()} for prediction in predictions]


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
