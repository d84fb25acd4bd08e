"""Probes against normal equations written here, and folds that no group straddles."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.base import clone
from small_systems import cscl, iron, nacl, skewed

from matgl_ssl.errors import ConfigError
from matgl_ssl.evaluation import chemical_systems, grouped_folds, kernel_ridge, mlp, ridge


@pytest.fixture
def task() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors whose columns have very different sizes, a target, and vectors from elsewhere."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5)) * [1, 100, 0.01, 1, 5] + [0, 1000, 0, -3, 1]
    y = x @ [1, 0.02, 30, 0, 0.3] + 0.1 * rng.normal(size=40)
    return x, y, 3 * rng.normal(size=(7, 5)) * [1, 100, 0.01, 1, 5] + [2, 900, 0, -3, 1]


def scaled(x, by):
    return (x - by.mean(0)) / by.std(0)


def test_ridge_is_the_normal_equations_on_the_training_parts_scale(task):
    x, y, new = task
    fitted = ridge(alphas=[0.7], cv=3).fit(x, y)
    z = scaled(x, x)
    weights = np.linalg.solve(z.T @ z + 0.7 * np.eye(5), z.T @ (y - y.mean()))
    np.testing.assert_allclose(fitted.predict(new), scaled(new, x) @ weights + y.mean(), rtol=1e-8)


@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_kernel_ridge_is_its_linear_system_on_the_training_parts_scale(task, kernel):
    x, y, new = task
    fitted = kernel_ridge(kernels=[kernel], alphas=[0.03], gammas=[0.2], cv=3).fit(x, y)

    def gram(a, b):
        difference = a[:, None] - b[None]
        distance = (difference**2).sum(2) if kernel == "rbf" else np.abs(difference).sum(2)
        return np.exp(-0.2 * distance)

    z, labels = scaled(x, x), (y - y.mean()) / y.std()
    weights = np.linalg.solve(gram(z, z) + 0.03 * np.eye(40), labels)
    expected = gram(scaled(new, x), z) @ weights * y.std() + y.mean()
    np.testing.assert_allclose(fitted.predict(new), expected, rtol=1e-7)


@pytest.mark.parametrize("probe", [ridge(cv=3), kernel_ridge(alphas=[1e-3], gammas=[0.01], cv=3)])
def test_what_is_tested_on_does_not_move_the_scale(task, probe):
    x, y, new = task
    fitted = clone(probe).fit(x, y)
    np.testing.assert_allclose(fitted.predict(new)[:1], fitted.predict(new[:1]), rtol=1e-8)
    assert not np.allclose(fitted.predict(new), fitted.predict(new + 1e3 * x.std(0)))
    np.testing.assert_allclose(fitted.best_estimator_["scaler"].mean_, x.mean(0))


def test_the_published_scale_is_that_of_what_is_tested_on(task):
    x, y, new = task
    fitted = ridge(alphas=[0.7], cv=3, scale="each part by itself").fit(x, y)
    np.testing.assert_allclose(fitted.predict(new), fitted.predict(new + 1e3 * x.std(0)), rtol=1e-6)
    z = scaled(x, x)
    weights = np.linalg.solve(z.T @ z + 0.7 * np.eye(5), z.T @ (y - y.mean()))
    np.testing.assert_allclose(fitted.predict(new), scaled(new, new) @ weights + y.mean(), rtol=1e-8)
    with pytest.raises(ConfigError, match="training part"):
        ridge(scale="test part")


def test_a_perceptron_learns_what_is_not_linear():
    x = np.random.default_rng(0).uniform(-2, 2, (200, 2))
    y = 100 + 5 * np.abs(x[:, 0])
    fitted = mlp(alphas=[1e-2, 1e2]).fit(x[:150], y[:150])
    assert fitted.best_params_ == {"regression__regressor__alpha": 1e-2}
    assert np.abs(fitted.predict(x[150:]) - y[150:]).mean() < 0.5
    assert np.abs(ridge().fit(x[:150], y[:150]).predict(x[150:]) - y[150:]).mean() > 2


def test_the_published_grid_is_the_default():
    grid = kernel_ridge().param_grid
    assert grid["regression__regressor__kernel"] == ["rbf", "laplacian"]
    for name in ("alpha", "gamma"):
        np.testing.assert_allclose(grid[f"regression__regressor__{name}"], np.logspace(-10, 0, 11))
    assert kernel_ridge().scoring == "neg_mean_absolute_error"
    assert kernel_ridge().cv == ridge().cv == 10


def test_no_group_is_on_both_sides_and_every_row_is_tested_once():
    groups = [f"system {i}" for i in np.random.default_rng(1).integers(0, 30, size=200)]
    folds = grouped_folds(groups, 5, seed=3)
    assert Counter(int(row) for _, test in folds for row in test) == Counter(range(200))
    for train, test in folds:
        assert len(train) + len(test) == 200
        assert not {groups[i] for i in train} & {groups[i] for i in test}
    again = grouped_folds(groups, 5, seed=3)
    assert all(
        np.array_equal(a, b) for one, two in zip(folds, again, strict=True) for a, b in zip(one, two, strict=True)
    )
    other = grouped_folds(groups, 5, seed=4)
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(folds, other, strict=True))


def test_folds_choose_hyperparameters_too(task):
    x, y, _ = task
    folds = grouped_folds([str(i // 4) for i in range(40)], 5)
    assert ridge(cv=folds).fit(x, y).n_splits_ == 5


def test_more_folds_than_groups_are_refused():
    with pytest.raises(ConfigError, match="3 folds of 2 groups"):
        grouped_folds(["a", "b", "b"], 3)
    with pytest.raises(ConfigError, match="1 folds"):
        grouped_folds(["a", "b"], 1)


def test_chemical_systems_are_sorted_elements():
    assert chemical_systems([nacl(), cscl(), iron(), skewed()]) == ["Cl-Na", "Cl-Cs", "Fe", "Mg-O-Si"]
