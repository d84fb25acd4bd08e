"""Numbers of a crystal for probes: what they must be, whatever library computes them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from small_systems import cscl, iron, nacl, supercell

from matgl_ssl.errors import ModelError
from matgl_ssl.evaluation.descriptions import DESCRIPTIONS, N_EIGENVALUES, _matminer, fractions


def test_fractions_are_of_the_elements():
    found = fractions(nacl())
    assert found[[10, 16]].tolist() == [0.5, 0.5]
    assert found.sum() == 1.0
    assert len(found) == 118


@pytest.mark.parametrize("name", ["composition", "descriptors", "descriptors-and-targets"])
def test_a_larger_cell_of_a_crystal_is_the_crystal(name):
    describe = DESCRIPTIONS[name]
    np.testing.assert_allclose(describe(supercell(cscl(), (2, 1, 1))), describe(cscl()), atol=1e-6)


@pytest.mark.parametrize("name", ["orbital-field-matrix", "sine-matrix"])
def test_without_matminer_the_error_says_what_to_install(monkeypatch, name):
    _matminer.cache_clear()
    monkeypatch.setitem(sys.modules, "matminer.featurizers.structure", None)
    with pytest.raises(ModelError, match=r"pip install 'matgl_ssl\[descriptors\]'"):
        DESCRIPTIONS[name](iron())


def test_orbital_field_matrices_are_of_neighbours_orbitals():
    """Iron's are s2, p6 and d6, and so are those of its neighbours."""
    pytest.importorskip("matminer")
    matrix = DESCRIPTIONS["orbital-field-matrix"](iron()).reshape(32, 32)
    occupied = np.flatnonzero(matrix.any(0))
    assert len(occupied) == 3
    assert np.array_equal(matrix, matrix.T)
    np.testing.assert_allclose(
        DESCRIPTIONS["orbital-field-matrix"](supercell(cscl(), (2, 1, 1))),
        DESCRIPTIONS["orbital-field-matrix"](cscl()),
        atol=1e-6,
    )


def test_a_sine_matrix_has_an_eigenvalue_an_atom():
    """Of one atom: half its charge to the power of 2.4 (Faber et al.)."""
    pytest.importorskip("matminer")
    assert DESCRIPTIONS["sine-matrix"](iron()).tolist() == [pytest.approx(0.5 * 26**2.4), *[0.0] * (N_EIGENVALUES - 1)]
    assert np.count_nonzero(DESCRIPTIONS["sine-matrix"](nacl())) == len(nacl())
