"""Ridge, kernel ridge and a small perceptron on a representation, with the scaler inside, and folds by groups.

The probes of Kong et al. (arXiv 2211.03563; Harrykjg-physics/self-supervised-atomic-representations): standardised
vectors, hyperparameters on powers of ten by tenfold cross-validated mean absolute error. Deviations: the scaler is
fitted on the training part alone, in every fold (theirs scales the test vectors by their own mean and deviation:
``scale="each part by itself"``), and the second, finer grid around the best is left to ``alphas`` and ``gammas``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from matgl_ssl.ensemble.folds import chemical_systems, grouped_folds
from matgl_ssl.ensemble.kernels import GRID, KERNELS, Folds, Scale, kernel_ridge, searched

__all__ = ["GRID", "KERNELS", "chemical_systems", "grouped_folds", "kernel_ridge", "mlp", "ridge"]


def ridge(
    *, alphas: Sequence[float] = tuple(np.logspace(-4, 6, 11)), cv: Folds = 10, scale: Scale = "training part"
) -> GridSearchCV:
    """Ridge regression on standardised vectors.

    Args:
        alphas: Penalties to choose from. Standardised vectors want larger ones than a kernel does.
        cv: Folds to choose by: a number, or ``grouped_folds`` of the training part.
        scale: What the vectors are standardised by. ``"each part by itself"`` is the published mistake: what a crystal
            is predicted to be then depends on the crystals predicted together with it.

    Returns:
        A search that is fitted with ``fit(vectors, targets)`` and then predicts with the best penalty.
    """
    return searched(Ridge(), {"regression__alpha": list(alphas)}, cv, scale)


def mlp(*, alphas: Sequence[float] = (1e-3, 1e-1, 1e1), hidden: int = 64, cv: Folds = 3, seed: int = 0) -> GridSearchCV:
    """A small perceptron on standardised vectors, by L-BFGS, the target standardised, too.

    Args:
        alphas: Penalties of its weights to choose from.
        hidden: Width of its one hidden layer.
        cv: Folds to choose by: a number, or ``grouped_folds`` of the training part.
        seed: Seed of its weights.

    Returns:
        A search that is fitted with ``fit(vectors, targets)`` and then predicts with the best penalty.
    """
    network = MLPRegressor(hidden_layer_sizes=(hidden,), solver="lbfgs", max_iter=500, max_fun=5000, random_state=seed)
    regression = TransformedTargetRegressor(network, transformer=StandardScaler())
    return searched(regression, {"regression__regressor__alpha": list(alphas)}, cv, "training part")
