"""Run a benchmark: all its cells, by one process or several, again and again until they are finished."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack
from uuid import uuid4

from pydantic import Field

from matgl_ssl.boundary import verb
from matgl_ssl.config import Config
from matgl_ssl.console import configure_logging
from matgl_ssl.devices import one_thread
from matgl_ssl.errors import ConfigError
from matgl_ssl.progress import Every, bar, duration
from matgl_ssl.training.options import with_options
from matgl_ssl.work import parallel

from .config import BenchmarkConfig, LeakRule, read_benchmark
from .plan import Cell, Plan
from .predictions import write_predictions
from .report import scores_of, write_report, write_scores
from .runner import Runner
from .schedule import seconds_left, work
from .statistics import Score
from .store import Kept, Store, Unit
from .tasks import data_root

if TYPE_CHECKING:
    from matgl_ssl.options import BenchmarkKeywords

logger = logging.getLogger(__name__)

UNITS = "units.jsonl.xz"
"""All that is finished but the encoders, in the folder of the tables: with it a benchmark goes on on any machine."""


class BenchmarkOptions(Config):
    """Options of ``benchmark`` beside its file."""

    SECTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "what to run": ("only", "leak_rule", "rerun_stale", "report_only"),
        "where": ("out", "runs"),
        "processes": ("jobs", "cluster"),
    }
    DEFAULTS: ClassVar[Mapping[str, str]] = {
        "out": "results/NAME beside NAME.yaml",
        "only": "all",
        "leak_rule": "that of the file",
        "cluster": "none",
    }

    out: str | None = Field(None, description="folder for the tables")
    runs: str = Field("runs/benchmark", description="folder for finished runs and pretrained encoders")
    only: dict[str, Any] = Field(
        default_factory=dict,
        description="run only the cells with these values, for example {task: phonons, n_labels: [100]}",
    )
    jobs: int = Field(1, ge=1, description="number of processes, one thread each")
    leak_rule: LeakRule | None = Field(None, description="what of the test crystals pretraining must not see")
    cluster: str | None = Field(
        None,
        description="address of a Dask scheduler (tcp://host:8786) whose workers do the work; they must reach --runs",
    )
    rerun_stale: bool = Field(False, description="compute again what an older version of the code published")
    report_only: bool = Field(False, description="run nothing; write the tables of finished runs")


@dataclass(frozen=True)
class BenchmarkResult:
    """What ``benchmark`` leaves behind.

    Attributes:
        out: The folder of ``scores.csv``, ``table.md``, ``report.html``, the figures, and ``units.jsonl.xz``.
        scores: The finished cells that fine-tuned (and the baselines' beside them).
        unfinished: Cells that were asked for and are not finished: they failed, or only a report was asked for.
    """

    out: Path
    scores: list[Score]
    unfinished: list[Cell]


@with_options(BenchmarkOptions)
@verb
def benchmark(
    *, config: str | Path | dict[str, Any], data: str | Path | None = None, **options: Unpack[BenchmarkKeywords]
) -> BenchmarkResult:
    """Run a benchmark, or continue it, and write its tables.

    Finished cells are kept under ``runs``, under the hash of everything that determines them: a benchmark that was
    stopped in whatever way goes on where it was, and any number of processes may work on the same one. All but the
    encoders also lies in ``units.jsonl.xz`` beside the tables: without ``runs``, only what unfinished cells need is
    done again. What was published beside the file counts wherever the tables go.

    Args:
        config: YAML file (see ``read_benchmark``), or its content (see ``BenchmarkConfig``).
        data: The folder that the file's data are named from; by default ``MATGL_SSL_DATA``.
        **options: The fields of ``BenchmarkOptions``.

    Returns:
        The scores, and where the tables are.

    Raises:
        MatGLSSLError: One of ``matgl_ssl.errors``, naming the fix.
    """
    settings, out, study, plan, wanted = _planned(config, data, options)
    if not settings.report_only:
        with _Progress(plan, settings, out) as progress:
            _run(study, plan, settings, progress)
    write_scores(plan, out)
    plan.store.archive(plan.published(), out / UNITS)
    write_predictions(plan, out)
    title = "Benchmark" if isinstance(config, dict) else f"Benchmark {Path(config).stem}"
    write_report(plan, out, title)
    unfinished = [cell for cell in wanted if cell.unit and plan.store.get(cell.unit) is None]
    return BenchmarkResult(out, scores_of(plan, "fine-tune"), unfinished)


@dataclass(frozen=True)
class BenchmarkPlan:
    """What ``benchmark`` would run.

    Attributes:
        runs: Number of runs, each of one method on one task with one number of labels and one seed.
        finished: Number of those that are finished.
        unfinished: Number of unfinished pieces of work of each kind: runs, pretrainings, searches, and others.
        seconds_left: Estimate from finished pieces of the same kind; None while there are none.
        out: Folder for the tables.
    """

    runs: int
    finished: int
    unfinished: dict[str, int]
    seconds_left: float | None
    out: Path

    def __str__(self) -> str:
        parts = ", ".join(f"{n:,} {kind}" for kind, n in self.unfinished.items()) or "nothing"
        time = "unknown until a piece of each kind is finished"
        if self.seconds_left is not None:
            time = f"about {duration(self.seconds_left)}"
        return (
            f"runs      {self.runs:,}, of which {self.finished:,} are finished\nleft      {parts}\ntime      {time}\n"
            f"writes    {self.out}\nDry run: nothing was run. Without --dry-run, benchmark starts."
        )


@verb
def plan_benchmark(
    config: str | Path | dict[str, Any], *, data: str | Path | None = None, **options: Any
) -> BenchmarkPlan:
    """What ``benchmark`` would run with these arguments.

    Args:
        config: As for ``benchmark``.
        data: Likewise.
        **options: Likewise.

    Raises:
        MatGLSSLError: As ``benchmark``.
    """
    settings, out, _, plan, _ = _planned(config, data, options)
    units = plan.units(settings.only)
    left = Counter(unit.kind for unit in units if plan.store.get(unit) is None)
    cells = [unit for unit in units if unit.kind == "cell"]
    names = {"runs" if kind == "cell" else kind: n for kind, n in left.items()}
    finished = len(cells) - left["cell"]
    return BenchmarkPlan(len(cells), finished, names, seconds_left(units, plan.store, settings.jobs), out)


def _planned(
    config: str | Path | dict[str, Any], data: str | Path | None, options: Mapping[str, Any]
) -> tuple[BenchmarkOptions, Path, _Study, Plan, list[Cell]]:
    """The options, the folder of the tables, the study with its plan, and the runs that are wanted."""
    settings = BenchmarkOptions.build({k: str(v) if isinstance(v, Path) else v for k, v in options.items()})
    content = config if isinstance(config, dict) else read_benchmark(config)
    content = {**content, **({"leak_rule": settings.leak_rule} if settings.leak_rule else {})}
    out, archives = _out(config, settings)
    root = data_root(data)
    stale: Kept = "all" if settings.report_only else "none" if settings.rerun_stale else "published"
    study = _Study(content, root.resolve(), Path(settings.runs).resolve(), archives, settings.only, stale)
    plan = study.plan()
    unknown = sorted(settings.only.keys() - set(Cell._fields[:-1]))
    if unknown:
        raise ConfigError(f"--only takes {', '.join(Cell._fields[:-1])}, not {', '.join(unknown)}.")
    wanted = [cell for cell in plan.cells if cell.unit and cell.matches(settings.only)]
    if not wanted:
        raise ConfigError(f"No run of the benchmark has {settings.only}.")
    return settings, out, study, plan, wanted


def _out(config: str | Path | dict[str, Any], settings: BenchmarkOptions) -> tuple[Path, list[Path]]:
    """The folder of the tables, and the archives whose units are finished."""
    folders = [Path(settings.out)] if settings.out else []
    if not isinstance(config, dict):
        folders.append(Path(config).parent / "results" / Path(config).stem)
    if not folders:
        raise ConfigError("A benchmark that is given as a mapping needs out=, a folder for its tables.")
    before = (UNITS.removesuffix(".xz"), UNITS)  # 0.2 wrote it as it is
    return folders[0], [folder / name for folder in reversed(folders) for name in before]


@dataclass(frozen=True)
class _Study:
    """What a process needs to know to take part."""

    content: dict[str, Any]
    root: Path
    runs: Path
    archives: list[Path]
    only: dict[str, Any]
    stale: Kept
    token: str = field(default_factory=lambda: uuid4().hex)

    def plan(self) -> Plan:
        config = BenchmarkConfig.build(self.content)
        store = Store(self.runs / "units", *self.archives, stale=self.stale)
        return Plan(Runner(config, self.root, self.runs / "pretrained"), store)

    def work(self, plan: Plan) -> Iterator[Unit]:
        return work(plan.units(self.only), plan.store)


_ALONE = Lock()
"""Weights are drawn from generators that all threads share: of a Dask worker's threads one works at a time."""
_AT_WORK: dict[str, Iterator[Unit]] = {}
"""What this process does for studies, by token: plans, tasks and graphs stay from unit to unit."""


def _one_more(study: _Study, _: Any) -> str | None:
    """Finish a unit of a study; its name, or None if nothing is left to do."""
    with _ALONE:
        if study.token not in _AT_WORK:
            configure_logging(logging.WARNING)
            _AT_WORK[study.token] = study.work(study.plan())
        with one_thread():
            unit = next(_AT_WORK[study.token], None)
    return unit.name if unit else None


def _run(study: _Study, plan: Plan, settings: BenchmarkOptions, progress: _Progress) -> None:
    """Finish what is wanted, here or by processes of their own."""
    if settings.jobs == 1 and settings.cluster is None:
        _AT_WORK[study.token] = study.work(plan)
    done = False
    asked = iter(lambda: done, True)
    try:
        for name in parallel(
            partial(_one_more, study), asked, n_jobs=settings.jobs, cluster=settings.cluster, in_order=False
        ):
            done = done or name is None
            progress.look(name)
    finally:
        _AT_WORK.pop(study.token, None)


class _Progress:
    """Cells finished, time left, and a CSV that is never far behind."""

    def __init__(self, plan: Plan, settings: BenchmarkOptions, out: Path) -> None:
        self.plan, self.jobs, self.out = plan, settings.jobs, out
        self.units = plan.units(settings.only)
        self.by_name = {unit.name: unit for unit in self.units}
        self.cells = [unit for unit in self.units if unit.kind == "cell"]
        self.n = len(self._done())

    def __enter__(self) -> Self:
        self.terminal, self.due = sys.stderr.isatty(), Every()
        form = "{n_fmt} of {total_fmt} runs |{bar}| {elapsed}{postfix}"  # times differ too much for the usual estimate
        self.bar: Any = bar("runs" if self.terminal else "", len(self.cells), initial=self.n, bar_format=form)
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def _done(self) -> list[Unit]:
        return [unit for unit in self.cells if self.plan.store.get(unit)]

    def look(self, name: str | None) -> None:
        """See what is finished, by this process and others."""
        unit = self.by_name.get(name or "")
        if unit and unit.kind != "cell" and (found := self.plan.store.get(unit)):
            logger.info("%s: %.0f s", unit.label, found["seconds"])
        done = self._done()
        if len(done) == self.n:
            return
        self.bar.update(len(done) - self.n)
        self.n = len(done)
        seconds = seconds_left(self.units, self.plan.store, self.jobs)
        left = "time left unknown" if seconds is None else f"about {duration(seconds)} left"
        self.bar.set_postfix_str(left)
        if not self.terminal and (self.due() or self.n == len(self.cells)):
            score = f"; {unit.label} has MAE {self.plan.store.result(unit)['mae']:.4g}" if unit and unit in done else ""
            logger.info("%d of %d runs are done, %s%s", self.n, len(self.cells), left, score)
        write_scores(self.plan, self.out)
        self.plan.store.archive(self.plan.published(), self.out / UNITS)
