"""The losses that compare two views, against plain numpy; what they must not depend on; and their bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgl_ssl.losses import barlow_twins, cosine, nt_xent, simsiam, vicreg


def pair(n: int = 7, d: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, d, generator=generator, dtype=torch.float64) + 0.3
    return first, first + 0.5 * torch.randn(n, d, generator=generator, dtype=torch.float64)


def cos(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))


LOSSES = {
    "cosine": cosine,
    "barlow": barlow_twins,
    "barlow, rows": lambda a, b: barlow_twins(a, b, normalise_rows=True),
    "simsiam": lambda a, b: simsiam(a, b, 2 * a, 2 * b),
    "nt-xent": nt_xent,
    "nt-xent, negatives": lambda a, b: nt_xent(a, b, denominator="negatives"),
    "vicreg": vicreg,
}


def test_cosine_is_one_minus_the_mean_cosine():
    a, b = pair()
    expected = np.mean([1 - cos(x, y) for x, y in zip(a.numpy(), b.numpy(), strict=True)])
    assert float(cosine(a, b)) == pytest.approx(expected, rel=1e-12)
    assert float(cosine(a, a)) == pytest.approx(0, abs=1e-12)
    assert float(cosine(a, -a)) == pytest.approx(2)


@pytest.mark.parametrize("normalise", [False, True])
def test_barlow_twins_is_that_of_the_correlation_matrix(normalise):
    a, b = pair(n=40)
    x, y = a.numpy(), b.numpy()
    if normalise:
        x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    correlation = np.corrcoef(x.T, y.T)[:5, 5:]
    expected = sum((1 - correlation[i, i]) ** 2 for i in range(5))
    expected += 0.0051 * sum(correlation[i, j] ** 2 for i in range(5) for j in range(5) if i != j)
    assert float(barlow_twins(a, b, normalise_rows=normalise)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_identical_views_leave_nothing_on_barlows_diagonal(scale, normalise):
    z = scale * (torch.randn(64, 32, generator=torch.Generator().manual_seed(0)) + 2)
    assert float(barlow_twins(z, z, off_diagonal=0.0, normalise_rows=normalise)) / 32 < 1e-6


def test_barlow_twins_does_not_depend_on_scale_or_origin_of_the_dimensions():
    a, b = pair(n=40)
    stretched = a * torch.tensor([1.0, 10, 0.1, 3, 7]) + torch.arange(5.0)
    assert float(barlow_twins(stretched, b)) == pytest.approx(float(barlow_twins(a, b)), rel=1e-6)


def test_simsiam_is_the_symmetric_negative_cosine_and_stops_the_targets_gradient():
    (z1, z2), (p1, p2) = pair(seed=1), pair(seed=2)
    for tensor in (z1, z2, p1, p2):
        tensor.requires_grad_()
    loss = simsiam(z1, z2, p1, p2)
    rows = [[x.detach().numpy() for x in row] for row in zip(z1, z2, p1, p2, strict=True)]
    assert loss.item() == pytest.approx(np.mean([-(cos(c, b) + cos(d, a)) / 2 for a, b, c, d in rows]), rel=1e-12)
    loss.backward()
    assert z1.grad is None
    assert z2.grad is None
    assert p1.grad.abs().max() > 0
    assert p2.grad.abs().max() > 0


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_that_of_simclr(temperature):
    a, b = pair()
    z, n = np.concatenate([a.numpy(), b.numpy()]), 7
    terms = []
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        others = sum(np.exp(cos(z[i], z[k]) / temperature) for k in range(2 * n) if k != i)
        terms.append(-np.log(np.exp(cos(z[i], z[j]) / temperature) / others))
    assert float(nt_xent(a, b, temperature=temperature)) == pytest.approx(np.mean(terms), rel=1e-10)


def test_nt_xent_without_the_positive_is_that_of_kong():
    a, b = pair()
    x, y = a.numpy(), b.numpy()
    terms = [
        -np.log(np.exp(cos(x[i], y[i]) / 0.1) / sum(np.exp(cos(x[i], y[j]) / 0.1) for j in range(7) if j != i))
        for i in range(7)
    ]
    assert float(nt_xent(a, b, temperature=0.1, denominator="negatives")) == pytest.approx(np.mean(terms), rel=1e-10)


def test_nt_xent_of_vectors_that_are_all_the_same_is_a_guess():
    z = torch.ones(8, 3)
    assert float(nt_xent(z, z)) == pytest.approx(np.log(15), rel=1e-5)
    assert float(nt_xent(z, z, denominator="negatives")) == pytest.approx(np.log(7), rel=1e-5)


def test_vicreg_is_that_of_its_paper():
    a, b = pair(n=20)
    expected = 25 * np.mean((a.numpy() - b.numpy()) ** 2)
    for z in (a.numpy(), b.numpy()):
        covariance = np.cov(z.T)
        expected += 25 * np.mean([max(0, 1 - np.sqrt(covariance[i, i] + 1e-4)) for i in range(5)])
        expected += sum(covariance[i, j] ** 2 for i in range(5) for j in range(5) if i != j) / 5
    assert float(vicreg(a, b)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_the_crystals_does_not_matter(name):
    a, b = pair(n=12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    assert float(LOSSES[name](a[order], b[order])) == pytest.approx(float(LOSSES[name](a, b)), rel=1e-9)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"vicreg", "simsiam"}))
def test_pairs_that_match_cost_less_than_pairs_that_do_not(name):
    a, b = pair(n=12)
    assert float(LOSSES[name](a, b)) < float(LOSSES[name](a, b.roll(1, 0)))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("vectors", ["random", "equal", "zero"])
def test_tiny_and_collapsed_batches_give_finite_losses_and_gradients(name, n, vectors):
    first = {"random": torch.randn(n, 4), "equal": torch.ones(n, 4), "zero": torch.zeros(n, 4)}[vectors]
    first = first.requires_grad_()
    second = first.detach().clone().requires_grad_()
    loss = LOSSES[name](first, second)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(g is None or torch.isfinite(g).all() for g in (first.grad, second.grad))
