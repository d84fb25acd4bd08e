"""(e) Embedding, prediction and molecular dynamics, accelerated against plain.

``embed`` and ``predict`` take the drawn crystals from the table to the vectors or numbers: checks and graphs included,
which acceleration does not touch; ``encoder`` is the forward pass on ready batches alone. ``md`` is ASE's velocity
Verlet with MatGL's ``PESCalculator`` (forces and stress) on rock salt MgO; the weights are random, and steps of 0.01 fs
keep the crystal together.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from matgl.ext.ase import PESCalculator

import matgl_ssl
from matgl_ssl import accelerate
from matgl_ssl.backends import Potential, collate
from matgl_ssl.crystals import check_dataset
from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import new_model

from .common import Results, Settings, drawn, fresh, in_turn, n_threads, paired, seconds

MODELS = ("MEGNet", "M3GNet")
CELLS = {16: (2, 1, 1), 96: (3, 2, 2), 512: (4, 4, 4)}


@contextmanager
def plain() -> Iterator[None]:
    """Nobody accelerates a model by default meanwhile."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("matgl_ssl") and vars(module).get("accelerate") is accelerate:
                stack.enter_context(mock.patch.object(module, "accelerate", lambda model: model))
        yield


def both(works: dict[str, Callable[[], object]], settings: Settings, pairs: int) -> dict[str, Any]:
    """A plain against an accelerated call."""

    def plainly(i: int) -> float:
        with plain():
            return seconds(works["plain"], settings.device)

    measure = {"plain": plainly, "accelerated": lambda i: seconds(works["accelerated"], settings.device)}
    return paired(in_turn(measure, pairs=2 if settings.quick else pairs), "plain", "accelerated")


def rates(row: dict[str, Any], n: int, what: str) -> dict[str, Any]:
    """With what is done in a second."""
    sides = ("plain", "accelerated")
    return {**row, f"{what}_per_second": {side: round(1e3 * n / row[f"{side}_ms"], 1) for side in sides}}


def models(name: str, **arguments: Any) -> dict[str, Any]:
    """The same random weights twice."""
    torch.manual_seed(0)
    model = new_model(name, arguments).eval()
    return {"plain": model, "accelerated": accelerate(copy.deepcopy(model))}


def embedding(name: str, what: str, threads: int, settings: Settings) -> dict[str, Any]:
    """Crystals that are embedded or predicted."""
    crystals, _ = check_dataset(drawn(32 if settings.quick else 512), cutoff=4.0)  # MEGNet's; predict refuses others
    sides = {side: model.to(settings.device) for side, model in models(name).items()}
    works: dict[str, Callable[[], object]] = {}
    for side, model in sides.items():
        if what == "embed":
            works[side] = lambda m=model: matgl_ssl.embed(model=m, data=crystals)
        elif what == "predict":
            works[side] = lambda m=model: matgl_ssl.predict(model=m, data=crystals)
        else:
            works[side] = forward(Encoder(model), crystals, settings.device)
    with n_threads(threads):
        return rates(both(works, settings, 9), len(crystals), "structures")


def forward(encoder: Encoder, crystals: Any, device: str) -> Callable[[], object]:
    """Forward passes on ready batches."""
    build = encoder.graph_builder()
    graphs = [build(crystal) for crystal in crystals]
    batches = [collate(graphs[i : i + 64]).to(device) for i in range(0, len(graphs), 64)]

    @torch.no_grad()
    def work() -> None:
        for batch in fresh(batches):
            encoder(batch)

    return work


def dynamics(n_atoms: int, threads: int, settings: Settings) -> dict[str, Any]:
    """Steps of molecular dynamics."""
    steps = 2 if settings.quick else max(5, 1000 // n_atoms)
    works: dict[str, Callable[[], object]] = {}
    for side, model in models("M3GNet", is_intensive=False).items():
        atoms: Atoms = bulk("MgO", "rocksalt", a=4.21, cubic=True).repeat(CELLS[n_atoms])
        atoms.calc = PESCalculator(Potential(model).to(settings.device), stress_unit="eV/A3")
        MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
        verlet = VelocityVerlet(atoms, timestep=0.01 * units.fs)
        works[side] = lambda verlet=verlet: verlet.run(steps)
    with n_threads(threads):
        return rates(both(works, settings, 9), steps, "steps")


def run(settings: Settings) -> None:
    """All of it."""
    results, threads = Results("inference", settings), settings.threads[-1]
    for name in MODELS:
        for what in ("embed", "predict", "encoder"):
            results.measure(
                f"{what}, {name}, {threads} threads",
                lambda name=name, what=what: embedding(name, what, threads, settings),
            )
    for n in list(CELLS)[: 1 if settings.quick else None]:
        results.measure(f"md, {n} atoms, {threads} threads", lambda n=n: dynamics(n, threads, settings))
