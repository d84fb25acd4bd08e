"""Several processes train one run: who starts them, what they do in turn, and what they agree on."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from importlib import import_module
from typing import Any, TypeVar

import torch
from lightning.pytorch.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from matgl_ssl.console import configure_logging
from matgl_ssl.devices import choose
from matgl_ssl.errors import ConfigError, MatGLSSLError, ProcessLostError
from matgl_ssl.losses import rank_and_world
from matgl_ssl.work import end_with

from .checkpoint_files import CheckpointFiles
from .config import RunConfig

logger = logging.getLogger(__name__)
T = TypeVar("T")

_runs = itertools.count()
_GRACE = 20.0
"""Seconds that the others have to end by themselves after a process of a run died."""


class Team:
    """The processes that train a run together: one a device.

    ``torchrun`` or ``srun`` may have started them. If not, the first one starts the others of its machine, which call
    the same function with the same arguments; so it works from a shell, a script and a notebook alike.

    Args:
        config: The run's configuration.

    Attributes:
        size: How many there are.
        rank: Which one this is.
        device: Where this one's part of a model lies before Lightning moves it.
        options: For Lightning's trainer.

    Raises:
        ConfigError: If there are no such devices, or somebody started another number of processes.
    """

    def __init__(self, config: RunConfig) -> None:
        devices = choose(config.accelerator, config.devices)
        self.options = devices.trainer_options(num_nodes=config.num_nodes)
        self.size, self.rank, self.local_rank = len(devices) * config.num_nodes, 0, 0
        self._local, self._cuda, self._starts = len(devices), devices.kind == "cuda", False
        self.device = devices.first
        self._environment: ClusterEnvironment = self.options["plugins"][0]
        self.options["plugins"].append(CheckpointFiles())
        if self.size == 1:
            return
        self.local_rank = self._environment.local_rank()
        if isinstance(self._environment, LightningEnvironment):
            self.rank, self._starts = self.local_rank, not self._environment.creates_processes_externally
            if config.num_nodes > 1:
                raise ConfigError(
                    "--num-nodes: start the same command on every machine with torchrun (--nnodes, --nproc-per-node), "
                    "or with srun (one task a device)."
                )
        else:
            self.rank = self._environment.global_rank()
        self.options["strategy"] = _Together(find_unused_parameters=True, broadcast_buffers=False)

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows messages."""
        return self.rank == 0

    @contextmanager
    def at_work(self, verb: Callable[..., Any], arguments: Mapping[str, Any]) -> Iterator[None]:
        """Have all processes in the block.

        Args:
            verb: The function that this process is in.
            arguments: Its keyword arguments.

        Raises:
            ProcessLostError: If one of them is no longer there.
            ConfigError: If the arguments cannot be handed to other processes.
        """
        if self.size == 1:
            yield
            return
        threads, messages = torch.get_num_threads(), logging.getLogger("matgl_ssl")
        level = messages.level
        torch.set_num_threads(max(1, threads // self._local))
        if not self.leads:
            messages.setLevel(logging.ERROR)
        try:
            with _others(self._environment, self._local, verb, arguments) if self._starts else nullcontext():
                self._join()
                try:
                    yield
                    distributed.barrier()
                except RuntimeError as err:
                    if isinstance(err, MatGLSSLError) or "gloo" not in str(err).lower():
                        raise
                    raise ProcessLostError(
                        "Another process of this run has ended. --resume continues from the last checkpoint."
                    ) from err
                finally:
                    distributed.destroy_process_group()
        finally:
            torch.set_num_threads(threads)
            messages.setLevel(level)

    def in_turn(self, make: Callable[[], T]) -> T:
        """What each process makes for itself: the first one before the others, which find its caches."""
        turn = 0 if self.leads else 1 if self.local_rank == 0 else 2
        for number in range(3 if self.size > 1 else 1):
            if number == turn:
                made = make()
            if self.size > 1:
                distributed.barrier()
        return made

    def first(self, make: Callable[[], T]) -> T:
        """What the first process makes, handed to all."""
        return everyones(make() if self.leads else None)[0]  # type: ignore[return-value]

    def _join(self) -> None:
        os.environ["MASTER_ADDR"] = self._environment.main_address
        os.environ["MASTER_PORT"] = str(self._environment.main_port)
        if self._cuda:
            torch.cuda.set_device(self.options["devices"][self.local_rank])
        store, *_ = next(rendezvous("env://", self.rank, self.size))
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if self._cuda else "gloo", rank=self.rank, world_size=self.size,
            store=PrefixStore(f"run {next(_runs)}", store),  # torchrun's store remembers the last run
            timeout=timedelta(days=7),  # the first one may compute targets for long; that one died is seen otherwise
        )  # fmt: skip


class _Together(DDPStrategy):
    """DDP among processes that are there already."""

    def _configure_launcher(self) -> None:
        self._launcher = None


def is_first() -> bool:
    """Whether this process is the only one, or the first of those that train or trained a run."""
    return not getattr(rank_zero_only, "rank", 0)


def everyones(value: T) -> list[T]:
    """A value of each process, in order of rank."""
    size = rank_and_world()[1]
    values: list[Any] = [value] * size
    if size > 1:
        distributed.all_gather_object(values, value)
    return values


class Largest:
    """The largest of each number over all processes, found while this one continues."""

    def __init__(self, *numbers: int) -> None:
        self._found = torch.tensor(numbers)
        together = rank_and_world()[1] > 1
        self._work = distributed.all_reduce(self._found, distributed.ReduceOp.MAX, async_op=True) if together else None

    def wait(self) -> list[int]:
        """The numbers."""
        if self._work is not None:
            self._work.wait()
        return [int(number) for number in self._found]


@contextmanager
def _others(
    environment: ClusterEnvironment, n: int, verb: Callable[..., Any], arguments: Mapping[str, Any]
) -> Iterator[None]:
    """The other processes of this machine; when one dies, all end."""
    try:
        payload = pickle.dumps((verb.__module__, verb.__name__, dict(arguments)))
    except Exception as err:
        raise ConfigError(
            f"The arguments cannot be handed to other processes ({err}). Give data and models as files, or start the "
            "script with torchrun."
        ) from err
    before = dict(os.environ)
    os.environ |= {
        "MASTER_ADDR": environment.main_address, "MASTER_PORT": str(environment.main_port), "WORLD_SIZE": str(n),
        "LOCAL_RANK": "0", "NODE_RANK": "0",
    }  # fmt: skip
    path = os.pathsep.join(filter(None, sys.path))
    shared = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", __name__]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, env={**shared, "LOCAL_RANK": str(rank)})
        for rank in range(1, n)
    ]
    ended = threading.Event()
    threading.Thread(target=_end_with, args=(children, ended), daemon=True).start()
    try:
        for child in children:
            assert child.stdin is not None  # noqa: S101 - it is a pipe
            with child.stdin:
                child.stdin.write(payload)
        yield
    finally:
        ended.set()
        for child in children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        os.environ.clear()
        os.environ |= before


def _end_with(children: list[subprocess.Popen[bytes]], ended: threading.Event) -> None:
    """End this process where another one died and nothing has told it so: it may wait for that one forever."""
    while not ended.wait(0.5):
        if any(child.poll() for child in children) and not ended.wait(_GRACE):
            logger.error("Another process of this run has ended. --resume continues from the last checkpoint.")
            for child in children:
                child.kill()
            os._exit(ProcessLostError.exit_code)


def main() -> int:
    """Be one of the other processes: do what the first one does."""
    end_with(os.getppid(), ProcessLostError.exit_code)
    module, verb, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
    configure_logging(logging.ERROR)
    try:
        getattr(import_module(module), verb)(**arguments)
    except MatGLSSLError as err:
        logger.debug("%s", err)  # the first process says it
        return err.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
