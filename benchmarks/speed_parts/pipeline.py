"""(c) From the Parquet file to weights: ``pretrain`` against MatGL's own supervised loop on the same 512 crystals.

Theirs: pandas reads the file, pymatgen makes the structures, ``MGLDataset`` converts and saves them, ``MGLDataLoader``,
``ModelLightningModule`` and a Lightning trainer fit formation energies, the model is saved. Against derivative
denoising it is ``PotentialLightningModule`` with forces and stresses, whose labels are zeros, and formation energies as
energies: what labels say costs nothing. Both sides hold out the same share, take the same batches, threads and
worker processes, and start in a fresh process with empty caches; imports are not counted. The first epoch runs from the
call to the end of epoch 1, parsing, checks and graphs included; ``later`` is the mean of the other epochs; ``total``
ends when the weights are on disk. ``waiting`` is the share of our training log, if it has one.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from .common import LABEL, Results, Settings, drawn, in_a_process, paired

CASES: dict[str, tuple[str, str, int]] = {
    "masked-atoms on MEGNet": ("masked-atoms", "MEGNet", 64),
    "masked-atoms on M3GNet": ("masked-atoms", "M3GNet", 64),
    "derivative-denoising on M3GNet": ("derivative-denoising", "M3GNet", 32),
}
LOADERS = ((0, 2), (1, 1))
"""Worker processes and threads: two threads that also build graphs, or one that trains beside a worker."""
HELD_OUT = 0.05


@contextmanager
def epoch_ends() -> Iterator[list[float]]:
    """When each epoch of the Lightning trainer made meanwhile ended."""
    import lightning as L

    ends: list[float] = []
    trainer = L.Trainer

    class Mark(L.Callback):
        def on_train_epoch_end(self, *_: Any) -> None:
            ends.append(time.perf_counter())

    def made(*args: Any, callbacks: Any = (), **kwargs: Any) -> L.Trainer:
        return trainer(*args, callbacks=[*callbacks, Mark()], **kwargs)

    with mock.patch.object(L, "Trainer", made):
        yield ends


def ours(parquet: str, recipe: str, model: str, batch: int, epochs: int, workers: int, device: str) -> dict[str, Any]:
    """Our run, in a process of its own."""
    import matgl_ssl
    import matgl_ssl.training.pretrain

    with tempfile.TemporaryDirectory() as folder, epoch_ends() as ends:
        out = Path(folder) / "run"
        start = time.perf_counter()
        matgl_ssl.pretrain(
            data=parquet, out=out, recipe=recipe, model=model, epochs=epochs, batch_size=batch, num_workers=workers,
            val_fraction=HELD_OUT, accelerator="cpu" if device == "cpu" else "gpu", devices=1,
        )  # fmt: skip
        stop = time.perf_counter()
        with (out / "metrics.csv").open(newline="") as f:
            rows = list(csv.DictReader(f))
    waiting = {k: [float(row[k]) for row in rows if row[k]] for k in rows[0] if "wait" in k}
    return {**laps(start, ends, stop), "waiting": waiting}


def theirs(parquet: str, recipe: str, model: str, batch: int, epochs: int, workers: int, device: str) -> dict[str, Any]:
    """MatGL's run, in a process of its own."""
    import lightning as L
    import pandas as pd
    from matgl import models
    from matgl.config import DEFAULT_ELEMENTS
    from matgl.ext.pymatgen import Structure2Graph
    from matgl.graph.data import MGLDataLoader, MGLDataset, split_dataset
    from matgl.utils.training import ModelLightningModule, PotentialLightningModule
    from pymatgen.core import Lattice, Structure

    forces = recipe == "derivative-denoising"
    with tempfile.TemporaryDirectory() as folder, epoch_ends() as ends:
        start = time.perf_counter()
        L.seed_everything(0, workers=True, verbose=False)
        table = pd.read_parquet(parquet)
        structures = [
            Structure(Lattice(row.lattice.reshape(3, 3)), row.numbers, row.frac_coords.reshape(-1, 3))
            for row in table.itertuples()
        ]
        network = getattr(models, model)(element_types=DEFAULT_ELEMENTS, **({"is_intensive": False} if forces else {}))
        labels: dict[str, Any] = {LABEL: table[LABEL].tolist()}
        if forces:
            zeros = [np.zeros((len(s), 3)).tolist() for s in structures]
            labels = {
                "energies": table[LABEL].tolist(),
                "forces": zeros,
                "stresses": [np.zeros((3, 3)).tolist()] * len(zeros),
            }
        dataset = MGLDataset(
            converter=Structure2Graph(element_types=DEFAULT_ELEMENTS, cutoff=network.cutoff), structures=structures,
            labels=labels, root=f"{folder}/data",
        )  # fmt: skip
        train, val, _ = split_dataset(dataset, [1 - HELD_OUT, HELD_OUT, 0.0], shuffle=True, random_state=0)
        loaders = MGLDataLoader(train, val, batch_size=batch, num_workers=workers)
        module: Any = PotentialLightningModule(network, stress_weight=0.1) if forces else ModelLightningModule(network)
        trainer = L.Trainer(
            max_epochs=epochs, accelerator="cpu" if device == "cpu" else "gpu", devices=1, default_root_dir=folder,
            enable_progress_bar=False, enable_model_summary=False, inference_mode=False, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(module, *loaders)
        (module.model.model if forces else module.model).save(f"{folder}/model")
        stop = time.perf_counter()
    return laps(start, ends, stop)


def laps(start: float, ends: list[float], stop: float) -> dict[str, Any]:
    """Seconds of the first epoch, of the mean later one, and of everything."""
    return {
        "first": ends[0] - start, "later": float(np.mean(np.diff(ends))), "total": stop - start, "epochs": len(ends)
    }  # fmt: skip


def compared(case: str, workers: int, threads: int, parquet: Path, settings: Settings) -> dict[str, Any]:
    """Both sides of a case in turn."""
    recipe, model, batch = CASES[case]
    n = len(drawn(48 if settings.quick else 512))
    arguments = {
        "parquet": str(parquet), "recipe": recipe, "model": model, "batch": 16 if settings.quick else batch,
        "epochs": 3, "workers": workers, "device": settings.device,
    }  # fmt: skip
    laps: dict[str, dict[str, list[float]]] = {lap: {"matgl": [], "ours": []} for lap in ("first", "later", "total")}
    waiting: dict[str, list[float]] = {}
    for pair in range(1 if settings.quick else 5):
        for side, run in list({"matgl": theirs, "ours": ours}.items())[:: -1 if pair % 2 else 1]:
            with tempfile.TemporaryDirectory() as cache:
                found = in_a_process(
                    run, threads=threads, every=1.0, env={"HF_DATASETS_CACHE": cache}, **arguments
                ).value
            waiting = found.get("waiting", waiting)
            for lap, values in laps.items():
                values[side].append(found[lap])
    trained = n - max(1, round(HELD_OUT * n))
    rates = {
        lap: {side: round(trained / float(np.median(taken)), 1) for side, taken in laps[lap].items()}
        for lap in ("first", "later")
    }
    return {
        **{lap: paired(values, "matgl", "ours") for lap, values in laps.items()},
        "structures_per_second": rates, "trained_on": trained, "batch": arguments["batch"], "waiting": waiting,
    }  # fmt: skip


def run(settings: Settings) -> None:
    """All cases."""
    results = Results("pipeline", settings)
    with tempfile.TemporaryDirectory() as folder:
        parquet = drawn(48 if settings.quick else 512).write_parquet(Path(folder) / "crystals.parquet")
        for workers, threads in LOADERS:
            for case in CASES:
                results.measure(
                    f"{case}, {workers} workers, {threads} threads",
                    lambda case=case, workers=workers, threads=threads: compared(
                        case, workers, threads, parquet, settings
                    ),
                )
