"""A fresh readout that starts as a line: what the encoder was taught, weighted by what the labels say of it.

MatGL's readouts end in a perceptron. Its activation ``f`` (softplus or swish) has ``f(x) - f(-x) = x``. Two units of
each layer therefore pass a line through it exactly. The other units keep their random weights and do not reach the
output.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from torch import nn

from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import ModelError
from matgl_ssl.hub import evaluating
from matgl_ssl.hub.heads import LinearHeads

from .loader import Samples

logger = logging.getLogger(__name__)

_STRENGTHS = np.logspace(-2, 5, 15)
"""Ridge penalties to choose from, for quantities in standard deviations; the last one leaves the mean alone."""

_FOLDS, _BATCH = 5, 64


def start_as_line(
    encoder: Encoder, heads: LinearHeads, samples: Samples, labels: np.ndarray, groups: np.ndarray
) -> None:
    """Set the layers after the crystal vector to the line that fits the labels best.

    Args:
        encoder: An encoder with an intensive readout; its output is the line afterwards.
        heads: What it was taught.
        samples: The labelled crystals as graphs.
        labels: Their labels in the unit that the model is trained in, shape ``(n,)``.
        groups: What no two folds share, one a crystal: their formulas.

    Raises:
        ModelError: If the readout cannot hold a line, or the heads are of another vector.
    """
    if heads.weight.shape[1] != encoder.readout_dim:
        raise ModelError(
            f"The encoder's linear heads are for vectors of {heads.weight.shape[1]} numbers, and its readout makes "
            f"{encoder.readout_dim}. Use --readout-start random."
        )
    vectors = _vectors(encoder, samples)
    taught = fit_line(heads(vectors), labels, groups)
    slopes = heads.weight.T.astype(float) @ taught[:-1]
    offset = float(heads.bias @ taught[:-1] + taught[-1])
    head = encoder.architecture.readout_head(encoder.model)
    if head is None or not _write(head, slopes, offset, vectors):
        raise ModelError(f"The readout of this {encoder.architecture.name} holds no line. Use --readout-start random.")


def fit_line(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Slopes and intercept of the ridge regression whose penalty has the least absolute error out of fold.

    Args:
        features: Shape ``(n, k)``.
        labels: Shape ``(n,)``.
        groups: Shape ``(n,)``.

    Returns:
        Shape ``(k + 1,)``. With fewer than two groups nothing can be chosen: zero slopes, and the mean.
    """
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        return np.append(np.zeros(features.shape[1]), labels.mean())
    search = GridSearchCV(
        Ridge(), {"alpha": _STRENGTHS}, cv=GroupKFold(min(_FOLDS, n_groups)), scoring="neg_mean_absolute_error"
    )
    line = search.fit(features, labels, groups=groups).best_estimator_
    logger.info("The readout starts as a linear fit to what the encoder was pretrained on (penalty %g).", line.alpha)
    return np.append(line.coef_, line.intercept_)


@torch.no_grad()
def _vectors(encoder: Encoder, samples: Samples) -> np.ndarray:
    """Of each crystal, in order, ``(n, d)``."""
    with evaluating(encoder):
        parts = [
            encoder(samples.collate(samples.__getitems__([(0, row) for row in rows]))[0]).readout
            for rows in np.array_split(np.arange(len(samples)), -(-len(samples) // _BATCH))
        ]
    return torch.cat([part for part in parts if part is not None]).double().cpu().numpy()


@torch.no_grad()
def _write(head: nn.Module, slopes: np.ndarray, offset: float, vectors: np.ndarray) -> bool:
    """Make a perceptron put out ``vectors @ slopes + offset``; whether it does, to float32's precision."""
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    signs = torch.tensor([1.0, -1.0])
    first, *hidden = layers
    line = torch.tensor(np.append(slopes, offset))
    if not hidden:
        first.weight.copy_(line[None, :-1])
        first.bias.copy_(line[-1:])
    else:
        first.weight[:2] = (signs[:, None] * line[:-1]).to(first.weight)
        first.bias[:2] = (signs * line[-1]).to(first.bias)
        for layer in hidden[:-1]:
            layer.weight[:2] = 0.0
            layer.weight[:2, :2] = torch.outer(signs, signs).to(layer.weight)
            layer.bias[:2] = 0.0
        hidden[-1].weight.zero_()
        hidden[-1].weight[:, :2] = signs.to(hidden[-1].weight)
        hidden[-1].bias.zero_()
    with evaluating(head):
        found = head(torch.from_numpy(vectors).to(first.weight)).reshape(-1).double().cpu().numpy()
    expected = vectors @ slopes + offset
    return bool(np.allclose(found, expected, rtol=0, atol=1e-4 * max(1.0, float(np.abs(expected).max()))))
