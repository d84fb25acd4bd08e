"""Where models run: the one place that turns ``accelerator`` and ``devices`` into devices of this machine.

``auto`` takes CUDA devices where both torch and the graph library can use them, and the CPU everywhere else. Apple's
MPS has no float64 and lacks some operations, so it is used only if it is named. Labels and buffers are float32 there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from matgl_ssl.errors import ConfigError, unknown

Kind = Literal["cpu", "cuda", "mps"]
Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps"]

WITHOUT_FLOAT64 = {"mps"}
"""Types of device that cannot hold a number in float64."""

M = TypeVar("M", bound=nn.Module)

_ON_CPU = "give --accelerator cpu (accelerator='cpu')"


@dataclass(frozen=True)
class Devices:
    """Devices of one machine, all of one kind.

    Attributes:
        kind: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        indices: Which ones. On the CPU each stands for a process.
    """

    kind: Kind
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def first(self) -> torch.device:
        """The first device; inference, teachers and frozen encoders run on it."""
        return torch.device(self.kind, self.indices[0]) if self.kind == "cuda" else torch.device(self.kind)

    def trainer_options(self, *, num_nodes: int = 1, strategy: str = "auto") -> dict[str, Any]:
        """Keyword arguments of Lightning's ``Trainer`` for these devices on each of ``num_nodes`` machines.

        Raises:
            ConfigError: If torchrun started another number of processes.
        """
        return {
            "accelerator": self.kind,
            "devices": list(self.indices) if self.kind == "cuda" else len(self),
            "num_nodes": num_nodes,
            "strategy": strategy,
            "plugins": [_environment(num_nodes * len(self))],
        }


def choose(accelerator: str = "auto", devices: int | str = 1) -> Devices:
    """Find the devices that the options ask for.

    Args:
        accelerator: ``auto``, ``cpu``, ``gpu`` (CUDA, else MPS), ``cuda`` or ``mps``.
        devices: How many (``2``), which (``"0,3"`` or ``"cuda:1"``), or ``"auto"`` for all GPUs of the machine. On the
            CPU it is the number of processes.

    Raises:
        ConfigError: If there are no such devices, or fewer. The message names what to give instead.
    """
    accelerator, devices = str(accelerator).lower(), str(devices).strip().lower()
    if accelerator not in get_args(Accelerator):
        raise unknown("accelerator", accelerator, get_args(Accelerator))
    named, _, index = devices.partition(":")
    if named in get_args(Kind) and (index.isdigit() or not index):
        if accelerator not in ("auto", "gpu" if named != "cpu" else "cpu", named):
            raise ConfigError(f"--devices {devices} does not fit --accelerator {accelerator}: leave one of them out.")
        accelerator, devices = named, f"{index or 0}," if named == "cuda" else "1"
    kind = _kind(accelerator)
    available = {"cuda": torch.cuda.device_count, "mps": lambda: 1, "cpu": lambda: 1}[kind]()
    indices = _indices(devices, kind, available)
    if kind != "cpu" and max(indices) >= available:
        there = "1 device" if available == 1 else f"{available} devices, numbered from 0"
        raise ConfigError(f"--devices {devices}: this machine has {there} of the kind {kind}. Give fewer or others.")
    if kind == "cpu" and accelerator == "auto" and len(indices) > 1:
        raise ConfigError(
            f"--devices {devices}: there is no GPU here. To train in {len(indices)} processes on the CPU, {_ON_CPU}."
        )
    return Devices(kind, indices)


def one_device(accelerator: str = "auto", devices: int | str = 1) -> torch.device:
    """The device that inference runs on.

    Raises:
        ConfigError: If there is no such device, or the options ask for several.
    """
    found = choose(accelerator, devices)
    if len(found) > 1:
        raise ConfigError(f"Prediction and embedding run on one device, not on {len(found)}: give --devices 1.")
    return found.first


def inference_device(model: Any, accelerator: str = "auto", devices: int | str = 1) -> torch.device | None:
    """The device to load a model to; None for one in memory, which stays where it lies.

    Raises:
        ConfigError: If there is no such device, or a model in memory lies elsewhere.
    """
    device = one_device(accelerator, devices)
    if not isinstance(model, nn.Module):
        return device
    there = device_of(model)
    asked = accelerator != "auto" or devices != 1
    if asked and (there.type, there.index or 0) != (device.type, device.index or 0):
        raise ConfigError(
            f"The model lies on {there}, not on {device}: move it first (model.to('{device}')), or leave out "
            "accelerator and devices."
        )
    return None


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights lie."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def fit_to(module: M, device: torch.device) -> M:
    """Make a module one that can be moved to a device, in place: where there is no float64, it becomes float32."""
    return module.float() if device.type in WITHOUT_FLOAT64 else module


def moved(values: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor on a device; floating-point numbers in ``dtype``, or in float32 where there is no float64."""
    device = torch.device(device)
    if not values.is_floating_point():
        dtype = None
    elif dtype is None and device.type in WITHOUT_FLOAT64 and values.dtype == torch.float64:
        dtype = torch.float32
    return values.to(device, dtype, non_blocking=device.type == "cuda")  # elsewhere it may be read before it is there


def in_float64(values: Tensor) -> Tensor:
    """Values in float64: where they lie, or on the CPU if their device has no float64."""
    return (values.cpu() if values.device.type in WITHOUT_FLOAT64 else values).double()


def _kind(accelerator: str) -> Kind:
    """The kind of device that an accelerator is on this machine."""
    from matgl_ssl.backends import backend

    supported = backend.device_kinds()
    there = {
        "cuda": "cuda" in supported and torch.cuda.is_available(),
        "mps": "mps" in supported and torch.backends.mps.is_available(),
        "cpu": True,
    }
    order: dict[str, tuple[Kind, ...]] = {"auto": ("cuda", "cpu"), "gpu": ("cuda", "mps")}
    wanted: Any = order.get(accelerator, (accelerator,))
    for kind in wanted:
        if there[kind]:
            return kind
    if torch.cuda.is_available() and "cuda" in wanted:
        raise ConfigError(f"The graph library of this environment was built without CUDA: {_ON_CPU}, or install one.")
    what = {"gpu": "GPU", "cuda": "CUDA device", "mps": "MPS device"}[accelerator]
    raise ConfigError(f"There is no {what} here that torch {torch.__version__} can use: {_ON_CPU}.")


def _indices(devices: str, kind: Kind, available: int) -> tuple[int, ...]:
    """Numbers of the devices that an option names."""
    if devices == "auto":
        return tuple(range(available))
    if devices.isdigit() and int(devices) > 0:
        return tuple(range(int(devices)))
    numbers = devices.strip("[], ").split(",")
    if "," in devices and kind != "cpu" and all(n.strip().isdigit() for n in numbers):
        return tuple(sorted({int(n) for n in numbers}))
    takes = "a number of processes" if kind == "cpu" else "a number of devices, names (0,3 or cuda:1), or auto"
    raise ConfigError(f"--devices (devices=) takes {takes}, not {devices!r}: --devices 1 is the default.")


def _environment(n_processes: int) -> Any:
    """Who starts the processes, as Lightning has it.

    Lightning takes a shell in which Slurm's variables are set for one of Slurm's tasks. Here only a step of ``srun``
    with as many tasks as there are processes is one.
    """
    from lightning.pytorch.plugins.environments import (
        LightningEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )

    if TorchElasticEnvironment.detect():
        if int(os.environ["WORLD_SIZE"]) != n_processes:
            raise ConfigError(
                f"torchrun started {os.environ['WORLD_SIZE']} processes, and the options ask for {n_processes}: "
                "--devices times --num-nodes must be their number."
            )
        return TorchElasticEnvironment()
    if n_processes > 1 and "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_NTASKS") == str(n_processes):
        return SLURMEnvironment(auto_requeue=False)  # a signal saves the state: --resume goes on
    environment = LightningEnvironment()
    if n_processes == 1:
        environment.set_global_rank(0)  # Slurm's variables gave this process a number when Lightning was imported
    return environment


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch works with one thread: with small tensors a second one only waits, and results are those of any machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
