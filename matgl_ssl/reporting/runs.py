"""A run's directory, read: what it was, how it went, and what it left."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from matgl_ssl.config import plain_yaml, read_yaml
from matgl_ssl.errors import RunDirectoryError
from matgl_ssl.formats import Kind, verified

from .crystals import read_kept

What = Literal["pretraining", "fine-tuning", "fit"]

_ABOUT_THE_FILE = {"format", "written_by", "digest", "labels"}


@dataclass(frozen=True, eq=False)
class Run:
    """A run's directory.

    Attributes:
        path: The directory.
        what: What made it.
        config: Its options.
    """

    path: Path
    what: What
    config: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> Run:
        """Read a directory.

        Raises:
            RunDirectoryError: If no run left it, or a file of it was changed.
        """
        root = Path(path)
        if (root / "fit.yaml").exists():
            return cls(root, "fit", read_yaml(root / "fit.yaml"))
        file = root / "config.yaml"
        if not file.exists():
            raise RunDirectoryError(
                f"{root} is no directory of a run: neither config.yaml nor fit.yaml is in it. Name what --out was for "
                "pretrain, finetune or fit."
            )
        config = verified("config", plain_yaml(file.read_text(encoding="utf-8", errors="replace"), file), file)
        return cls(root, "fine-tuning" if config.get("target") else "pretraining", config)

    @property
    def options(self) -> dict[str, Any]:
        """The options without what the file says of itself."""
        return {name: value for name, value in self.config.items() if name not in _ABOUT_THE_FILE}

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        left = {"pretraining": "encoder", "fine-tuning": "metrics.json", "fit": "ensemble.json"}
        return (self.path / left[self.what]).exists()

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """A row an epoch: what was measured at its end, by column of ``metrics.csv``; ``epoch`` counts from 1."""
        path = self.path / "metrics.csv"
        if not path.exists():
            return pd.DataFrame({"epoch": []})
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get("train_loss")]
        frame = pd.DataFrame(rows).apply(pd.to_numeric, errors="coerce") if rows else pd.DataFrame({"epoch": []})
        return frame.assign(epoch=frame["epoch"] + 1).dropna(axis="columns", how="all")

    @cached_property
    def facts(self) -> dict[str, str]:
        """Fingerprints of data and weights."""
        if self.what == "fit":
            labels = self.config.get("labels", {})
            return {f"labels of {name}": str(value) for name, value in labels.items()}
        return {name: str(value) for name, value in self._json("facts").items()}

    @cached_property
    def environment(self) -> dict[str, str]:
        """Versions of what it was computed with."""
        record = self._json("environment")
        about = {name: record[name] for name in ("python", "machine", "backend") if name in record}
        return {name: str(value) for name, value in {**about, **record.get("packages", {})}.items()}

    @cached_property
    def skipped(self) -> dict[str, Any]:
        """How many crystals there were, how many were kept, and why the others were not."""
        return self._loaded("skipped.json")

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Of a fine-tuning: scores of each part."""
        return self._loaded("metrics.json")

    @cached_property
    def targets(self) -> list[dict[str, Any]]:
        """Of a fit: what its manifest says of each target."""
        return list(self._json("ensemble").get("targets", []))

    @cached_property
    def crystals(self) -> pd.DataFrame | None:
        """The crystals that it kept for its report."""
        return read_kept(self.path)

    @cached_property
    def unit(self) -> str:
        """Of a fine-tuning: the unit of its target; empty if it is not known."""
        stamp = self.path / "model" / "model.json"
        if not stamp.exists():
            return str(self.config.get("unit") or "")
        target = json.loads(stamp.read_text(encoding="utf-8"))["metadata"]["matgl_ssl"].get("target") or {}
        return str(target.get("unit") or "")

    def _json(self, kind: Kind) -> Mapping[str, Any]:
        content = self._loaded(f"{kind}.json")
        return verified(kind, content, self.path / f"{kind}.json") if content else {}

    def _loaded(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except ValueError as err:
            raise RunDirectoryError(f"{path} is damaged: {err}") from err
