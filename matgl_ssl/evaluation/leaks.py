"""The leak guard: crystals of the corpus that a downstream task has, too, and labels that are what a task asks for.

One corpus serves all tasks of a benchmark, so what any of them has is removed: all tables stand on the same
encoders. A label column is known by its name, and by its values: one that goes with the target over the crystals both
files have is the target under another name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from matgl_ssl.columns import quantity
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.errors import ConfigError, unknown

from .config import LeakRule
from .tasks import Task

RULES = ("formula", "structure", "none")
SAME_RANKS = 0.95
"""Rank correlation over shared crystals from which on two columns are one quantity."""
ENOUGH = 20
"""Shared crystals below which values say nothing."""


@dataclass(frozen=True)
class Removed:
    """What the guard took out of a corpus.

    Attributes:
        rule: The rule it followed.
        rows: Rows of the corpus, of any task.
        by_task: How many each task alone would remove.
        n_corpus: Crystals of the corpus before.
    """

    rule: LeakRule
    rows: list[int]
    by_task: dict[str, int]
    n_corpus: int

    def __str__(self) -> str:
        tasks = ", ".join(f"{name} {n:,}" for name, n in self.by_task.items())
        return f"leak rule `{self.rule}`: {len(self.rows):,} of {self.n_corpus:,} crystals removed ({tasks})"


def leaking(corpus: CrystalDataset, tasks: Sequence[Task], rule: LeakRule) -> Removed:
    """Find the crystals of a corpus that tasks have, too.

    Args:
        corpus: The corpus.
        tasks: The downstream tasks.
        rule: ``"formula"`` removes every crystal whose reduced formula a task has, ``"structure"`` those that
            pymatgen's StructureMatcher also takes for one of the task's, ``"none"`` nothing: pretraining then has seen
            the structures (never the labels) of the test part, and is transductive.

    Raises:
        ConfigError: If there is no such rule.
    """
    if rule not in RULES:
        raise unknown("leak rule", rule, RULES)
    if rule == "none":
        return Removed(rule, [], {task.name: 0 for task in tasks}, len(corpus))
    formulas = corpus.formulas()
    found = {}
    for task in tasks:
        rows = [i for i, formula in enumerate(formulas) if formula in task.guarded_formulas]
        found[task.name] = rows if rule == "formula" else _matching(corpus, rows, formulas, task)
    everything = sorted({row for rows in found.values() for row in rows})
    return Removed(rule, everything, {name: len(rows) for name, rows in found.items()}, len(corpus))


def _matching(corpus: CrystalDataset, rows: list[int], formulas: Sequence[str], task: Task) -> list[int]:
    """Of rows whose formula the task has, those with a structure that it has."""
    matcher = StructureMatcher()
    theirs: dict[str, list[Any]] = {}
    shared = {formulas[row] for row in rows}
    candidates = np.arange(len(task.crystals)) if task.tested is None else np.flatnonzero(task.tested)
    own = task.crystals.formulas()
    wanted = [int(i) for i in candidates if own[i] in shared]
    for i, crystal in zip(wanted, task.crystals.rows(wanted), strict=True):
        theirs.setdefault(own[i], []).append(_reduced(crystal))
    structures = map(_reduced, corpus.rows(rows))
    return [
        row
        for row, structure in zip(rows, structures, strict=True)
        if any(matcher.fit(structure, other, skip_structure_reduction=True) for other in theirs[formulas[row]])
    ]


def _reduced(crystal: Crystal) -> Structure:
    """As StructureMatcher reduces each structure of every pair; once is enough."""
    return crystal.to_structure().get_reduced_structure(reduction_algo="niggli").get_primitive_structure()


def same_values(a: CrystalDataset, column_a: str, b: CrystalDataset, column_b: str) -> bool:
    """Whether two columns rank the formulas that both tables have alike, the first as it is or divided by atoms.

    Only formulas that stand once in each table are compared: those of several polymorphs name no crystal.
    """
    theirs = _by_formula(b, column_b)
    return any(_alike(_by_formula(a, column_a, per_atom=each), theirs) for each in (False, True))


def _alike(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    shared = sorted(a.keys() & b.keys())
    if len(shared) < ENOUGH:
        return False
    ranks = np.stack([_ranks([table[formula] for formula in shared]) for table in (a, b)])
    return bool(abs(np.corrcoef(ranks)[0, 1]) >= SAME_RANKS)


def _ranks(values: list[float]) -> np.ndarray:
    """Equal values share their mean rank."""
    ordered = np.sort(values)
    return np.asarray(np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right"), float)


def _by_formula(crystals: CrystalDataset, column: str, *, per_atom: bool = False) -> dict[str, float]:
    values = crystals.column(column)
    if values.dtype.kind not in "fiub":
        return {}
    values = values / crystals.sizes() if per_atom else values
    formulas = np.array(crystals.formulas(), dtype=object)
    names, first, counts = np.unique(formulas, return_index=True, return_counts=True)
    once = {str(name): float(values[i]) for name, i, n in zip(names, first, counts, strict=True) if n == 1}
    return {name: value for name, value in once.items() if np.isfinite(value)}


def refuse_same_quantity(
    columns: tuple[str, ...], asked: str, task: CrystalDataset, target: str, corpus: CrystalDataset
) -> None:
    """Refuse to pretrain on labels that are what a task asks for.

    Args:
        columns: Label columns of the corpus that an arm is trained on.
        asked: The quantity that the task asks for.
        task: The task's crystals.
        target: Their label column.
        corpus: The corpus with those columns; names are enough to refuse, so it may lack them.

    Raises:
        ConfigError: If one of them is the same quantity, by its name or by its values.
    """
    for column in columns:
        how = "name" if quantity(column) == asked else ""
        if not how and column in corpus.label_names and same_values(corpus, column, task, target):
            how = "values on shared crystals"
        if how:
            raise ConfigError(
                f"{column!r} of {corpus.source} is {asked} by its {how}, which the task asks for: outside the revealed "
                "labels no label of it may be used. Pretrain on another column."
            )
