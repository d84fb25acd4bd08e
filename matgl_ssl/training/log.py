"""``metrics.csv``: every metric of a run, exact across interruptions."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from matgl_ssl._files import atomic_path, digest
from matgl_ssl.errors import RunDirectoryError

logger = logging.getLogger(__name__)


class MetricsCSV(Logger):
    """One row for each logged step, columns as they turn up.

    Lightning's ``CSVLogger`` deletes the file of the run it resumes. This one keeps it, and drops the rows written
    after the checkpoint that the run resumes from, so that the file equals that of a run never interrupted.

    Args:
        path: The file.
        keep_steps: Keep the rows of an existing file up to this step; None starts a new file.
        saved: What ``state`` gave when that step was saved; None where version 0.1 saved it.

    Raises:
        RunDirectoryError: If the file is not the one that was saved.
    """

    def __init__(self, path: Path, keep_steps: int | None = None, saved: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, str]] = []
        if keep_steps is not None and path.exists():
            try:
                self.rows = self._read(keep_steps, saved)
            except (ValueError, TypeError, KeyError) as err:  # what is no table of numbers by step
                raise RunDirectoryError(
                    f"{path} is damaged: its rows are not those that the run wrote. Restore the file, or move it away "
                    "to continue without the rows before the checkpoint."
                ) from err
        elif keep_steps:
            logger.warning("%s is gone: the log starts again after step %d.", path, keep_steps)

    def _read(self, keep_steps: int, saved: Mapping[str, Any] | None) -> list[dict[str, str]]:
        with self.path.open(newline="", encoding="utf-8") as f:
            rows = [row for row in csv.DictReader(f) if int(row["step"]) <= keep_steps]
        if saved is None:
            return rows
        rows = [row for row in rows if int(row["step"]) < keep_steps]
        if _digest(rows) != saved["digest"]:
            raise ValueError("other rows")
        return [*rows, *saved["last"]]

    def state(self, step: int) -> dict[str, Any]:
        """What a checkpoint of a step keeps: a hash of the rows before it, and its own row, which may still grow."""
        before, last = ([row for row in self.rows if (int(row["step"]) < step) is early] for early in (True, False))
        return {"digest": _digest(before), "last": [dict(row) for row in last]}

    @property
    def name(self) -> str:
        """Lightning's name of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Runs have no versions: a run directory holds one run."""
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters are in ``config.yaml``."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add metrics to the row of a step."""
        row = {"step": str(step or 0)}
        row |= {k: repr(float(v)) if isinstance(v, float) else str(v) for k, v in metrics.items() if k != "step"}
        if self.rows and self.rows[-1]["step"] == row["step"]:
            self.rows[-1].update(row)
        else:
            self.rows.append(row)

    def save(self) -> None:
        """Write the file; whoever reads it meanwhile sees the old one or the new one."""
        columns = list(dict.fromkeys(k for row in self.rows for k in row))
        with atomic_path(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()


def _digest(rows: list[dict[str, str]]) -> str:
    return digest(json.dumps(sorted((k, v) for k, v in row.items() if v)) for row in rows)
