"""Structure denoising: put a crystal right whose atoms, lattice and elements were all disturbed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from matgl_ssl.arguments import Positive, Share
from matgl_ssl.backends import MASK, NOISE, STRAIN, CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.losses import ELEMENTWISE, global_mean
from matgl_ssl.renamed import LossName
from matgl_ssl.views import Compose, DisplaceAtoms, MaskAtoms, Resample, StrainLattice

from .edge_head import EdgeHead, atom_vectors, crystal_tensors
from .pretext import Pretext, PretextOutput


class StructureDenoising(Pretext):
    """Denoise positions, lattice and elements at once (Shen et al., DPF, AAAI 2025; zjuKeLiu/DPF).

    The lattice is strained, then the atoms displaced, then some of them masked. From this one view are predicted:

    - *atoms*: the element of each masked atom, by cross entropy;
    - *positions*: minus the displacement of each atom over ``sigma``, less its mean over the crystal, as in
      ``direct-denoising``;
    - *lattice*: minus the strain over ``strain``, as ``3 mean over edges of s_ij n_ij n_ij^T`` with numbers of edges s
      and their directions n. That is symmetric and turns with the crystal, as strain does.

    The loss is their sum. Both noises can be predicted as far as lengths of bonds are not what they are at rest.

    Deviations: the published heads put out fractional coordinates and lattice vectors as they were. Those depend on the
    cell, origin and orientation in which a crystal is given, which the encoder does not see. Noise is Gaussian with
    mean zero (there: uniform from 0, drawn once before training).

    Args:
        encoder: The encoder to be trained.
        sigma: Standard deviation of the atoms' displacements in Å.
        strain: Standard deviation of the components of the logarithmic strain.
        fraction: Share of the atoms to mask; right on average, and never all.
        loss: ``"mae"`` as published, ``"mse"`` or ``"huber"``, of positions and lattice.
        resample: Draw new noise each ``"epoch"``, or ``"never"``: once before training, as published.
    """

    summary: ClassVar[str] = "put displaced atoms, a strained lattice and hidden elements right (DPF)"

    def __init__(
        self,
        encoder: Encoder,
        *,
        sigma: Positive = 0.1,
        strain: Positive = 0.03,
        fraction: Share = 0.3,
        loss: LossName = "mae",
        resample: Resample = "epoch",
    ) -> None:
        super().__init__(encoder)
        steps = (
            StrainLattice(sigma=strain),
            DisplaceAtoms(sigma=sigma),
            MaskAtoms(fraction=fraction, count="unbiased"),
        )
        self.views = {"disturbed": Compose(views=steps, static=resample == "never")}
        self.scales = {"positions": sigma, "lattice": strain}
        self.loss = ELEMENTWISE[loss]
        self.elements = nn.Linear(encoder.node_dim, len(encoder.element_types))
        self.positions, self.lattice = EdgeHead(encoder), EdgeHead(encoder)

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """The sum of the three; ``positions_baseline`` and ``lattice_baseline`` are the losses of predicting zero."""
        seen, crystals = features["disturbed"], batch["disturbed"]
        mask = crystals.atom[MASK]
        logits = self.elements(seen.node[-1][mask])
        atoms = global_mean(functional.cross_entropy(logits, crystals.node_type[mask].long(), reduction="none"))
        noise = crystals.atom[NOISE]
        noise = noise - crystals.mean_over_atoms(noise)[crystals.batch]
        pairs: dict[str, tuple[Tensor, Tensor]] = {
            "positions": (atom_vectors(self.positions(seen, crystals), crystals), noise),
            "lattice": (crystal_tensors(self.lattice(seen, crystals), crystals), crystals.labels[STRAIN]),
        }
        losses, metrics = [atoms], {"atoms_loss": atoms.detach()}
        for name, (predicted, disturbance) in pairs.items():
            target = -disturbance.to(predicted) / self.scales[name]
            losses.append(global_mean(self.loss(predicted, target, reduction="none")))
            metrics[f"{name}_loss"] = losses[-1].detach()
            metrics[f"{name}_baseline"] = global_mean(self.loss(torch.zeros_like(target), target, reduction="none"))
        return PretextOutput(torch.stack(losses).sum(), metrics)
