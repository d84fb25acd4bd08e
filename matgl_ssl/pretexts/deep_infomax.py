"""Deep InfoMax: tell an atom's surroundings, and a crystal's atoms, from those of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from pymatgen.core import Element
from torch import Tensor, nn
from torch.nn import functional

from matgl_ssl.backends import NORMAL, CrystalBatch
from matgl_ssl.crystals.elements import standardised_element_table
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.errors import ConfigError
from matgl_ssl.losses import gather, global_mean
from matgl_ssl.losses.infomax import Scores, critic_accuracy, grouped_mean, jensen_shannon, released_kl
from matgl_ssl.views import Compose, DisplaceAtoms, DrawNormal, PermuteNeighbours, ReplaceElements, StrainLattice

from .environment_pairs import Environments, Pairs, partners
from .heads import normalised_perceptron, perceptron
from .pretext import Pretext, PretextOutput

LOCAL, GLOBAL, HIDDEN, CRITIC = 32, 64, 64, 128
"""Sizes of the atom's and the crystal's vector, of hidden layers, and of the space critics compare in."""

SPECIES = (
    "atomic-number", "mass", "period", "group", "ionization-energy", "electronegativity", "atomic-radius", "density"
)  # fmt: skip
"""What the discriminator sees of a neighbour's species: Site-Net's eight. What is not known is the mean."""

Negative = Literal["roll", "species", "geometry", "permutation"]
Negatives = Annotated[tuple[Negative, ...], Field(min_length=1)]
Fake = Literal["species", "geometry", "permutation"]


class DeepInfoMax(Pretext):
    """Deep InfoMax for crystals (Moran et al., arXiv 2407.00671; lrcfmd/Site-Net-DeepInfoMax).

    *Local.* An atom's vector ``z~ = mu + noise * exp(logvar / 2)`` (32 numbers, from the last layer) is compared by a
    dot product of two small networks with what surrounds the atom: the (species, distance) pair of each of its edges.
    Binary cross entropy separates true pairs from negatives. Pairs weigh ``(1 + r)^-2``;
    means over edges, atoms, crystals.
    Negatives: ``"roll"``, the pairs of an atom of another crystal; ``"species"``, its species at the true distances;
    ``"geometry"``, the true species at its distances; ``"permutation"``, the crystal's own species mixed up. The losses
    of the four are averaged.

    *Global.* The crystal's vector Z is what the model's readout makes of the atoms, in models with such a vector. A
    linear map of it (64 numbers) is compared in the same way with its own atoms' mu, and another crystal's with them;
    and it with the atoms of ``fakes`` of the crystal, which are encoded again. Models whose output is a sum over atoms
    have no such vector: there Z is a network of the mean of another network of each atom's mu, and stays here.

    *Prior.* ``mu² / 2 + exp(logvar) - logvar`` of both vectors, weight 0.1, as in the released code (at least 1).

    As published, the global part sees the atoms detached: two stages trained greedily, which one step with detached
    atoms equals. It teaches the readout, which is exported and which fine-tuning keeps, all but its head: the released
    code resets the last layer alone. ``training="local"`` leaves the global part out; ``"joint"`` lets it teach the
    atoms, too.

    Deviations: the readout sees the atoms' last features instead of their mu; pairs of the graph's edges (up to the
    cutoff) instead of all in a supercell; each property of the species standardised, instead of scaled by a factor,
    and no oxidation state; a negative equal to the true pair is left out. Engineered negatives of the global part were
    made by rolling species or distances over the batch. Here a negative depends on its crystal alone: each element
    becomes another (``"species"``); the lattice is strained by 10 % and the atoms displaced by 0.3 Å
    (``"geometry"``: a structure that can exist in space, whereas rolled distances cannot); the vectors of an atom's
    edges are permuted among its neighbours (``"permutation"``; crystals of one element have none). Without another
    crystal in the batch, negatives that need one are left out.

    Args:
        encoder: The encoder to be trained.
        training: ``"greedy"`` as published, ``"joint"``, or ``"local"`` without the global part.
        negatives: Negatives of the local part.
        fakes: Engineered negatives of the global part; each costs a pass of the encoder.
        kl: Weight of the prior.
    """

    summary: ClassVar[str] = "distinguish atoms' surroundings, and crystals' atoms, from negatives (mutual information)"

    def __init__(
        self,
        encoder: Encoder,
        *,
        training: Literal["greedy", "joint", "local"] = "greedy",
        negatives: Negatives = ("roll", "species", "geometry", "permutation"),
        fakes: tuple[Fake, ...] = (),
        kl: float = 0.1,
    ) -> None:
        super().__init__(encoder)
        if training == "local" and fakes:
            raise ConfigError("`fakes` belong to the global part, and training: local has none. Leave `fakes` out.")
        views = {
            "species": ReplaceElements(n_elements=len(encoder.element_types)) if "species" in fakes else None,
            "geometry": Compose(views=(StrainLattice(sigma=0.1), DisplaceAtoms(sigma=0.3))),
            "permutation": PermuteNeighbours(),
        }
        self.trains_readout = training != "local" and encoder.architecture.readout_head(encoder.model) is not None
        self.detached_readout = self.trains_readout and training == "greedy"
        normal = DrawNormal(per_atom=LOCAL, per_crystal=0 if training == "local" else GLOBAL)
        self.views = {"crystal": normal, **{name: view for name, view in views.items() if view and name in fakes}}
        self.fakes = tuple(fakes)
        self.joint, self.kl = training == "joint", kl
        self.local = _Local(encoder, tuple(negatives))
        if training == "local":
            self.overall = None
        else:
            self.overall = _Global(encoder.readout_dim if self.trains_readout else None)

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Local and global loss, and the weighted prior of both; ``accuracy`` is that of the critics (1/2: a guess)."""
        crystals = batch["crystal"]
        mean, log_variance = self.local.vectors(features["crystal"].node[-1])
        loss, accuracy = self.local(mean, log_variance, crystals)
        kl = global_mean(released_kl(mean, log_variance))
        metrics = {"local_loss": loss, "local_kl": kl, "local_accuracy": accuracy}
        total = loss + self.kl * kl
        if self.overall is not None:
            own = mean if self.joint else mean.detach()
            others = {name: self.local.vectors(features[name].node[-1])[0] for name in self.fakes}
            others = {name: x if self.joint else x.detach() for name, x in others.items()}
            vector = features["crystal"].readout if self.trains_readout else None
            loss, kl, accuracy = self.overall(own, others, crystals, vector)
            metrics |= {"global_loss": loss, "global_kl": kl, "global_accuracy": accuracy}
            total = total + loss + self.kl * kl
        return PretextOutput(total, {name: value.detach() for name, value in metrics.items()})


class _Local(nn.Module):
    """Atoms' vectors against what surrounds the atoms."""

    def __init__(self, encoder: Encoder, negatives: tuple[str, ...]) -> None:
        super().__init__()
        self.negatives = negatives
        self.mean = nn.Linear(encoder.node_dim, LOCAL)
        self.log_variance = nn.Linear(encoder.node_dim, LOCAL)
        self.atom_critic = perceptron(LOCAL, HIDDEN, CRITIC, activation=nn.Mish)
        self.pair_critic = perceptron(len(SPECIES) + 1, HIDDEN, CRITIC, activation=nn.Mish)
        numbers = [Element(symbol).Z for symbol in encoder.element_types]
        table = torch.from_numpy(standardised_element_table(SPECIES)[numbers]).nan_to_num(0.0).float()
        self.register_buffer("properties", table, persistent=False)
        self.properties: Tensor

    def vectors(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the atoms' vectors, each ``(N, 32)``."""
        return self.mean(nodes), self.log_variance(nodes)

    def forward(self, mean: Tensor, log_variance: Tensor, crystals: CrystalBatch) -> tuple[Tensor, Tensor]:
        """Loss and the critic's accuracy."""
        vectors = mean + crystals.atom[NORMAL].to(mean) * torch.exp(log_variance / 2)
        environments = Environments(crystals, mean.dtype)
        before, last = self.pair_critic[:-1], cast("nn.Linear", self.pair_critic[-1])
        # The product of an atom's a with a pair's W h + b is that of Wᵀ a with h, plus a b: there are fewer atoms.
        atoms = self.atom_critic(vectors)
        questions = functional.linear(atoms, last.weight.t()).index_select(0, environments.site)
        offsets = (atoms @ last.bias).index_select(0, environments.site)

        def scores(pairs: Pairs) -> Scores:
            known = torch.cat([self.properties[pairs.species], pairs.distance[:, None]], dim=1)
            values = (questions * before(known)).sum(1) + offsets
            return Scores(values, environments.site, pairs.counts / (1 + pairs.distance) ** 2)

        positive, negatives = scores(environments.true), [scores(environments.fake(kind)) for kind in self.negatives]
        of_atoms, counts = jensen_shannon(positive, negatives, len(mean))
        of_crystals, has = grouped_mean(of_atoms, crystals.batch, counts.to(of_atoms.dtype), len(crystals))
        return global_mean(of_crystals, has), critic_accuracy(positive, negatives)


class _Global(nn.Module):
    """Crystals' vectors against the atoms of the crystals.

    Args:
        readout_dim: Size of the readout's vector; None to pool the atoms here.
    """

    def __init__(self, readout_dim: int | None) -> None:
        super().__init__()
        self.pool = (
            None
            if readout_dim
            else nn.ModuleDict(
                {"before": normalised_perceptron(LOCAL, HIDDEN, CRITIC), "after": normalised_perceptron(CRITIC, GLOBAL)}
            )
        )
        self.mean = nn.Linear(readout_dim or GLOBAL, GLOBAL)
        self.log_variance = nn.Linear(readout_dim or GLOBAL, GLOBAL)
        self.crystal_critic = perceptron(GLOBAL, HIDDEN, CRITIC, activation=nn.Mish)
        self.atom_critic = perceptron(LOCAL, HIDDEN, CRITIC, activation=nn.Mish)

    def forward(
        self, atoms: Tensor, fakes: Mapping[str, Tensor], crystals: CrystalBatch, vector: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, prior, and the critic's accuracy."""
        if self.pool is not None:
            vector = self.pool["after"](crystals.mean_over_atoms(self.pool["before"](atoms)))
        assert vector is not None  # noqa: S101 - a model with a readout_dim made one
        mean, log_variance = self.mean(vector), self.log_variance(vector)
        vectors = mean + crystals.labels[NORMAL].to(mean) * torch.exp(log_variance / 2)
        summaries = self.crystal_critic(vectors)
        everybodys, other = gather(summaries), partners(crystals)
        mixed = _has_several_elements(crystals)

        def scores(summary: Tensor, members: Tensor, counts: Tensor) -> Scores:
            values = (summary.index_select(0, crystals.batch) * members).sum(1)
            return Scores(values, crystals.batch, counts[crystals.batch].to(values.dtype))

        members, every = self.atom_critic(atoms), torch.ones_like(mixed)
        positive = scores(summaries, members, every)
        negatives = [scores(everybodys[other], members, every & (len(everybodys) > 1))]
        for name, fake in fakes.items():
            negatives.append(scores(summaries, self.atom_critic(fake), mixed if name == "permutation" else every))
        loss, counts = jensen_shannon(positive, negatives, len(crystals))
        kl = global_mean(released_kl(mean, log_variance))
        return global_mean(loss, counts), kl, critic_accuracy(positive, negatives)


def _has_several_elements(crystals: CrystalBatch) -> Tensor:
    first = crystals.node_type[crystals.n_atoms.cumsum(0) - crystals.n_atoms]
    differs = (crystals.node_type != first[crystals.batch]).long()
    return torch.zeros_like(first).index_add(0, crystals.batch, differs) > 0
