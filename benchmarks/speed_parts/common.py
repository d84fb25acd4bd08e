"""What the parts share: the crystals, the machine, timing in turn, processes of their own, result files."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from matgl_ssl.backends import CrystalBatch
from matgl_ssl.crystals import CrystalDataset, read_crystals

BENCHMARKS = Path(__file__).parents[1]
RESULTS = BENCHMARKS / "results" / "speed"
IDS = RESULTS / "crystals.txt"
LABEL = "formation_energy_per_atom"
MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        results: Folder of the result files.
        quick: The smallest size at which every line of a part runs; its numbers mean nothing.
        again: Measure cases anew that have a row already.
        device: ``"cpu"`` or ``"cuda"``.
    """

    results: Path = RESULTS
    quick: bool = False
    again: bool = False
    device: str = "cpu"

    @property
    def threads(self) -> tuple[int, ...]:
        """Numbers of CPU threads to measure with."""
        return (1,) if self.quick or self.device != "cpu" else (1, 2)


def drawn(n: int = 512) -> CrystalDataset:
    """The first ``n`` of the 512 crystals: rows of ``mp37k/train.parquet`` of at most 20 atoms, drawn with seed 0."""
    crystals = read_crystals(Path(os.environ["MATGL_SSL_DATA"]) / "mp37k" / "train.parquet", columns=[LABEL])
    small = np.flatnonzero(crystals.sizes() <= 20)
    crystals = crystals.select(np.sort(np.random.default_rng(0).choice(small, 512, replace=False)))
    assert IDS.read_text().split() == crystals.ids, f"not the crystals of {IDS.name}"
    return crystals.select(range(n))


def fresh(value: Any, seen: dict[int, torch.Tensor] | None = None) -> Any:
    """A copy of batches without what earlier passes kept on their tensors; what shares a tensor still does."""
    seen = {} if seen is None else seen
    if isinstance(value, torch.Tensor):
        return seen.setdefault(id(value), value.clone())
    if isinstance(value, CrystalBatch):
        return CrystalBatch(**fresh(vars(value), seen))
    if isinstance(value, dict):
        return {k: fresh(v, seen) for k, v in value.items()}
    return type(value)(fresh(v, seen) for v in value) if isinstance(value, list | tuple) else value


@contextmanager
def n_threads(n: int) -> Iterator[None]:
    """So many threads in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """Wall time of a call, what it left to do on the device included."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turn(measure: dict[str, Callable[[int], float]], *, pairs: int, warmup: int = 1) -> dict[str, list[float]]:
    """Measure several things in turn, in reverse order every other time.

    Args:
        measure: Functions under their names, from the number of the round to the seconds it took.
        pairs: Rounds that count.
        warmup: Rounds before those.
    """
    found: dict[str, list[float]] = {name: [0.0] * pairs for name in measure}
    for i in range(-warmup, pairs):
        for name in list(measure)[:: -1 if i % 2 else 1]:
            taken = measure[name](max(i, 0))
            if i >= 0:
                found[name][i] = taken
    return found


def paired(found: dict[str, list[float]], first: str, second: str) -> dict[str, Any]:
    """Median milliseconds of both, and median and quartiles of first over second, pair by pair."""
    a, b = found[first], found[second]
    ratios = np.asarray(a) / np.asarray(b)
    return {
        f"{first}_ms": round(1e3 * float(np.median(a)), 2),
        f"{second}_ms": round(1e3 * float(np.median(b)), 2),
        "ratio": round(float(np.median(ratios)), 3),
        "quartiles": [round(float(q), 3) for q in np.quantile(ratios, [0.25, 0.75])],
        "pairs": len(ratios),
    }


@dataclass
class Observed:
    """What a process of its own returned, and the anonymous memory of it and its workers meanwhile.

    Attributes:
        value: What the function returned.
        samples: Monotonic time, and MiB.
    """

    value: Any = None
    samples: list[tuple[float, float]] = field(default_factory=list)

    def peak(self, start: float = 0.0, stop: float = float("inf")) -> float:
        """Largest of the samples within an interval of the monotonic clock, in MiB."""
        return max((mib for t, mib in self.samples if start <= t <= stop), default=float("nan"))


def in_a_process(
    function: Callable[..., Any],
    /,
    *,
    threads: int = 1,
    every: float = 0.02,
    env: dict[str, str] | None = None,
    **kw: Any,
) -> Observed:
    """Call a function of one of the parts in a fresh process, and watch its memory.

    Args:
        function: A module's function; arguments and value go through JSON.
        threads: ``OMP_NUM_THREADS``.
        every: Seconds between samples of the memory.
        env: Further environment variables.
        **kw: The arguments.

    Raises:
        RuntimeError: If it failed, with the end of what it wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "out.json", Path(folder) / "log"
        code = (
            f"import json, sys; from pathlib import Path; from {function.__module__} import {function.__name__} as f; "
            "Path(sys.argv[2]).write_text(json.dumps(f(**json.loads(sys.argv[1]))))"
        )
        path = os.pathsep.join(filter(None, [str(BENCHMARKS), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path, **(env or {})}
        observed = Observed()
        with log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, json.dumps(kw), str(out)],
                stdout=stream, stderr=subprocess.STDOUT, env=environment,
            )  # fmt: skip
            while process.poll() is None:
                observed.samples.append((time.monotonic(), anonymous_mib(process.pid)))
                time.sleep(every)
        if process.returncode:
            raise RuntimeError(f"{function.__name__}({kw}) failed:\n{log.read_text()[-3000:]}")
        observed.value = json.loads(out.read_text())
    return observed


def anonymous_mib(pid: int) -> float:
    """RssAnon of a process and all its descendants."""
    total, todo = 0, [pid]
    while todo:
        here = Path("/proc") / str(todo.pop())
        try:
            status = (here / "status").read_text()
            for task in (here / "task").iterdir():  # a DataLoader may fork from any thread
                todo += map(int, (task / "children").read_text().split())
        except OSError:  # it ended meanwhile
            continue
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)
    return total / 1024


class Results:
    """A part's rows, written after each case, so that an interrupted part goes on with the next.

    Args:
        part: Name of the part.
        settings: How it is measured.
    """

    def __init__(self, part: str, settings: Settings) -> None:
        self.path = settings.results / f"{part}{'' if settings.device == 'cpu' else f'-{settings.device}'}.json"
        self.machine = machine(settings.device)
        self.rows: dict[str, Any] = {}
        if self.path.exists() and not settings.again:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            self.rows = stored["rows"] if stored["machine"] == self.machine else {}

    def measure(self, case: str, work: Callable[[], dict[str, Any]]) -> None:
        """Add the row of a case, unless it is there."""
        if case in self.rows:
            return
        load = os.getloadavg()[0]
        self.rows[case] = {**work(), "commit": commit(), "load_before": round(load, 2)}
        print(case, json.dumps(self.rows[case], ensure_ascii=False), flush=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        text = json.dumps({"machine": self.machine, "rows": self.rows}, indent=1, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(self.path)


def machine(device: str) -> dict[str, Any]:
    """What is measured on."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_GiB": round(memory, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "matgl", "lightning", "datasets")},
    }
    return found if device == "cpu" else {**found, "device": torch.cuda.get_device_name()}


def commit() -> str:
    """The commit that is measured, with a + if the package differs from it."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=BENCHMARKS, capture_output=True, text=True, check=False)

    return (
        git("rev-parse", "--short", "HEAD").stdout.strip()
        + "+" * git("diff", "--quiet", "HEAD", "../matgl_ssl").returncode
    )
