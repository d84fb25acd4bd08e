"""Work that is not training, shared by processes of this machine (joblib's loky) or of a Dask cluster."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from itertools import chain
from types import FrameType
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from matgl_ssl.errors import ConfigError, MatGLSSLError
from matgl_ssl.progress import track

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_CONNECT_SECONDS = 20
_MAX_DEATHS = 3
"""Of processes in a row, without a result between them."""


def parallel(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    n_jobs: int = 1,
    cluster: str | None = None,
    in_order: bool = True,
    what: str = "",
    total: int | None = None,
) -> Iterator[Result]:
    """Apply a function to items, by one process or many.

    A process that is killed takes nothing with it: what it was at is done again by another. Whatever ends the iteration
    early, Ctrl-C and SIGTERM among it, ends this machine's processes, too.

    Args:
        function: A pure function; for several processes one that can be pickled.
        items: What it is applied to; asked for as processes become free.
        n_jobs: Processes on this machine, of one thread each; with one, this process does the work.
        cluster: Address of a Dask scheduler (``tcp://host:8786``), whose workers do the work instead.
        in_order: Whether results come in the order of the items, or as soon as they are there.
        what: Name of the work where progress is shown; without it none is shown.
        total: Number of items, from which the time left follows.

    Yields:
        The result of each item, once.

    Raises:
        ConfigError: If the cluster cannot be reached, or the extra ``[cluster]`` is not installed.
        MatGLSSLError: If processes keep dying.
    """
    if cluster is None and n_jobs <= 1:
        yield from track(map(function, items), what, total)
        return
    at_work, parent = (_dask(cluster), None) if cluster else (_loky(n_jobs), os.getpid())
    with at_work, closing(_whatever_dies(function, items, parent)) as results:
        yield from track(_sorted(results) if in_order else (result for _, result in results), what, total)


def _whatever_dies(
    function: Callable[[Item], Result], items: Iterable[Item], parent: int | None
) -> Generator[tuple[int, Result]]:
    """Numbered results as they come. Loky gives up when a process dies; then what it was at is begun again."""
    numbered, pending = enumerate(items), dict[int, Item]()
    deaths = 0

    def handed_out() -> Iterator[Any]:
        for i, item in chain(list(pending.items()), numbered):
            pending[i] = item
            yield delayed(_numbered)(function, i, item, parent)

    while True:
        try:
            with closing(Parallel(return_as="generator_unordered", batch_size=1)(handed_out())) as results:
                for i, result in results:
                    del pending[i]
                    deaths = 0
                    yield i, result
            return
        except TerminatedWorkerError as err:
            deaths += 1
            if deaths == _MAX_DEATHS:
                raise MatGLSSLError(
                    "Worker processes keep being killed, most often because memory is short. Use fewer of them."
                ) from err
            logger.warning("A worker process was killed; its work is done again.")


def _numbered(function: Callable[[Item], Result], i: int, item: Item, parent: int | None) -> tuple[int, Result]:
    if parent is not None:
        end_with(parent)
    with parallel_config("sequential"):  # what uses joblib inside would ask the cluster, and let others in meanwhile
        return i, function(item)


@cache
def end_with(parent: int, exit_code: int = 1) -> None:
    """End this process within a second of its parent's end: killed with -9, that one cannot tell its processes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(exit_code)

    threading.Thread(target=watch, daemon=True).start()


def _sorted(results: Iterator[tuple[int, Result]]) -> Iterator[Result]:
    early: dict[int, Result] = {}
    following = 0
    for i, result in results:
        early[i] = result
        while following in early:
            yield early.pop(following)
            following += 1


@contextmanager
def _loky(n_jobs: int) -> Iterator[None]:
    """Processes of this machine, which are gone afterwards."""
    with _terminable(), parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1):
        try:
            yield
        finally:
            get_reusable_executor().shutdown(wait=True, kill_workers=True)


@contextmanager
def _dask(address: str) -> Iterator[None]:
    """The workers of a cluster, which stay."""
    try:
        from distributed import Client
    except ImportError as err:
        raise ConfigError("A Dask cluster needs the extra [cluster]: pip install 'matgl_ssl[cluster]'.") from err
    try:
        client = Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as err:
        raise ConfigError(f"No Dask scheduler answers at {address}: {err}. Start one with `dask scheduler`.") from err
    with client, _terminable(), parallel_config("dask", client=client, n_jobs=-1, wait_for_workers_timeout=60):
        yield


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack, as Ctrl-C does, where nobody else listens to it."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
