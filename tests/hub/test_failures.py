"""A model that cannot be loaded says why: damaged files, another version, memory, a device, a compiler."""

from __future__ import annotations

import subprocess

import pytest
import torch
from matgl import models

from matgl_ssl.errors import ModelError
from matgl_ssl.hub import load, load_model

DAMAGED = "incomplete or were changed"


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.fixture(params=["MEGNet"])
def name(request):
    return request.param


@pytest.mark.parametrize("kept", [0, 100])
def test_damaged_files_are_called_damaged(stamped, kept):
    (stamped / "state.pt").write_bytes((stamped / "state.pt").read_bytes()[:kept])
    with pytest.raises(ModelError, match=DAMAGED):
        load_model(stamped)


def test_a_model_of_another_matgl_names_it(stamped, edit_json, monkeypatch):
    def later(content):
        content["metadata"]["matgl_ssl"]["versions"]["matgl"] = "99.1"

    edit_json(stamped, later)
    monkeypatch.setattr(models.MEGNet, "load", raising(TypeError("unexpected keyword argument")))
    with pytest.raises(ModelError, match=r"MatGL 99.1 saved it: install that version. Otherwise"):
        load_model(stamped)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("no more"), "not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (ImportError("cannot import name 'M3GNetBlock' from 'matgl.layers'"), "not installed, or not in that version"),
        (PermissionError(13, "Permission denied", "state.pt"), "Permission denied: 'state.pt'"),
    ],
)
def test_what_is_wrong_with_the_machine_is_not_blamed_on_the_files(stamped, monkeypatch, error, said):
    monkeypatch.setattr(models.MEGNet, "load", raising(error))
    with pytest.raises(ModelError, match=said) as caught:
        load_model(stamped)
    assert DAMAGED not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), "the device failed"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "not enough memory"),
        (subprocess.CalledProcessError(1, "c++"), "MATGL_SSL_ACCELERATION"),
        (AttributeError("'M3GNetBlock' object has no attribute 'conv'"), "does not run on cpu: AttributeError"),
    ],
)
@pytest.mark.parametrize("step", ["accelerate", "check_references"])
def test_what_fails_after_the_files_were_read_is_not_blamed_on_them(stamped, monkeypatch, error, said, step):
    monkeypatch.setattr(load, step, raising(error))
    with pytest.raises(ModelError, match=said) as caught:
        load_model(stamped)
    assert DAMAGED not in str(caught.value)


def test_a_device_that_is_not_there(stamped):
    if torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(ModelError, match=r"does not run on cuda.*--accelerator cpu") as caught:
        load_model(stamped, device="cuda")
    assert DAMAGED not in str(caught.value)
