"""Which devices the options mean, on machines of every kind; torch's answers about the machine are replaced."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from matgl_ssl import devices
from matgl_ssl.backends import backend
from matgl_ssl.devices import choose, inference_device, one_device
from matgl_ssl.errors import ConfigError


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many CUDA devices, or with MPS."""

    def of(cuda: int = 0, *, mps: bool = False, graphs: tuple[str, ...] = ("cpu", "cuda", "mps")) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(backend, "device_kinds", lambda: graphs)

    return of


@pytest.mark.parametrize("accelerator", ["gpu", "cuda", "mps", "foo", ""])
def test_what_is_not_there_is_refused(machine, accelerator):
    machine()
    with pytest.raises(ConfigError, match=r"--accelerator cpu|Unknown accelerator"):
        choose(accelerator)


@pytest.mark.parametrize("number", [0, -1, 2, "0", "-1", "2", "cuda:0", "mps", "two", "", "0,1", True, 1.5])
def test_what_is_no_device_of_a_cpu_machine_is_refused(machine, number):
    machine()
    with pytest.raises(ConfigError, match=r"--devices|--accelerator cpu"):
        choose("auto", number)


def test_processes_on_the_cpu_are_asked_for_by_name(machine):
    machine()
    assert len(choose("cpu", 2)) == 2
    assert choose("cpu", "cpu").first == choose().first == torch.device("cpu")


@pytest.mark.parametrize(
    ("accelerator", "number", "indices"),
    [("auto", 1, (0,)), ("gpu", 2, (0, 1)), ("cuda", "auto", (0, 1, 2)), ("auto", "0,2", (0, 2)), ("gpu", "1,", (1,)),
     ("auto", "cuda:2", (2,)), ("gpu", "cuda", (0,))],
)  # fmt: skip
def test_cuda_devices_are_counted_or_named(machine, accelerator, number, indices):
    machine(cuda=3)
    found = choose(accelerator, number)
    assert (found.kind, found.indices) == ("cuda", indices)
    assert found.first == torch.device("cuda", indices[0])
    assert found.trainer_options()["devices"] == list(indices)


@pytest.mark.parametrize("number", [4, "3,", "cuda:3", 0, "-1", "0;1"])
def test_more_devices_than_there_are(machine, number):
    machine(cuda=3)
    with pytest.raises(ConfigError, match="--devices"):
        choose("gpu", number)


def test_a_device_of_another_accelerator(machine):
    machine(cuda=1)
    with pytest.raises(ConfigError, match="leave one of them out"):
        choose("cpu", "cuda:0")
    assert choose("cpu").first == torch.device("cpu")


def test_mps_is_used_only_if_it_is_named(machine):
    machine(mps=True)
    assert choose().kind == "cpu"
    assert choose("gpu").kind == choose("mps").kind == "mps"
    assert choose("mps").first == torch.device("mps")
    with pytest.raises(ConfigError, match="1 device"):
        choose("mps", 2)


def test_a_graph_library_without_cuda(machine):
    machine(cuda=1, graphs=("cpu",))
    assert choose().kind == "cpu"
    with pytest.raises(ConfigError, match="without CUDA"):
        choose("gpu")


def test_inference_is_on_one_device(machine):
    machine(cuda=2)
    assert one_device("cuda", "cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match="--devices 1"):
        one_device("gpu", 2)


def test_a_model_in_memory_stays_where_it_lies(machine):
    machine(cuda=1)
    model = torch.nn.Linear(1, 1)
    assert inference_device("a name") == torch.device("cuda", 0)
    assert inference_device(model) is None
    assert inference_device(model, "cpu") is None
    with pytest.raises(ConfigError, match=r"model.to\('cuda:0'\)"):
        inference_device(model, "gpu")


SLURM = {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_NODEID": "0"}

ONE_DEVICE = """
import lightning as L
from lightning.pytorch.utilities import rank_zero_only
from matgl_ssl.devices import choose
trainer = L.Trainer(**choose("cpu").trainer_options(), logger=False, enable_checkpointing=False)
print(trainer.world_size, trainer.global_rank, rank_zero_only.rank, type(trainer.strategy).__name__)
"""


def test_slurm_s_variables_change_nothing_in_a_run_of_one_device():
    shown = subprocess.run(
        [sys.executable, "-c", ONE_DEVICE], env={**os.environ, **SLURM}, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[-4:] == ["1", "0", "0", "SingleDeviceStrategy"]


def test_several_processes_in_a_shell_of_slurm_are_started_by_lightning(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert type(devices._environment(4)).__name__ == "LightningEnvironment"
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    assert type(devices._environment(4)).__name__ == "SLURMEnvironment"
    assert type(devices._environment(2)).__name__ == "LightningEnvironment"


def test_torchrun_with_another_number_of_processes_is_refused(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0",
                        "TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert type(devices._environment(2)).__name__ == "TorchElasticEnvironment"
    with pytest.raises(ConfigError, match="torchrun started 2"):
        devices._environment(1)
