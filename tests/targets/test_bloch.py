"""Real and small matrices have the levels and the atoms' parts of the complex ones that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from symmetric_systems import SYMMETRIC

from matgl_ssl.targets import bloch, tight_binding
from matgl_ssl.targets.brillouin import irreducible_mesh
from matgl_ssl.targets.primitive import primitive_cell
from matgl_ssl.testing.targets import CRYSTALS


def of_complex_matrices(coupling: bloch.Coupling, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels ``(K, M)`` and each atom's share of each state, ``(K, N, M)``."""
    pairs, (n, b) = coupling.pairs, coupling.has.shape
    matrices = np.zeros((len(points), n, b, n, b), complex)
    for i, j, image, block in zip(pairs.center, pairs.other, pairs.image, coupling.blocks, strict=True):
        phase = np.exp(2j * np.pi * points @ image)[:, None, None] * block
        matrices[:, i, :, j] += phase
        if i != j:
            matrices[:, j, :, i] += phase.conj().transpose(0, 2, 1)
    for i in range(n):
        matrices[:, i, :, i] += coupling.own[i]
    has = np.flatnonzero(coupling.has)
    levels, states = np.linalg.eigh(matrices.reshape(-1, n * b, n * b)[:, has[:, None], has])
    of_atom = np.nonzero(coupling.has)[0] == np.arange(n)[:, None]
    return levels, of_atom @ np.abs(states) ** 2


@pytest.mark.parametrize("small", [1, 40, 1000], ids=["halved", "real", "complex"])
@pytest.mark.parametrize("name", [*CRYSTALS, *SYMMETRIC])
def test_levels_and_shares_are_those_of_complex_matrices(name, small, monkeypatch):
    cell, _ = primitive_cell((CRYSTALS | SYMMETRIC)[name])
    couplings = []
    solve = bloch.diagonalise
    monkeypatch.setattr(bloch, "_SMALL", small)
    monkeypatch.setattr(tight_binding, "diagonalise", lambda c, x, **kw: couplings.append(x) or solve(c, x, **kw))
    found = tight_binding._bands.__wrapped__(cell).spectrum
    levels, shares = of_complex_matrices(couplings[0], irreducible_mesh(cell)[0])
    np.testing.assert_allclose(np.sort(found.levels, axis=1), levels, atol=1e-9)

    def smooth(energies: np.ndarray) -> np.ndarray:
        return np.stack([1 / (1 + np.exp(energies)), np.exp(-(energies**2))], axis=2)

    plain = np.einsum("k,knm,kmv->nv", found.weights, shares, smooth(levels))
    expected = plain[cell.images].mean(axis=0)
    np.testing.assert_allclose(found.of_atoms(smooth(found.levels)), expected, atol=1e-9)


def test_with_inversion_matrices_are_real_and_small(monkeypatch):
    monkeypatch.setattr(bloch, "_SMALL", 8)
    cell, _ = primitive_cell(SYMMETRIC["spinel"])
    spectrum = tight_binding._bands.__wrapped__(cell).spectrum
    assert not any(np.iscomplexobj(states.vectors) for states in spectrum.states)
    (centre,) = np.flatnonzero(~irreducible_mesh(cell)[0].any(axis=1))
    halves = [len(states.orbitals) for states in spectrum.states if centre in states.ks]
    assert halves == pytest.approx([43, 43], abs=12)
    assert sum(halves) == spectrum.levels.shape[1]
