"""Folds of labelled crystals: no formula is in two of them, and each has its share of small and large labels."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_ssl.ensemble.folds import balanced_folds
from matgl_ssl.errors import ConfigError


@pytest.mark.parametrize("n_groups", [10, 37, 100])
def test_no_group_is_in_two_folds_and_folds_are_balanced(n_groups):
    rng = np.random.default_rng(0)
    groups = np.array([f"g{i}" for i in rng.integers(n_groups, size=100)])
    labels = rng.lognormal(0, 2, 100)
    folds = balanced_folds(groups, labels, 5, 0)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    assert set(folds) == {0, 1, 2, 3, 4}
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= np.bincount(np.unique(groups, return_inverse=True)[1]).max() + 3
    large = np.bincount(folds[labels > np.quantile(labels, 0.8)], minlength=5)
    assert large.min() >= 1
    assert np.array_equal(folds, balanced_folds(groups, labels, 5, 0))
    if n_groups > 10:
        assert not np.array_equal(folds, balanced_folds(groups, labels, 5, 1))


def test_few_labels_and_few_groups_get_fewer_folds():
    labels = np.arange(10.0)
    assert set(balanced_folds([f"{i}" for i in range(10)], labels, 5)) == {0, 1, 2, 3, 4}
    assert set(balanced_folds(["a"] * 5 + ["b"] * 3 + ["c"] * 2, labels, 5)) == {0, 1, 2}
    assert set(balanced_folds([f"{i}" for i in range(10)], np.arange(10) % 3, 5)) == {0, 1, 2, 3, 4}
    with pytest.raises(ConfigError, match="NaCl"):
        balanced_folds(["NaCl"] * 10, labels, 5)
