"""How hard each atom is held where it is, from the second derivatives of a potential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from matgl_ssl.crystals.records import Crystal

from .primitive import primitive_cell
from .target import Target

_BATCH = 16


@dataclass(frozen=True)
class EnvironmentStiffness(Target):
    """``k_i = tr(d²E / dx_i dx_i) / 3`` of each atom in eV/Å², all other atoms at rest; one column.

    What DSSL's tabulated atomic stiffness (a function of the element alone) would be if it knew the surroundings: the
    mean force constant of the atom's own block of the Hessian, exactly, by differentiating the forces once more. Costs
    three backward passes for each atom of a batch's largest crystal. Negative where the potential has no minimum. An
    atom's images in other primitive cells move with it, so that the only atom of such a cell feels nothing.

    Attributes:
        potential: A saved MatGL ``Potential``: directory, run directory or hub name.
        trained_with: ``"pyg"`` or ``"dgl"``, for a potential without a matgl_ssl stamp.
    """

    potential: str
    trained_with: str | None = None
    name: ClassVar[str] = "environment stiffness"
    level: ClassVar[Literal["atom", "crystal"]] = "atom"
    parallel: ClassVar[bool] = False
    version: ClassVar[int] = 2

    @property
    def column(self) -> str:
        """The column of these weights, wherever they lie."""
        from matgl_ssl.hub.fingerprint import fingerprint

        return f"atom:{self.name}/v{self.version} of {fingerprint(self.potential, prefer=('potential', 'model'))}"

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """Compute it. Returns ``(N, 1)``; NaN if the potential does not know an element."""
        return self.of_many([crystal])[0]

    def of_many(self, crystals: Sequence[Crystal]) -> list[np.ndarray]:
        """Compute it for several crystals at once."""
        potential = _load(self.potential, self.trained_with)
        known = set(potential.model.element_types)
        values = [np.full((len(crystal), 1), np.nan) for crystal in crystals]
        rows = [i for i, crystal in enumerate(crystals) if known.issuperset(crystal.symbols)]
        cells = {i: primitive_cell(crystals[i]) for i in rows}
        rows.sort(key=lambda i: len(cells[i][0]))  # crystals of like size share their passes
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            for i, stiffness in zip(part, stiffnesses(potential, [cells[i][0] for i in part]), strict=True):
                values[i] = stiffness[cells[i][1], None]
        return values


def stiffnesses(potential: Any, crystals: Sequence[Crystal]) -> list[np.ndarray]:
    """Stiffness of each atom in eV/Å², ``(N,)`` a crystal, from a MatGL ``Potential`` in eval mode.

    Crystals of a batch do not interact, so one pass differentiates an atom of each.
    """
    from matgl_ssl.backends import backend, collate
    from matgl_ssl.encoders import GraphBuilder, bare_model, no_state, release
    from matgl_ssl.hub import evaluating

    model, parameter = bare_model(potential), next(potential.parameters())
    build = GraphBuilder(tuple(model.element_types), float(model.cutoff))
    batch = collate([build(crystal) for crystal in crystals]).to(parameter.device, parameter.dtype)
    batch.frac_coords.requires_grad_(True)
    with evaluating(potential), torch.enable_grad():
        potential.training = True  # MatGL keeps the graph of the forces in training only
        forces = backend.run_potential(potential, batch, no_state(model, len(batch)))[1]
    first = batch.n_atoms.cumsum(0) - batch.n_atoms
    inverse = torch.linalg.inv(batch.lattice)[batch.batch]
    trace = torch.zeros(len(batch.node_type), dtype=parameter.dtype, device=parameter.device)
    for k in range(int(batch.n_atoms.max())):
        atoms = (first + k)[batch.n_atoms > k]
        for axis in range(3):
            (gradient,) = torch.autograd.grad(forces[atoms, axis].sum(), batch.frac_coords, retain_graph=True)
            # x = f L: d/dx_a = sum_b (L^-1)_ab d/df_b
            trace[atoms] -= (inverse[atoms, axis] * gradient[atoms]).sum(1)
    release(model)
    return [t.cpu().double().numpy() for t in torch.split(trace.detach() / 3, batch.n_atoms.tolist())]


@lru_cache(maxsize=1)
def _load(source: str, trained_with: str | None) -> Any:
    from matgl_ssl.backends import Potential
    from matgl_ssl.errors import ModelError
    from matgl_ssl.hub import load_model

    potential = load_model(source, trained_with=trained_with, prefer=("potential", "model"))
    if not isinstance(potential, Potential):
        raise ModelError(f"{source} is a {type(potential).__name__}, not a potential: stiffness needs its energy.")
    return potential.requires_grad_(False)
