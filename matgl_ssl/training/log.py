"""``metrics.csv``: every metric of a run, exact across interruptions."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from matgl_ssl._files import atomic_path


class MetricsCSV(Logger):
    """One row for each logged step, columns as they turn up.

    Lightning's ``CSVLogger`` deletes the file of the run it resumes. This one keeps it, and drops the rows written
    after the checkpoint that the run resumes from, so that the file equals that of a run never interrupted.

    Args:
        path: The file.
        keep_steps: Keep the rows of an existing file up to this step; None starts a new file.
    """

    def __init__(self, path: Path, keep_steps: int | None = None) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, str]] = []
        if keep_steps is not None and path.exists():
            with path.open(newline="") as f:
                self.rows = [row for row in csv.DictReader(f) if int(row["step"]) <= keep_steps]

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
        with atomic_path(self.path) as partial, partial.open("w", newline="") as f:
            writer = csv.DictWriter(f, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()
