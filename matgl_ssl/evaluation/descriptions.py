"""Numbers of a crystal that probes may be given beside encoders' vectors.

Orbital field and sine matrices are the manual descriptors that Kong et al. (arXiv 2211.03563) compare with; both are
matminer's (``matgl_ssl[descriptors]``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from matgl_ssl.crystals import Crystal
from matgl_ssl.errors import ModelError
from matgl_ssl.targets.descriptors import Descriptors, descriptors_and_targets

N_EIGENVALUES = 100


def fractions(crystal: Crystal) -> np.ndarray:
    """The share of each element, by atomic number, ``(118,)``: all that is known of a composition."""
    return np.bincount(crystal.numbers, minlength=119)[1:] / len(crystal)


def orbital_field_matrix(crystal: Crystal) -> np.ndarray:
    """The mean over sites of orbitals by their neighbours' orbitals, by solid angle: ``(1024,)``.

    Pham et al., Sci. Technol. Adv. Mater. 18, 756 (2017). NaN where a crystal has no Voronoi tessellation.

    Raises:
        ModelError: If matminer is not installed.
    """
    featurizer = _matminer().OrbitalFieldMatrix(period_tag=False, flatten=True)
    try:
        return np.asarray(featurizer.featurize(crystal.to_structure()), dtype=float)
    except (RuntimeError, ValueError):
        return np.full(1024, np.nan)


def sine_matrix(crystal: Crystal) -> np.ndarray:
    """The eigenvalues of largest magnitude of the sine matrix, zeros after the last: ``(100,)``.

    Faber et al., Int. J. Quantum Chem. 115, 1094 (2015).

    Raises:
        ModelError: If matminer is not installed.
    """
    (matrix,) = _matminer().SineCoulombMatrix(flatten=False).featurize(crystal.to_structure())
    values = np.linalg.eigvalsh(np.asarray(matrix, dtype=float))
    values = values[np.argsort(-np.abs(values), kind="stable")][:N_EIGENVALUES]
    return np.pad(values, (0, N_EIGENVALUES - len(values)))


@cache
def _matminer() -> Any:
    try:
        from matminer.featurizers.structure import matrix
    except ImportError as err:
        raise ModelError(
            f"Orbital field and sine matrices need a package that is not installed ({err}): "
            "pip install 'matgl_ssl[descriptors]', in an environment that may have pandas 2."
        ) from err
    return matrix


DESCRIPTIONS: Mapping[str, Callable[[Crystal], np.ndarray]] = {
    "composition": fractions,
    "descriptors": Descriptors(),
    "descriptors-and-targets": descriptors_and_targets,
    "orbital-field-matrix": orbital_field_matrix,
    "sine-matrix": sine_matrix,
}
