"""The same command twice, and with other numbers of workers, gives the same bits."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from small_systems import small_model
from synthetic import MEGNET, cell, write

from matgl_ssl import embed, finetune, predict, pretrain

RUN = {
    "model": "MEGNet", "model_args": {**MEGNET, "nblocks": 1, "dropout": 0.1}, "epochs": 2, "batch_size": 8, "seed": 5,
    "accelerator": "cpu",
}  # fmt: skip
VERBS = {
    "pretrain": lambda data, out, **more: pretrain(data=data, out=out, recipe="masked-atoms", **RUN, **more).encoder,
    "finetune": lambda data, out, **more: finetune(data=data, out=out, target="size", **RUN, **more).model,
}


@pytest.fixture
def data(tmp_path) -> Path:
    pairs = enumerate(product((11, 12, 26, 55, 57), (8, 9, 17, 35)))
    return write(tmp_path / "data.parquet", [cell(m, x, 3.2 + 0.05 * i, size=float(i)) for i, (m, x) in pairs])


@pytest.mark.parametrize("verb", VERBS)
def test_training(data, tmp_path, verb):
    exports = [VERBS[verb](str(data), tmp_path / f"run{i}", num_workers=workers) for i, workers in enumerate((0, 0, 2))]
    first, *others = (torch.load(path / "state.pt", weights_only=True) for path in exports)
    for other in others:
        assert first.keys() == other.keys()
        assert all(torch.equal(first[name], other[name]) for name in first)
    logs = [(tmp_path / f"run{i}" / "facts.json").read_bytes() for i in range(3)]
    assert len(set(logs)) == 1


def test_inference(data):
    model = small_model("MEGNet", element_types=("O", "F", "Na", "Mg", "Cl", "Fe", "Br", "Cs", "La"))
    vectors = [embed(model=model, data=data).vectors for _ in range(2)]
    assert np.array_equal(*vectors)
    values = [[each.value for each in predict(model=model, data=data)] for _ in range(2)]
    assert values[0] == values[1]
