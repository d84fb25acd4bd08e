"""Vectors of crystals by two universal potentials, whose wheels bring their weights (``matgl_ssl[anchors]``).

They are no rivals on equal terms: both were trained on energies, forces and stresses of Materials Project crystals,
those of most tasks among them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from matgl_ssl.crystals import Crystal
from matgl_ssl.errors import ModelError


def chgnet_vector(crystal: Crystal) -> np.ndarray:
    """The mean of CHGNet's atom features (Deng et al., Nat. Mach. Intell. 5, 1031 (2023)): ``(64,)``.

    NaN where CHGNet finds an atom without neighbours.

    Raises:
        ModelError: If CHGNet is not installed.
    """
    potential = _chgnet()
    try:
        predicted = potential.predict_structure(crystal.to_structure(), task="e", return_atom_feas=True)
    except ValueError:  # isolated atoms
        return np.full(64, np.nan)
    return np.asarray(predicted["atom_fea"].mean(0), dtype=float)


def sevennet_vector(crystal: Crystal) -> np.ndarray:
    """The mean of SevenNet-0's scalar atom features (Park et al., J. Chem. Theory Comput. 20, 4857 (2024)): ``(128,)``.

    Raises:
        ModelError: If SevenNet is not installed.
    """
    calculator, features = _sevennet()
    atoms = crystal.to_atoms()
    atoms.calc = calculator
    atoms.get_potential_energy()
    return np.asarray(features.pop().mean(0), dtype=float)


@cache
def _chgnet() -> Any:
    try:
        from chgnet.model import CHGNet
    except ImportError as err:
        raise _missing("chgnet-vectors", err) from err
    return CHGNet.load(use_device="cpu", verbose=False)


@cache
def _sevennet() -> tuple[Any, list[np.ndarray]]:
    """The calculator, and where each pass leaves what goes into its readout."""
    try:
        from sevenn.calculator import SevenNetCalculator
    except ImportError as err:
        raise _missing("sevennet-vectors", err) from err
    calculator, features = SevenNetCalculator("7net-0", device="cpu"), []
    calculator.model.reduce_input_to_hidden.register_forward_pre_hook(
        lambda _, args: features.append(args[0]["x"].detach().numpy())
    )
    return calculator, features


def _missing(arm: str, err: ImportError) -> ModelError:
    return ModelError(f"{arm} needs a package that is not installed ({err}): pip install 'matgl_ssl[anchors]'.")
