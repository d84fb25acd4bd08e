"""(f) What equal atoms and edges save: their number in the tables of the evidence, and the time of a pass.

For each table 256 crystals of at most 40 atoms, drawn with seed 0, in batches of 32 and of 128: atoms and edges, how
many are left when one of each kind is computed, and accelerated forward and backward passes through all crystals that
compute everything, against passes that do so (the search for copies included). And what that search costs where there
are no copies: crystals whose atoms were displaced by 0.01 Å, or of which 15 % are masked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from matgl_ssl.acceleration import accelerate, m3gnet, megnet
from matgl_ssl.backends import MASK, CrystalBatch, collate
from matgl_ssl.crystals import read_crystals
from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import new_model

from .common import Results, Settings, fresh, in_turn, n_threads, paired, seconds
from .step import trained

MODELS = {"MEGNet": megnet, "M3GNet": m3gnet}
TABLES = (
    "tasks/matbench_phonons",
    "tasks/mp_elasticity_3191",
    "tasks/matbench_jdft2d",
    "tasks/alexandria_binary_heat_capacity",
    "mp37k/train",
)


def batches(table: str, encoder: Encoder, n: int, quick: bool) -> list[CrystalBatch]:
    """Crystals of a table."""
    crystals = read_crystals(Path(os.environ["MATGL_SSL_DATA"]) / f"{table}.parquet", columns=[])
    small = np.flatnonzero(crystals.sizes() <= 40)
    rows = np.sort(np.random.default_rng(0).choice(small, 2 * n if quick else 256, replace=False))
    graphs = list(map(encoder.graph_builder(), crystals.rows(rows)))
    return [collate(graphs[i : i + n]) for i in range(0, len(graphs), n)]


def displaced(batch: CrystalBatch) -> None:
    """Move all atoms."""
    noise = 0.01 * torch.randn(batch.frac_coords.shape)
    batch.frac_coords = batch.frac_coords + torch.einsum("ni,nij->nj", noise, batch.lattice.inverse()[batch.batch])


def masked(batch: CrystalBatch) -> None:
    """Hide 15 % of the elements."""
    batch.atom[MASK] = torch.rand(len(batch.node_type)) < 0.15


CHANGES: dict[str, Callable[[CrystalBatch], None]] = {"displaced": displaced, "masked": masked}


def timed(name: str, table: str, n: int, settings: Settings, change: str | None = None) -> dict[str, Any]:
    """One table."""
    module: Any = MODELS[name]
    torch.manual_seed(0)
    encoder = Encoder(accelerate(new_model(name, {}).train())).to(settings.device)
    todo = batches(table, encoder, n, settings.quick)
    for batch in todo if change else ():
        CHANGES[change](batch)
    todo = [batch.to(settings.device) for batch in todo]
    found: list[Any] = []

    def noted(*arguments: Any) -> Any:
        found.append(equivalence(*arguments))
        return found[-1]

    def one_of_each(i: int) -> float:
        return seconds(lambda: [trained(encoder, batch, False).backward() for batch in fresh(todo)], settings.device)

    def all_of_them(i: int) -> float:
        with mock.patch.object(module, "equivalence", return_value=None):
            return one_of_each(i)

    equivalence: Callable[..., Any] = module.equivalence
    with mock.patch.object(module, "equivalence", noted):
        one_of_each(0)
    left = [
        (len(b.node_type), b.edge_index.shape[1]) if same is None else (len(same.atoms.one), len(same.edges.one))
        for b, same in zip(todo, found, strict=True)
    ]
    with n_threads(1):
        times = in_turn({"all": all_of_them, "one_of_each": one_of_each}, pairs=2 if settings.quick else 9)
    return {
        "batch": n,
        "atoms": sum(len(b.node_type) for b in todo),
        "atoms_left": sum(atoms for atoms, _ in left),
        "edges": sum(b.edge_index.shape[1] for b in todo),
        "edges_left": sum(edges for _, edges in left),
        **paired(times, "all", "one_of_each"),
    }


def run(settings: Settings) -> None:
    """All tables."""
    results = Results("copies", settings)
    for name, table, n in product(MODELS, TABLES, (32, 128)):
        case = f"{name}, {table}, {n} crystals"
        results.measure(case, lambda name=name, table=table, n=n: timed(name, table, n, settings))
    for name, change in product(MODELS, CHANGES):
        case = f"{name}, {TABLES[-1]}, 32 crystals, {change}"
        results.measure(case, lambda name=name, change=change: timed(name, TABLES[-1], 32, settings, change))
