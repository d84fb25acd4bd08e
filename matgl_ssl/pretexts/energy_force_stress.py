"""Energies, forces and stresses: learn a potential, from DFT or from a teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from matgl_ssl.arguments import NotNegative
from matgl_ssl.backends import GPA, CrystalBatch
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.composition import compositions, element_references
from matgl_ssl.encoders import Encoder, Features, is_extensive
from matgl_ssl.errors import ConfigError, DataError
from matgl_ssl.losses import ELEMENTWISE, global_mean
from matgl_ssl.renamed import LossName
from matgl_ssl.views import View

from .pretext import Pretext, PretextOutput, TrainedOutput

_ROWS = 16_384


class EnergyForceStress(Pretext):
    """Fit energies, forces and stresses through the output's derivatives (Jia et al., Digital Discovery 2024, 3, 586).

    The loss is ``w_E L(E) + w_F L(-dE/dx) + w_S L(dE/dstrain / V)``, each a mean over the crystals' (or components')
    errors. Labels: ``energy`` in eV, ``forces`` in eV/Å, ``stress`` in eV/Å³, positive under tension (ASE's sign); the
    model's stresses, and so the stress errors here, are in GPa as MatGL's ``Potential`` has them. Labels that a crystal
    lacks do not count.

    Deviations: the paper fits total energies without references, with weights 1:500:500 and stresses in eV/Å³; that is
    ``energy="total"``, ``element_references=False``, weights 1, 500 and 3.12. Here energies are per atom and counted
    from least-squares element references, with MatGL's weights 1:1:0.1, and the model trains in units of the root mean
    square force. An intensive model (MEGNet) is differentiated times its number of atoms: it becomes an encoder, not
    a potential.

    Args:
        encoder: The encoder to be trained.
        energy_weight: Weight of the energies (eV/atom, or eV); 0 leaves them out.
        force_weight: Weight of the forces (eV/Å).
        stress_weight: Weight of the stresses (GPa).
        energy: ``"per-atom"`` or ``"total"`` energies in the loss.
        element_references: Count energies from fitted energies of the elements.
        loss: ``"mae"`` as published, ``"mse"`` or ``"huber"``.
    """

    summary: ClassVar[str] = "energies, forces and stresses through derivatives (from DFT, or from --teacher)"
    trains_output: ClassVar[bool] = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        energy_weight: NotNegative = 1.0,
        force_weight: NotNegative = 1.0,
        stress_weight: NotNegative = 0.1,
        energy: Literal["per-atom", "total"] = "per-atom",
        element_references: bool = True,
        loss: LossName = "mae",
    ) -> None:
        super().__init__(encoder)
        self.weights = {"energy": energy_weight, "forces": force_weight, "stress": stress_weight}
        if not any(self.weights.values()):
            raise ConfigError("The weights of energy, forces and stress must not all be zero.")
        self.labels = tuple(name for name, weight in self.weights.items() if weight)
        self.views = {"crystal": View()}
        if force_weight or stress_weight:
            self.forces = frozenset({"crystal"})
        if stress_weight:
            self.stresses = frozenset({"crystal"})
        self.element_types = encoder.element_types
        self.extensive = is_extensive(encoder.model)
        self.per_atom = energy == "per-atom"
        self.fits_references = element_references and energy_weight > 0
        self.loss = ELEMENTWISE[loss]
        self.register_buffer("references", torch.zeros(len(self.element_types), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.references: Tensor
        self.scale: Tensor

    def prepare(self, crystals: CrystalDataset) -> None:
        """Fit the element references and the unit of the model: the root mean square force.

        Raises:
            DataError: If no crystal has one of the labels.
        """
        for name in self.labels:
            if all(v is None or (np.ndim(v) == 0 and np.isnan(v)) for v in crystals.each(name)):
                raise DataError(f"No crystal of {crystals.source} has a value of {name!r}; give it the weight 0.")
        spread = 0.0
        if self.weights["energy"]:
            if self.fits_references:
                self.references.copy_(torch.from_numpy(self._fitted(crystals)))
            references = self.references.cpu().numpy()
            rest = [(energies - counts @ references) / counts.sum(1) for energies, counts in self._energies(crystals)]
            spread = float(np.nanstd(np.concatenate(rest)))
        if self.weights["forces"]:
            squares, n = 0.0, 0
            for forces in crystals.each("forces"):
                if forces is not None:
                    squares, n = squares + float(np.nansum(forces**2)), n + int(np.isfinite(forces).sum())
            spread = float(np.sqrt(squares / max(n, 1)))
        self.scale.fill_(spread if spread > 0 else 1.0)

    def _fitted(self, crystals: CrystalDataset) -> np.ndarray:
        """References of all crystals; of the compositions only the triangle of their QR factors is kept."""
        triangle: np.ndarray = np.zeros((0, len(self.element_types) + 1))
        for energies, counts in self._energies(crystals):
            known = np.isfinite(energies)
            rows = np.vstack([triangle, np.column_stack([counts, energies])[known]])
            triangle = np.asarray(np.linalg.qr(rows, mode="r"))
        return element_references(triangle[:, -1], triangle[:, :-1])

    def _energies(self, crystals: CrystalDataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Energies and compositions, some thousand crystals at a time."""
        for start in range(0, len(crystals), _ROWS):
            some = crystals.select(range(start, min(start + _ROWS, len(crystals))))
            yield some.column("energy").astype(float), compositions(some, self.element_types)

    def trained_output(self) -> TrainedOutput:
        """An energy in eV."""
        return TrainedOutput("trained", "eV", float(self.scale), self.references.detach().cpu())

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Weighted errors; the metrics are mean absolute errors in eV/atom, eV/Å and GPa."""
        crystals, seen = batch["crystal"], features["crystal"]
        scale, n = self.scale.to(seen.output), crystals.n_atoms.to(seen.output)
        offsets = self.references[crystals.node_type]
        offset = offsets.new_zeros(len(crystals)).index_add_(0, crystals.batch, offsets)
        pairs: dict[str, tuple[Tensor, Tensor]] = {}
        if self.weights["energy"]:
            energies = scale * seen.output * (1 if self.extensive else n)
            per = n if self.per_atom else torch.ones_like(n)
            pairs["energy"] = (energies / per, (crystals.labels["energy"] - offset).to(energies) / per)
        if self.weights["forces"]:
            assert seen.forces is not None  # noqa: S101 - promised by ``self.forces``
            pairs["forces"] = (scale * seen.forces, crystals.atom["forces"])
        if self.weights["stress"]:
            assert seen.stresses is not None  # noqa: S101 - promised by ``self.stresses``
            pairs["stress"] = (scale * seen.stresses, GPA * crystals.labels["stress"])
        loss, metrics = seen.output.new_zeros(()), {}
        for name, (prediction, label) in pairs.items():
            # A batch without any forces or stresses has one NaN for each.
            label = label.to(prediction).reshape(*label.shape, *(1,) * (prediction.dim() - label.dim()))
            there = ~torch.isnan(label.expand_as(prediction))
            label = torch.where(there, label, prediction.detach())
            loss = loss + self.weights[name] * global_mean(self.loss(prediction, label, reduction="none"), there)
            error = (prediction.detach() - label).abs()
            if name == "energy" and not self.per_atom:
                error = error / n
            metrics[f"{name}_mae"] = global_mean(error, there)
        return PretextOutput(loss, metrics)
