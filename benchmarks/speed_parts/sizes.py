"""(d) Time and peak memory of a forward and backward pass against the size of the cell and of the batch.

Rock salt MgO with its atoms displaced, 8 to 2,000 atoms in one cell; and batches of the drawn crystals. Each
measurement has a process of its own. Memory is the peak of RssAnon while passes run, less what there was before the
first one (on a GPU: what torch has allocated).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from ase.build import bulk

from .common import MIB, Results, Settings, drawn, in_a_process, seconds

CELLS = {8: (1, 1, 1), 32: (2, 2, 1), 128: (4, 2, 2), 512: (4, 4, 4), 1000: (5, 5, 5), 2000: (10, 5, 5)}
BATCHES = (1, 4, 16, 64, 256)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "MEGNet": ("MEGNet", {}),
    "M3GNet": ("M3GNet", {}),
    "M3GNet forces and stress": ("M3GNet", {"is_intensive": False}),
}


def passes(case: str, n_atoms: int, n_crystals: int, accelerated: bool, times: int, device: str) -> dict[str, Any]:
    """Forward and backward, in a process of its own: one cell of ``n_atoms``, or so many of the drawn crystals."""
    import torch

    from matgl_ssl import accelerate
    from matgl_ssl.acceleration import compiler
    from matgl_ssl.backends import collate
    from matgl_ssl.crystals import Crystal
    from matgl_ssl.encoders import Encoder
    from matgl_ssl.hub import new_model

    from .step import trained

    compiler.library()  # asks the compiler for its version: a process that has our memory, too, while it starts
    torch.manual_seed(0)
    name, arguments = CASES[case]
    model = new_model(name, arguments)
    encoder = Encoder(accelerate(model) if accelerated else model).train().to(device)
    if n_atoms:
        atoms = bulk("MgO", "rocksalt", a=4.21, cubic=True).repeat(CELLS[n_atoms])
        atoms.positions += np.random.default_rng(0).normal(scale=0.05, size=(n_atoms, 3))
        crystals = [Crystal.from_atoms(atoms)]
    else:
        crystals = list(drawn(n_crystals))
    build = encoder.graph_builder()
    graphs = [build(crystal) for crystal in crystals]
    found, start = [], time.monotonic()
    for _ in range(times):
        batch = collate(graphs).to(device)
        encoder.zero_grad()
        found.append(seconds(lambda b=batch: trained(encoder, b, case.endswith("stress")).backward(), device))
    return {
        "seconds": float(np.median(found[1:])), "edges": sum(g.edge_index.shape[1] for g in graphs), "start": start,
        "allocated": 0 if device == "cpu" else torch.cuda.max_memory_allocated() / MIB,
    }  # fmt: skip


def measured(case: str, n_atoms: int, n_crystals: int, threads: int, settings: Settings) -> dict[str, Any]:
    """Plain and accelerated."""
    row: dict[str, Any] = {}
    for side in ("plain", "accelerated"):
        seen = in_a_process(
            passes, threads=threads, every=0.005, case=case, n_atoms=n_atoms, n_crystals=n_crystals,
            accelerated=side == "accelerated", times=3 if settings.quick else 8, device=settings.device,
        )  # fmt: skip
        before = [mib for t, mib in seen.samples if t < seen.value["start"]][-1]
        mib = seen.value["allocated"] or seen.peak(seen.value["start"]) - before
        row |= {f"{side}_ms": round(1e3 * seen.value["seconds"], 2), f"{side}_MiB": round(max(mib, 0.0), 1)}
    return {"edges": seen.value["edges"], **row, "ratio": round(row["plain_ms"] / row["accelerated_ms"], 3)}


def run(settings: Settings) -> None:
    """All sizes."""
    results, threads = Results("sizes", settings), settings.threads[-1]
    cells, batches = ((8, 32), (1, 4)) if settings.quick else (tuple(CELLS), BATCHES)
    for case in CASES:
        for n in cells:
            results.measure(
                f"{case}, a cell of {n} atoms", lambda case=case, n=n: measured(case, n, 0, threads, settings)
            )
        for n in batches:
            results.measure(f"{case}, {n} crystals", lambda case=case, n=n: measured(case, 0, n, threads, settings))
