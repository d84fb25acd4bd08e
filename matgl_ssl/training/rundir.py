"""One run, one directory, always of the same shape."""

from __future__ import annotations

import glob
import json
import logging
import os
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from matgl_ssl._files import digest, write_text
from matgl_ssl.config import Config, plain_yaml
from matgl_ssl.encoders import ARCHITECTURES
from matgl_ssl.errors import BackendError, RunDirectoryError
from matgl_ssl.formats import Kind, header, signed, upgrade, verified

from .checkpoint_files import read_checkpoint
from .config import RunConfig
from .environment import changes, environment
from .exclusive import LOCK

logger = logging.getLogger(__name__)

_FREE_ON_RESUME = {
    "num_workers",
    "cluster",
    "checkpoint_minutes",
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "acceleration",
    "allow_changed_environment",
}
"""Options that change how a run is computed, not what it computes."""

_KNOWN_BY_CONTENT = {
    "data": "data",
    "exclude_formulas_of": "data",
    "teacher": "data",  # its labels are part of them
    "val_data": "validation data",
    "test_data": "test data",
    "init_from": "init_from",
    "model": "model",
    "node_embedding_from": "frozen encoder",
}
"""Options that name something, and the fact (``facts.json``) that tells whether that is the same under any name."""


class RunDirectory:
    """``config.yaml``, ``metrics.csv``, ``environment.json``, ``checkpoints/``, ``figures/``, and the exports.

    Args:
        path: The directory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoints" / "last.ckpt"
        self.previous_checkpoint = self.checkpoint.with_name("previous.ckpt")
        self.metrics = self.path / "metrics.csv"
        self.incidents = self.path / "incidents"
        self.figures = self.path / "figures"

    def refuse_if_used(self) -> None:
        """Never write over another run.

        Raises:
            RunDirectoryError: If the directory holds anything but what a run leaves that was killed before it began.
        """
        if self.path.exists() and (not self.path.is_dir() or any(map(self._is_used, self.path.iterdir()))):
            raise RunDirectoryError(
                f"{self.path} is not empty. Give another --out, or --resume to continue the run in it."
            )

    def _is_used(self, file: Path) -> bool:
        if file in (self.checkpoint.parent, self.figures) and file.is_dir():
            return any(file.iterdir())
        return file.name != LOCK and not (file.name.startswith(".config.yaml.") and file.suffix == ".tmp")

    def start(self, config: Config) -> None:
        """Make the directory of a new run."""
        self.refuse_if_used()
        for folder in (self.path, self.checkpoint.parent, self.figures):
            folder.mkdir(parents=True, exist_ok=True)
        self._write_record(config, environment())

    def resume(self, config: RunConfig) -> Path | None:
        """Check that the run in the directory is this one, and that it would be computed with the same packages.

        Returns:
            The checkpoint to resume from; None if the run was stopped before its first one.

        Raises:
            RunDirectoryError: If there is no run, or an option or a package differs.
            BackendError: If the run belongs to the other backend.
        """
        started = self.checkpoint.exists()
        known = self._read_json("facts") if started else set(_KNOWN_BY_CONTENT.values())
        self._refuse_others(self.stored_config(), config, known, "there", "here")
        if not started:
            self._write_record(config, environment())
            return None
        self._refuse_changed_environment(config)
        return self._intact_checkpoint()

    def _intact_checkpoint(self) -> Path:
        try:
            read_checkpoint(self.checkpoint)
        except RunDirectoryError as err:
            if not self.previous_checkpoint.exists():
                raise
            read_checkpoint(self.previous_checkpoint)
            logger.warning("%s Resuming from the checkpoint before it, %s.", err, self.previous_checkpoint)
            return self.previous_checkpoint
        return self.checkpoint

    def stored_config(self) -> dict[str, Any]:
        """The configuration of the run in the directory; relative paths are from where the run was started.

        Raises:
            RunDirectoryError: If there is none, or it is not what was written.
        """
        path = self.path / "config.yaml"
        if not path.exists():
            raise RunDirectoryError(f"There is no run to resume in {self.path} (no config.yaml). Leave out --resume.")
        stored = verified("config", plain_yaml(path.read_text(encoding="utf-8", errors="replace"), path), path)
        record, own = self._read_json("environment"), _digest(stored)
        if record.get("config", own) != own:
            raise RunDirectoryError(
                f"{path} and environment.json beside it belong to two runs. Put the files of this run back."
            )
        folders = record.get("started_in", {})
        stored.pop("cluster", None)  # whoever answers there sends pickles: only the user may name it, each time
        roots = [self.path / folders[name] for name in ("from_run", "folder") if name in folders]
        for name in _KNOWN_BY_CONTENT.keys() & stored.keys():
            stored[name] = _found(stored[name], roots)
        return stored

    def identity(self, config: RunConfig, facts: Mapping[str, str]) -> dict[str, Any]:
        """What a checkpoint says of the run that it belongs to."""
        options = {k: v for k, v in config.model_dump(mode="json").items() if k not in _FREE_ON_RESUME}
        return {"config": {**header("config"), **options}, "facts": dict(facts)}

    def write_facts(self, facts: Mapping[str, str]) -> None:
        """Write down what tells whether a resumed run sees the same data and starts from the same weights."""
        self.write_json("facts.json", signed("facts", facts))

    def load_checkpoint(self, path: Path, config: RunConfig, facts: Mapping[str, str]) -> dict[str, Any]:
        """Read a checkpoint of the run, and check that it, the data and the configuration belong together.

        Args:
            path: The checkpoint, as ``resume`` gave it.
            config: The run's configuration.
            facts: What is to be trained on, and from which weights, now.

        Raises:
            RunDirectoryError: If they do not, or the checkpoint cannot be read.
        """
        self._refuse_other_facts(self._read_json("facts"), facts, config)
        checkpoint = read_checkpoint(path)
        if "matgl_ssl" not in checkpoint:
            raise RunDirectoryError(f"{path} is no checkpoint of matgl_ssl.")
        own = upgrade("checkpoint", checkpoint["matgl_ssl"], path)
        if run := own.get("run"):  # version 0.1 did not say
            stored = upgrade("config", run["config"], path)
            self._refuse_others(stored, config, run["facts"], f"in {path}", "in config.yaml")
            self._refuse_other_facts(run["facts"], facts, config)
        record = self._read_json("environment")
        if record and any(
            config.model_dump()[k] != v for k, v in self.stored_config().items() if k in _KNOWN_BY_CONTENT
        ):
            self._write_record(config, record)  # where things lie now, for the next time
        return checkpoint

    def write_text(self, name: str, text: str) -> None:
        """Write a file in one move."""
        write_text(self.path / name, text)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file in one move."""
        self.write_text(name, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def _read_json(self, kind: Kind) -> dict[str, Any]:
        path = self.path / f"{kind}.json"
        try:
            return verified(kind, json.loads(path.read_text(encoding="utf-8")), path)
        except FileNotFoundError:  # killed before it was written
            return {}
        except ValueError as err:
            if isinstance(err, RunDirectoryError):
                raise
            raise RunDirectoryError(f"{path} is damaged: {err}") from err

    def _refuse_others(
        self, stored: dict[str, Any], config: RunConfig, facts: Container[str], there: str, here: str
    ) -> None:
        """Refuse another configuration; a field that the stored one lacks has its default."""
        free = _FREE_ON_RESUME | {name for name, fact in _KNOWN_BY_CONTENT.items() if fact in facts}
        before, now = (c.model_dump(mode="json") for c in (type(config).build(stored), config))
        if ARCHITECTURES.keys() & {before["model"], now["model"]}:  # a new model is known by its name alone
            free -= {"model"}
        differing = sorted(k for k in now.keys() - free if before[k] != now[k])
        if differing:
            k = differing[0]
            raise RunDirectoryError(
                f"--resume continues the same run, but {', '.join(differing)} differ ({k}: {before[k]!r} {there}, "
                f"{now[k]!r} {here}). Put it back, or start another run with {config.weights_option} {self.path}."
            )

    def _refuse_other_facts(self, stored: Mapping[str, str], facts: Mapping[str, str], config: RunConfig) -> None:
        for name, now in facts.items():
            if stored.get(name, now) != now:
                raise RunDirectoryError(
                    f"--resume: the {name} changed since the run in {self.path} was started. Put it back, or start "
                    f"another run with {config.weights_option} {self.path}."
                )

    def _refuse_changed_environment(self, config: RunConfig) -> None:
        record, now = self._read_json("environment"), environment()
        if not record:
            return
        changed = changes([record, *record.get("resumed", [])][-1], now)
        if "backend" in changed:
            raise BackendError(
                f"The run in {self.path} was computed on {record['backend'].upper()}, where its weights mean something "
                f"else than on {now['backend'].upper()}. Resume it there."
            )
        if changed and not config.allow_changed_environment:
            packages = " ".join(f"{name}=={then}" for name, (then, _) in changed.items() if name != "Python")
            raise RunDirectoryError(
                f"--resume is exact, but {', '.join(f'{k} was {a} and is {b}' for k, (a, b) in changed.items())}"
                f" since the run in {self.path} was stopped. Install what it was computed with (pip install "
                f"{packages or 'under that Python'}), or continue in this environment with --allow-changed-environment."
            )
        if changed:
            step = {"resumed_at": datetime.now(UTC).isoformat(timespec="seconds"), **now}
            self._keep_environment({**record, "resumed": [*record.get("resumed", []), step]})

    def _write_record(self, config: Config, now: Mapping[str, Any]) -> None:
        """Write down what is run, where, and with what."""
        options = config.model_dump(mode="json", exclude={"allow_changed_environment"})  # that is said each time
        content = signed("config", options)
        self.write_text("config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        here = Path.cwd()
        started_in = {"folder": str(here), "from_run": os.path.relpath(here, self.path.resolve())}
        self._keep_environment({**now, "config": _digest(content), "started_in": started_in})

    def _keep_environment(self, record: Mapping[str, Any]) -> None:
        self.write_json("environment.json", signed("environment", record))


def _digest(config: Mapping[str, Any]) -> str:
    """Of the options that a run keeps for good."""
    others = {"format", "written_by", "digest", *_FREE_ON_RESUME, *_KNOWN_BY_CONTENT}
    return digest([json.dumps({name: config[name] for name in sorted(config.keys() - others)}, default=str)], 16)


def _found(source: Any, roots: list[Path]) -> Any:
    """A relative path where it leads to something from one of the folders; else the source as it is."""
    if not isinstance(source, str) or not source or source in ARCHITECTURES or Path(source).is_absolute():
        return source
    for root in roots:
        if glob.glob(str(root / source)) or (root / source).exists():  # noqa: PTH207 - may be a pattern itself
            return source if root.resolve() == Path.cwd() else str(root / source)
    return source
