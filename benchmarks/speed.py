"""Accelerated training steps against MatGL's own, side by side in one run.

    MATGL_SSL_DATA=... python benchmarks/speed.py          # writes results/speed.json

Crystals: rows of Materials Project (``mp37k/train.parquet``) of at most 20 atoms, drawn with seed 0; their ids are in
the result. A step is collating, forward, loss, backward and the optimiser; plain and accelerated steps alternate on the
same graphs, and ratios are medians over pairs of three steps (wall time). ``energy`` is the model as MatGL's
``ModelLightningModule`` trains it; ``forces`` a ``Potential`` with forces and stresses, differentiated twice. The floor
is what the matrix products alone take: multiplications, counted, over the rate that such a product reaches here.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from matgl_ssl.backends import CrystalBatch, Potential, backend, collate
from matgl_ssl.crystals import CrystalDataset, read_crystals
from matgl_ssl.encoders import Encoder
from matgl_ssl.encoders.acceleration import accelerate, decelerate
from matgl_ssl.hub import new_model

RESULTS = Path(__file__).parent / "results"
CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "MEGNet energy": ("MEGNet", {}, 64),
    "M3GNet energy": ("M3GNet", {}, 64),
    "M3GNet forces": ("M3GNet", {"is_intensive": False}, 16),
}
PAIRS = 15


def drawn(n: int) -> CrystalDataset:
    """The crystals."""
    crystals = read_crystals(Path(os.environ["MATGL_SSL_DATA"]) / "mp37k" / "train.parquet", columns=[])
    small = np.flatnonzero(crystals.sizes() <= 20)
    return crystals.select(np.sort(np.random.default_rng(0).choice(small, n, replace=False)))


def outputs(model: nn.Module, batch: CrystalBatch, forces: bool) -> Tensor:
    """What the loss is taken of."""
    state = torch.zeros(len(batch), 2)
    if not forces:
        return backend.run_model(model, batch, state)
    energies, force, stress, *_ = backend.run_potential(Potential(model).train(), batch, state)
    return torch.cat([energies.flatten(), force.flatten(), stress.flatten()])


def floor_seconds(step: Callable[[], None]) -> tuple[float, float]:
    """Multiplications of a step (in 10⁹, two operations each), and the time they take at the rate measured here."""
    # Sparse products would be counted as dense ones: without them the same sums are gathers.
    with mock.patch("torch.backends.mkl.is_available", return_value=False), FlopCounterMode(display=False) as counter:
        step()
    a, b = torch.randn(20_000, 64), torch.randn(64, 64)
    a @ b
    start = time.perf_counter()
    for _ in range(20):
        a @ b
    rate = 20 * 2 * 20_000 * 64 * 64 / (time.perf_counter() - start)
    return counter.get_total_flops() / 2e9, counter.get_total_flops() / rate


def measure(case: str) -> dict[str, Any]:
    """One case."""
    name, arguments, n = CASES[case]
    torch.manual_seed(0)
    model = new_model(name, arguments).train()
    build = Encoder(model).graph_builder()
    graphs = [build(crystal) for crystal in drawn(512)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    batches = [collate(graphs[i : i + n]) for i in range(0, 512, n)]

    def step(i: int = 0) -> None:
        optimizer.zero_grad()
        outputs(
            model, collate(graphs[i * n % 512 : i * n % 512 + n]), case.endswith("forces")
        ).square().mean().backward()
        optimizer.step()

    def timed(i: int) -> float:
        start = time.perf_counter()
        for k in range(3):
            step(3 * i + k)
        return (time.perf_counter() - start) / 3

    plain, fast, multiplications = [], [], {}
    for i in range(-2, PAIRS):
        decelerate(model)
        a = timed(max(i, 0))
        accelerate(model)
        b = timed(max(i, 0))
        if i >= 0:  # the first two pairs warm up
            plain.append(a)
            fast.append(b)
    for which, prepare in (("plain", decelerate), ("accelerated", accelerate)):
        prepare(model)
        multiplications[which] = floor_seconds(step)
    ratios = np.array(plain) / np.array(fast)
    return {
        "batch": n,
        "atoms": int(np.mean([len(b.node_type) for b in batches])),
        "edges": int(np.mean([b.edge_index.shape[1] for b in batches])),
        "plain_ms": round(1e3 * float(np.median(plain)), 1),
        "accelerated_ms": round(1e3 * float(np.median(fast)), 1),
        "ratio": round(float(np.median(ratios)), 2),
        "ratio_quartiles": [round(float(q), 2) for q in np.quantile(ratios, [0.25, 0.75])],
        "multiplications_1e9": {k: round(v[0], 2) for k, v in multiplications.items()},
        "floor_ms": {k: round(1e3 * v[1], 1) for k, v in multiplications.items()},
    }


def main() -> None:
    """All cases at one and two threads."""
    result: dict[str, Any] = {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "torch": torch.__version__},
        "ids": drawn(512).ids,
    }
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for case in CASES:
            result[f"{case}, {threads} threads"] = found = measure(case)
            print(case, threads, found, flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speed.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
