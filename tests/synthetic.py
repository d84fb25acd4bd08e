"""Data in which the truth is known: caesium-chloride cells whose property is their size, corpora that say or do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from small_systems import SMALL

from matgl_ssl.crystals import Crystal, CrystalDataset

THEIRS = (3, 11, 12, 13, 19, 20, 21, 22, 23, 24, 25, 31, 37, 38, 49, 55, 56)
OTHERS = (26, 27, 28, 29, 30, 39, 40, 41, 42, 47, 48, 50)
ANIONS = (8, 9, 16, 17, 34, 35, 53)
MEGNET = {k: v for k, v in SMALL["MEGNet"].items() if k != "element_types"}


def cell(metal: int, anion: int, a: float, **labels: Any) -> Crystal:
    return Crystal(np.array([metal, anion]), np.array([[0.0] * 3, [0.5] * 3]), a * np.eye(3), f"{a:.4f}", labels)


def write(path: Path, crystals: list[Crystal]) -> Path:
    return CrystalDataset.from_crystals(crystals).write_parquet(path)


def corpus_and_task(root: Path) -> None:
    """``task.parquet`` asks for ``size``. The corpus knows it as ``renamed``, and not from ``noise``.

    The task's 119 formulas are distinct; 80 of the corpus's 240 crystals are the task's.
    """
    rng = np.random.default_rng(0)
    theirs = [(metal, anion, float(rng.uniform(3.2, 4.4))) for metal in THEIRS for anion in ANIONS]
    others = [(int(rng.choice(OTHERS)), int(rng.choice(ANIONS)), float(rng.uniform(3.2, 4.4))) for _ in range(160)]
    corpus = [*others, *(theirs[i] for i in rng.permutation(len(theirs))[:80])]
    write(root / "task.parquet", [cell(m, x, a, size=a**3) for m, x, a in theirs])
    write(root / "corpus.parquet", [cell(m, x, a, renamed=2 * a**3 + 1, noise=rng.normal()) for m, x, a in corpus])
    recipe = {
        "summary": "the size, without labels",
        "pretexts": [
            {"name": "crystal-targets", "arguments": {"targets": ["density"], "view": "clean", "loss": "mae"}},
        ],
        "lr": 5e-3, "batch_size": 16,
    }  # fmt: skip
    (root / "says-it.yaml").write_text(yaml.safe_dump(recipe))


def study(root: Path, **changes: Any) -> dict[str, Any]:
    """A configuration of seconds."""
    common = {"accelerator": "cpu"}
    return {
        "corpus": {"data": "corpus.parquet"},
        "tasks": {"size": {"data": "task.parquet", "target": "size", "unit": "Å³"}},
        "encoders": {"MEGNet": {**MEGNET, "nblocks": 1}},
        "arms": {
            "helps": {"recipe": str(root / "says-it.yaml")},
            "does-not-help": {"supervised": "noise"},
            "leaks": {"supervised": "renamed"},
        },
        "pretrain": {**common, "epochs": 25, "lr": 5e-3, "batch_size": 16},
        "finetune": {**common, "batch_size": 8},
        "grid": [{"lr": 3e-3, "epochs": 40}, {"lr": 1e-6, "epochs": 1}],
        "validation_crystals": 6,
        "longer_by": "helps",
        "rounds": [{"tasks": ["size"], "arms": ["trivial", "scratch"], "labels": [16], "seeds": [0, 1, 2]}],
        **changes,
    }
