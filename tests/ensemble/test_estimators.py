"""``fit`` among scikit-learn's tools."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline

from matgl_ssl import CrystalClassifier, CrystalRegressor
from matgl_ssl.errors import DataError

from .conftest import table

TABLE = table(40, lambda m, x, a: a**3)
X, Y = list(TABLE), np.array(TABLE.column("target"))
OTHERS = list(table(10, lambda m, x, a: a**3, seed=1))
QUICK = {"encoders": [], "n_folds": 3}


@pytest.fixture(scope="module")
def fitted():
    return CrystalRegressor(**QUICK).fit(X, Y)


def test_a_regressor_says_values_deviations_and_intervals(fitted):
    value, std, lower, upper = fitted.predict(OTHERS, return_std=True, return_interval=True)
    assert value.shape == std.shape == (10,)
    assert (lower < value).all()
    assert (value < upper).all()
    assert (std > 0).all()
    np.testing.assert_array_equal(fitted.predict(OTHERS), value)
    assert fitted.score(OTHERS, [c.lattice[0, 0] ** 3 for c in OTHERS]) > 0.5
    assert is_regressor(fitted)


def test_a_pickle_and_a_clone(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_allclose(again.predict(OTHERS), fitted.predict(OTHERS), rtol=1e-12)
    assert again.path_ != fitted.path_
    new = clone(fitted)
    assert new.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        new.predict(OTHERS)
    assert new.set_params(coverage=0.5).coverage == 0.5


def test_cross_validation_and_pipelines():
    scores = cross_val_score(Pipeline([("fit", CrystalRegressor(**QUICK))]), X, Y, cv=2, scoring="r2")
    assert scores.shape == (2,)
    assert scores.min() > 0


@pytest.mark.parametrize("kind", [str, bool, int])
def test_a_classifier_keeps_its_classes(kind):
    labels = np.array([kind(a > 55) for a in Y])
    fitted = CrystalClassifier(**QUICK).fit(X, labels, sample_weight=np.ones(40))
    assert set(fitted.classes_) == set(labels)
    chances = fitted.predict_proba(OTHERS)
    np.testing.assert_allclose(chances.sum(1), 1)
    truth = [kind(c.lattice[0, 0] ** 3 > 55) for c in OTHERS]
    assert fitted.score(OTHERS, truth) >= 0.8
    assert fitted.predict(OTHERS).dtype == labels.dtype
    assert is_classifier(fitted)


def test_a_label_for_each_structure():
    with pytest.raises(DataError, match="one label for each"):
        CrystalRegressor(**QUICK).fit(X, Y[:-1])
