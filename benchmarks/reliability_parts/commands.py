"""The commands that are hit, tiny ones of every kind, and what they read."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

BASE = Path(tempfile.mkdtemp(prefix="matgl_ssl-reliability-"))
INPUTS, ROOT = BASE / "inputs", BASE / "root"
"""What is read, and the folder in which everything is written: results, caches, temporary files."""

_PLACES = {
    "HF_HOME": BASE / "hf", "HF_DATASETS_CACHE": ROOT / "cache", "TMPDIR": ROOT / "tmp",
    "XDG_CACHE_HOME": BASE / "cache", "MPLCONFIGDIR": BASE / "matplotlib", "MATGL_SSL_DATA": INPUTS,
}  # fmt: skip
os.environ |= {name: str(path) for name, path in _PLACES.items()} | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
for _folder in _PLACES.values():
    _folder.mkdir(parents=True, exist_ok=True)
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import huggingface_hub  # noqa: E402 - all of these read the environment
import torch  # noqa: E402
import yaml  # noqa: E402
from hub_server import TOKEN, running  # noqa: E402
from small_systems import small_model  # noqa: E402
from synthetic import MEGNET, cell, corpus_and_task, study, write  # noqa: E402

import matgl_ssl.evaluation  # noqa: E402 - so that no fork imports it
import matgl_ssl.training.finetune  # noqa: E402
import matgl_ssl.training.pretrain  # noqa: E402, F401
from matgl_ssl import save_model  # noqa: E402
from matgl_ssl.cli import main  # noqa: E402
from matgl_ssl.errors import MatGLSSLError  # noqa: E402
from matgl_ssl.hub import remote  # noqa: E402

torch.set_num_threads(1)
SIZES = json.dumps({**MEGNET, "nblocks": 1})


@dataclass(frozen=True)
class Command:
    """Something that a user runs.

    Attributes:
        name: For the table.
        call: What it does, given more arguments (``--resume``); its exit code.
        shared: Whether several processes do it; it is killed at random moments only.
    """

    name: str
    call: Callable[..., int]
    shared: bool = False

    @staticmethod
    def start() -> None:
        """Put everything as it was before the command."""
        shutil.rmtree(ROOT, ignore_errors=True)
        shutil.copytree(INPUTS / "before", ROOT)


@contextmanager
def commands() -> Iterator[list[Command]]:
    """All of them, while there is a hub for one of them."""
    _write_inputs()
    shared = ["--accelerator", "cpu", "--batch-size", "12"]
    pretexts = [
        {"name": "masked-atoms", "arguments": {"target": "element", "fraction": 0.15}},
        {"name": "crystal-targets", "arguments": {"targets": ["density"], "view": "clean"}},
    ]
    run = [*shared, "--epochs", "2", "--checkpoint-minutes", "1e-9", "--model", "MEGNet", "--model-args", SIZES]
    crystals, labelled, out = f"{INPUTS}/crystals.parquet", f"{INPUTS}/labelled.parquet", ["--out", f"{ROOT}/out"]
    many = ["pretrain", "--data", f"{INPUTS}/corpus.parquet", "--pretexts", json.dumps(pretexts), *run, *out,
            "--epochs", "1", "--batch-size", "64", "--num-workers", "2"]  # fmt: skip
    with running() as hub:
        _use(hub.address)
        push = _line("push", f"{INPUTS}/before/model", "someone/model")
        if push.call():
            raise RuntimeError("There is no model to be pulled.")
        yield [
            _line("pretrain", "--data", crystals, "--pretexts", json.dumps(pretexts), *run, *out),
            _line("finetune", "--data", labelled, "--target", "size", "--selection", "best", *run, *out),
            _line("embed", "-m", f"{INPUTS}/before/model", "--data", crystals, *shared, "--out", f"{ROOT}/out.parquet"),
            _line("prepare", "--data", crystals, labelled, "--shard-rows", "20", *out),
            _line("benchmark", f"{INPUTS}/study.yaml", "--runs", f"{ROOT}/runs", *out),
            Command("save", _save),
            push,
            _line("pull", "someone/model", *out),
            Command("pretrain, 2 workers", lambda *more: main([*many, *more]), shared=True),
        ]


def _line(*arguments: str) -> Command:
    return Command(arguments[0], lambda *more: main([*arguments, *more]))


def _save(*_: str) -> int:
    """Another model in the place of one."""
    try:
        save_model(small_model("MEGNet", seed=1), ROOT / "model", kind="encoder", readout="untrained")
    except MatGLSSLError as err:
        print(f"mgl-ssl: error: {err}", file=sys.stderr)
        return err.exit_code
    return 0


def _write_inputs() -> None:
    before = INPUTS / "before"
    (before / "tmp").mkdir(parents=True)
    kinds = [
        (metal, anion, 3.2 + 0.05 * i) for i, (metal, anion) in enumerate(product((11, 12, 26, 55, 57, 92), (8, 17)))
    ]
    write(INPUTS / "crystals.parquet", [cell(m, x, a + d) for m, x, a in kinds for d in (0.0, 0.6)])
    write(INPUTS / "labelled.parquet", [cell(m, x, a, size=a**3) for m, x, a in kinds])
    save_model(small_model("MEGNet"), before / "model", kind="encoder", readout="untrained")
    corpus_and_task(INPUTS)
    rounds = [{"tasks": ["size"], "arms": ["scratch", "helps"], "labels": [8], "seeds": [0]}]
    few = {"accelerator": "cpu", "epochs": 1}
    config = study(
        INPUTS, rounds=rounds, grid=[{"lr": 1e-2, "epochs": 1}], headline=["scratch", "helps"],
        pretrain={**few, "batch_size": 64, "n_crystals": 64},
    )  # fmt: skip
    (INPUTS / "study.yaml").write_text(yaml.safe_dump(config))


def _use(address: str) -> None:
    """Point the hub's client to a server of this process."""
    constants = huggingface_hub.constants
    constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_XET, constants.ENDPOINT = False, True, address
    constants.HUGGINGFACE_CO_URL_TEMPLATE = address + "/{repo_id}/resolve/{revision}/{filename}"
    remote.MATGL_CACHE = ROOT / "hub"
    os.environ["HF_TOKEN"] = TOKEN
