"""A small one of every file that the package writes and reads again, and what is read from it."""

from __future__ import annotations

import csv
import lzma
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from matgl_ssl import embed, finetune, predict, prepare, pretrain, read_crystals
from matgl_ssl._files import digest
from matgl_ssl.crystals import CrystalDataset, demo_task
from matgl_ssl.crystals.tables import cache_directory
from matgl_ssl.errors import DataError
from matgl_ssl.evaluation import benchmark
from matgl_ssl.targets import Density, with_targets
from matgl_ssl.targets.teacher import teacher_labels
from matgl_ssl.testing.systems import SMALL
from matgl_ssl.training import checked as checks
from matgl_ssl.training.pretrain import PretrainingModule

MODEL_ARGS = {k: v for k, v in SMALL["MEGNet"].items() if k != "element_types"}
COMMON: dict[str, Any] = {"model": "MEGNet", "model_args": MODEL_ARGS, "accelerator": "cpu", "batch_size": 8}
PRETEXTS = [
    {"name": "masked-atoms"},
    {"name": "crystal-targets", "arguments": {"targets": ["density"], "view": "clean", "loss": "mae"}},
]
TEACHER = "ase.calculators.lj:LennardJones"
CORPUS: dict[str, Any] = {"shard_rows": 16, "license": "CC0-1.0"}
CLOCK = ("seconds", "structures_per_second", "waiting")


@dataclass(frozen=True)
class Artefact:
    """A file, how to read it, and what of the same kind may come in its place.

    Attributes:
        name: For the table.
        file: Where it lies, below the folder of all.
        read: From that folder to what the package makes of the file, as text.
        other: A file of another run, or of another piece of work, where the file belongs to one.
    """

    name: str
    file: str
    read: Callable[[Path], str]
    other: str | None = None


class Killed(BaseException):
    """What ends a piece of work in the middle; nobody catches it."""


def make(root: Path) -> list[Artefact]:
    """Write all of them below a folder, Hugging Face's cache included."""
    task = demo_task(48, seed=0)
    for name, rows in {"data": range(32), "few": range(32, 48)}.items():
        task.select(rows).write_parquet(root / f"{name}.parquet")
    return [*_runs(root), *_caches(root), *_corpora(root), *_benchmark(root)]


def _runs(root: Path) -> list[Artefact]:
    """Pretraining that was stopped, fine-tuning that ended, and exports."""
    for name, seed in {"pretraining": 0, "other-pretraining": 1}.items():
        _stopped(root / name, root / "data.parquet", seed)
    tuning = {"target": "bulk_modulus", "epochs": 2, "selection": "best", "val_fraction": 0.2, **COMMON}
    for name, seed in {"tuned": 0, "other-tuned": 1}.items():
        finetune(out=root / name, data=root / "data.parquet", seed=seed, **tuning)
    embed(model=root / "tuned", data=root / "few.parquet", out=root / "vectors.parquet")
    files = ("checkpoints/last.ckpt", "config.yaml", "environment.json", "facts.json", "metrics.csv")
    found = [Artefact(Path(f).name, f"pretraining/{f}", _resumed, f"other-pretraining/{f}") for f in files]
    config = "config.yaml"
    found.append(Artefact("config.yaml alone", f"pretraining/{config}", _begun_again, f"other-pretraining/{config}"))
    previous = "checkpoints/previous.ckpt"
    found.append(Artefact("previous.ckpt", f"pretraining/{previous}", _resumed_before, f"other-pretraining/{previous}"))
    found.append(Artefact("best.ckpt", "tuned/checkpoints/best.ckpt", _ended, "other-tuned/checkpoints/best.ckpt"))
    model = ("model.pt", "state.pt", "model.json")
    found += [Artefact(file, f"tuned/model/{file}", _predicted, f"other-tuned/model/{file}") for file in model]
    return [*found, Artefact("embeddings", "vectors.parquet", _vectors)]


def _stopped(out: Path, data: Path, seed: int) -> None:
    """A run that died in its second epoch."""
    score = PretrainingModule.score

    def dies(self: PretrainingModule, batches: Any) -> Any:
        if self.global_step == 5:
            raise Killed
        return score(self, batches)

    with patch.object(PretrainingModule, "score", dies), suppress(Killed):
        pretrain(out=out, data=data, pretexts=PRETEXTS, epochs=2, seed=seed, checkpoint_minutes=1e-6, **COMMON)


def _resumed(root: Path) -> str:
    run = root / "pretraining"
    export = pretrain(out=run, data=root / "data.parquet", resume=True).encoder
    with (run / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in CLOCK} for row in csv.DictReader(file)]
    return f"{_weights(export)} {rows}"


def _resumed_before(root: Path) -> str:
    (root / "pretraining" / "checkpoints" / "last.ckpt").write_bytes(b"damaged")
    return _resumed(root)


def _begun_again(root: Path) -> str:
    """As if it had been killed before its first checkpoint."""
    shutil.rmtree(root / "pretraining" / "checkpoints")
    (root / "pretraining" / "metrics.csv").unlink()
    return _resumed(root)


def _ended(root: Path) -> str:
    return _weights(finetune(out=root / "tuned", data=root / "data.parquet", resume=True).model)


def _weights(export: Path) -> str:
    state = torch.load(export / "state.pt", weights_only=True)
    return digest(name.encode() + value.numpy().tobytes() for name, value in state.items())


def _predicted(root: Path) -> str:
    return str([(p.id, p.value) for p in predict(model=root / "tuned", data=root / "few.parquet")])


def _vectors(root: Path) -> str:
    """As whoever asks Parquet for its checksums."""
    try:
        return str(pq.read_table(root / "vectors.parquet", page_checksum_verification=True).to_pydict())
    except (OSError, pa.ArrowException) as err:
        raise DataError(f"{root / 'vectors.parquet'}: {err}") from err


def _caches(root: Path) -> list[Artefact]:
    """Tables that were converted, rows of a selection, targets, labels of a teacher, and what checks found."""
    for source in ("data", "few"):
        crystals = read_crystals(root / f"{source}.parquet", columns=[])
        cifs = [crystal.to_structure().to(fmt="cif") for crystal in crystals]
        pq.write_table(pa.table({"cif": [*cifs, "no CIF"]}), root / f"{source}-texts.parquet")
    found = []
    for name, read in {
        "table": _table, "converted table": _converted, "rows, and targets": _targets, "labels": _labels,
        "checks": _checks,
    }.items():  # fmt: skip
        made, other = _new(root, partial(read, source="few")), _new(root, partial(read, source="data"))
        for file, instead in zip(made, other, strict=True):
            found.append(Artefact(f"{name} ({_kind(file)})", file, read, instead))
    return found


def _new(root: Path, read: Callable[[Path], str]) -> list[str]:
    """The files of the cache that reading makes, the kinds in order."""
    before = {*cache_directory().rglob("*")}
    read(root)
    files = [file for file in cache_directory().rglob("*") if file not in before and file.is_file()]
    return [str(file.relative_to(root)) for file in sorted(files, key=_kind)]


def _kind(file: str | Path) -> str:
    """A name of the cache without its hash."""
    return re.sub("[0-9a-f]{24}", "*", Path(file).name)


def _crystals(crystals: CrystalDataset) -> str:
    names = crystals.label_names
    return str([
        (c.id, *(np.asarray(v).tolist() for v in (c.numbers, c.frac_coords, c.lattice, *map(c.labels.get, names))))
        for c in crystals
    ])  # fmt: skip


def _table(root: Path, source: str = "few") -> str:
    return _crystals(read_crystals(root / f"{source}.parquet"))


def _converted(root: Path, source: str = "few") -> str:
    crystals = read_crystals(root / f"{source}-texts.parquet")
    return f"{_crystals(crystals)} {crystals.rejected}"


def _targets(root: Path, source: str = "few") -> str:
    some = read_crystals(root / f"{source}.parquet").select(range(1, 9))
    return _crystals(with_targets(some, [Density()]))


def _labels(root: Path, source: str = "few") -> str:
    return _crystals(teacher_labels(read_crystals(root / f"{source}.parquet", columns=[]), TEACHER))


def _checks(root: Path, source: str = "few") -> str:
    with patch.object(checks, "FEW", 4):
        crystals, report = checks.checked(read_crystals(root / f"{source}.parquet"), cutoff=5.0, min_distance=2.6)
    return f"{crystals.ids} {report}"


def _corpora(root: Path) -> list[Artefact]:
    """A prepared folder, and one whose preparation was killed at its end."""
    prepare(data=root / "data.parquet", out=root / "prepared", **CORPUS)
    prepare(data=root / "few.parquet", out=root / "other-prepared", **CORPUS)
    killed = patch.object(import_module("matgl_ssl.corpora.prepare"), "replace_folder", side_effect=Killed)
    for name in ("data", "few"):
        with killed, suppress(Killed):
            prepare(data=root / f"{name}.parquet", out=root / f"{name}-corpus", **CORPUS)
    shard, other = (next((root / name).glob("*.arrow")).name for name in ("prepared", "other-prepared"))
    found = [
        Artefact("shard", f"prepared/{shard}", _prepared, f"other-prepared/{other}"),
        Artefact("manifest.json", "prepared/manifest.json", _prepared, "other-prepared/manifest.json"),
    ]
    work, elsewhere = root / ".data-corpus.preparing", root / ".few-corpus.preparing"
    for name, pattern in {"part": "[0-9a-f]" * 24, "duplicates": "*.npy", "shard at work": "final/*.arrow"}.items():
        file, instead = (next(folder.glob(pattern)) for folder in (work, elsewhere))
        found.append(Artefact(name, str(file.relative_to(root)), _preparing, str(instead.relative_to(root))))
    return found


def _prepared(root: Path) -> str:
    return _crystals(read_crystals(root / "prepared"))


def _preparing(root: Path) -> str:
    return _crystals(prepare(data=root / "data.parquet", out=root / "data-corpus", **CORPUS).crystals)


def _benchmark(root: Path) -> list[Artefact]:
    """Units, their archive, and the encoder that a unit pretrained."""
    _benchmarked(root)
    units = {
        kind: sorted(str(file.relative_to(root)) for file in (root / "runs" / "units").glob(f"{kind}-*.json"))
        for kind in ("cell", "corpus", "pretraining")
    }
    archive = root / "results" / "units.jsonl.xz"
    lines = lzma.decompress(archive.read_bytes()).splitlines(keepends=True)
    (root / "few.jsonl.xz").write_bytes(lzma.compress(b"".join(lines[::2])))
    export = next((root / "runs" / "pretrained").glob("*/*/state.pt")).relative_to(root)
    return [
        Artefact("cell", units["cell"][0], _benchmarked, units["cell"][1]),
        Artefact("guard", units["corpus"][0], _benchmarked, units["cell"][0]),
        Artefact("pretraining", units["pretraining"][0], _benchmarked_anew, units["cell"][0]),
        Artefact("units.jsonl.xz", "results/units.jsonl.xz", _elsewhere, "few.jsonl.xz"),
        Artefact("a benchmark's encoder", str(export), _benchmarked_anew, "tuned/model/state.pt"),
    ]


def _benchmarked(root: Path) -> str:
    task = {"data": "data.parquet", "target": "energy_per_atom", "unit": "eV/atom"}
    study = {
        "corpus": {"data": "few.parquet"}, "tasks": {"energy": task}, "encoders": {"MEGNet": MODEL_ARGS},
        "arms": {"pretrained": {"recipe": "masked-atoms"}}, "grid": [{"lr": 1e-2, "epochs": 1}],
        "pretrain": {"accelerator": "cpu", "epochs": 1, "batch_size": 8}, "leak_rule": "structure",
        "finetune": {"accelerator": "cpu", "batch_size": 8}, "validation_crystals": 4,
        "rounds": [{"tasks": ["energy"], "arms": ["trivial", "pretrained"], "labels": [8], "seeds": [0]}],
    }  # fmt: skip
    result = benchmark(config=study, data=root, out=root / "results", runs=root / "runs")
    if result.unfinished:
        raise AssertionError(f"unfinished: {result.unfinished}")
    return str([(score[:6], score.mae) for score in result.scores])


def _elsewhere(root: Path) -> str:
    """From the archive alone."""
    shutil.rmtree(root / "runs")
    return _benchmarked(root)


def _benchmarked_anew(root: Path) -> str:
    """A cell that needs the encoder is to be done."""
    for cell in (root / "runs" / "units").glob("cell-*.json"):
        cell.unlink()
    (root / "results" / "units.jsonl.xz").unlink()
    return _benchmarked(root)
