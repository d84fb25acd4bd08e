"""Checkpoints: what a damaged disk changed is seen, and the one before it serves."""

from __future__ import annotations

import random
import re
import tempfile
from pathlib import Path

import pytest
import torch

from matgl_ssl.errors import RunDirectoryError
from matgl_ssl.training.checkpoint_files import CheckpointFiles, read_checkpoint
from matgl_ssl.training.config import PretrainConfig
from matgl_ssl.training.rundir import RunDirectory

CONFIG = PretrainConfig(data="table.parquet", pretexts=[{"name": "masked-atoms"}])


def content(seed: int = 0) -> dict:
    numbers = torch.Generator().manual_seed(seed)
    return {"state_dict": {name: torch.randn(50, 20, generator=numbers) for name in "ab"}, "step": seed}


def equal(first: dict, second: dict) -> bool:
    return first["step"] == second["step"] and all(
        torch.equal(first["state_dict"][name], second["state_dict"][name]) for name in "ab"
    )


def flipped(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_no_bit_changes_in_silence(tmp_path):
    path = tmp_path / "last.ckpt"
    CheckpointFiles().save_checkpoint(content(), path)
    whole = path.read_bytes()
    assert equal(read_checkpoint(path), content())
    messages = []
    for bit in random.Random(0).sample(range(8 * len(whole)), 300):
        path.write_bytes(whole)
        flipped(path, bit)
        try:
            found = read_checkpoint(path)
        except RunDirectoryError as err:
            messages.append(str(err))
        else:
            assert equal(found, content())  # padding, or a date that nobody reads
    assert len(messages) > 200
    assert all(message.startswith(f"{path} is damaged: ") for message in messages)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunDirectoryError, match="damaged"):
        read_checkpoint(path)


def test_nothing_passes_through_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    CheckpointFiles().save_checkpoint(content(), tmp_path / "last.ckpt")
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path, caplog):
    run = RunDirectory(tmp_path / "run")
    run.start(CONFIG)
    CheckpointFiles().save_checkpoint(content(1), run.checkpoint)
    flipped(run.checkpoint, 8 * run.checkpoint.stat().st_size // 2)
    with pytest.raises(RunDirectoryError, match="damaged"):
        run.resume(CONFIG)
    CheckpointFiles().save_checkpoint(content(0), run.previous_checkpoint)
    assert run.resume(CONFIG) == run.previous_checkpoint
    assert re.search(r"last.ckpt is damaged.* Resuming from .*previous.ckpt", caplog.text)
