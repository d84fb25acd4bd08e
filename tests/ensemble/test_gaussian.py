"""A Gaussian process on descriptors: what it learns, and what is kept of it."""

from __future__ import annotations

import dataclasses

import numpy as np
from ensemble.conftest import table

from matgl_ssl.ensemble.inputs import Inputs
from matgl_ssl.ensemble.members import GaussianProcess, Lesson, Trees


def lesson(crystals, rows, labels) -> Lesson:
    inputs = Inputs.of(crystals).take(rows)
    groups = np.array(crystals.formulas())[rows]
    return Lesson(inputs, labels[rows], None, groups, 0, 0)


def test_a_smooth_label_is_learned_better_than_by_trees_and_comes_back_from_a_file(tmp_path):
    crystals = table(70, lambda metal, anion, a: a * a / 2 + metal / 50)
    labels = crystals.column("target").astype(float)
    seen, unseen = np.arange(50), np.arange(50, 70)
    errors = {}
    for member in (GaussianProcess("process"), GaussianProcess("more", numbers="more descriptors"), Trees("trees")):
        fitted = member.fit(lesson(crystals, seen, labels))
        said = fitted.predict(Inputs.of(crystals).take(unseen))[:, 0, 0]
        errors[member.name] = np.abs(said - labels[unseen]).mean()
        folder = tmp_path / member.name
        folder.mkdir()
        fitted.save(folder)
        again = member.load(folder, 0).predict(Inputs.of(crystals).take(unseen))[:, 0, 0]
        np.testing.assert_array_equal(again, said)
    assert errors["process"] < 0.7 * errors["trees"]
    assert errors["more"] < errors["trees"]


def test_a_label_that_counts_little_is_believed_little():
    crystals = table(40, lambda metal, anion, a: a * a)
    labels = crystals.column("target").astype(float)
    rows, wrong = np.arange(40), labels.copy()
    wrong[:10] += 20.0
    weights = np.where(rows < 10, 1e-6, 1.0)
    believed, doubted = (
        GaussianProcess("process").fit(dataclasses.replace(lesson(crystals, rows, wrong), weights=w))
        for w in (None, weights)
    )
    inputs = Inputs.of(crystals)
    errors = [np.abs(f.predict(inputs)[10:, 0, 0] - labels[10:]).mean() for f in (believed, doubted)]
    assert errors[1] < errors[0]
