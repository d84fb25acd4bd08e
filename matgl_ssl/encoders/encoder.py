"""The encoder: a MatGL model seen as something that gives features at every layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from matgl_ssl.backends import EDGE_VECTOR, HIDDEN, MASK, CrystalBatch, Graph, Potential, backend
from matgl_ssl.crystals.records import Crystal
from matgl_ssl.errors import ModelError

from .architectures import Architecture, architecture_of, bare_model, is_extensive
from .state import no_state
from .taps import tapped


@dataclass(eq=False)
class Features:
    """What one pass through the encoder gave. Layer 0 is the embedding, before any message passing.

    Attributes:
        node: Atom vectors at each layer, each ``(N, d)``.
        edge: Edge vectors at each layer, each ``(E, d)``, or None where the architecture has none.
        state: Crystal state vectors at each layer, each ``(B, d)``, or None where the model has no state.
        readout: The crystal vector that the model's readout makes, ``(B, d)``; None if it sums over atoms.
        output: The model's own output, ``(B,)``.
        forces: -dE/dx in the output's unit per Å, ``(N, 3)``, when asked for.
        stresses: (1/V) dE/dstrain in GPa (if the output is in eV), ``(B, 3, 3)``, when asked for.
    """

    node: list[Tensor]
    edge: list[Tensor | None]
    state: list[Tensor | None]
    readout: Tensor | None
    output: Tensor
    forces: Tensor | None = None
    stresses: Tensor | None = None


class GraphBuilder:
    """Turns crystals into graphs with MatGL's converter. Small and picklable: this is what loader workers get.

    Args:
        element_types: Element symbols in the model's order.
        cutoff: Neighbour cutoff in Å.
    """

    def __init__(self, element_types: tuple[str, ...], cutoff: float) -> None:
        self.element_types = tuple(element_types)
        self.cutoff = float(cutoff)
        self._converter = backend.make_converter(self.element_types, self.cutoff)

    def __call__(self, crystal: Crystal) -> Graph:
        """Build a crystal's graph."""
        return backend.to_graph(crystal, self._converter)


class TimesNumberOfAtoms(nn.Module):
    """An intensive model's output times the number of atoms: an energy whose gradients do not shrink with the cell."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, g: Any, state_attr: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Run the model on a native graph. Returns ``(B,)``."""
        counts = backend.atoms_per_graph(g)
        output = self.model(g=g, state_attr=state_attr).reshape(-1)
        return output * counts.to(output)


class BatchReader:
    """A model that takes more from a batch than its graph. The encoder calls ``reading`` around each pass."""

    def reading(self, batch: CrystalBatch, *, differentiated: bool) -> AbstractContextManager[None]:
        """Take it, for one pass.

        Args:
            batch: The batch, on the model's device.
            differentiated: Whether the output is to be differentiated by positions.

        Raises:
            ModelError: If the batch asks for what the model cannot do.
        """
        raise NotImplementedError


class Encoder(nn.Module):
    """Gives node, edge and crystal features of a MatGL model at every layer; the model itself stays as it is.

    Args:
        model: A model of one of ``ARCHITECTURES``, bare or inside a ``Potential`` or ``TransformedTargetModel``.
        state: State label of all crystals, ``(1,)``, for models that take one, where none are given with a batch.

    Raises:
        ModelError: If the model is of another architecture.
    """

    def __init__(self, model: nn.Module, state: Tensor | None = None) -> None:
        super().__init__()
        self.state = state
        self.model: Any = bare_model(model)
        self.architecture: Architecture = architecture_of(self.model)
        self.mask_token = nn.Parameter(self._element_embedding.weight.detach().mean(0).clone())
        self.element_types: tuple[str, ...] = tuple(self.model.element_types)
        self.cutoff = float(self.model.cutoff)
        self.n_layers = self.architecture.n_layers(self.model)

    @property
    def _element_embedding(self) -> Any:
        return self.model.get_submodule(self.architecture.element_embedding)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return self.mask_token.dtype

    @property
    def node_dim(self) -> int:
        """Size of the atom vectors at the last layer."""
        return self.node_dims[-1]

    @property
    def node_dims(self) -> tuple[int, ...]:
        """Size of the atom vectors at each layer."""
        return self._dims()[0]

    @property
    def readout_dim(self) -> int:
        """Size of the crystal vector that the model's readout makes.

        Raises:
            ModelError: If the output is a sum over atoms.
        """
        head = self.architecture.readout_head(self.model)
        if head is None:
            raise ModelError("The model's output is a sum over atoms: its readout makes no crystal vector.")
        return next(module.in_features for module in head.modules() if isinstance(module, nn.Linear))

    @property
    def edge_dim(self) -> int:
        """Size of the edge vectors at the last layer.

        Raises:
            ModelError: If the architecture has none there.
        """
        if (dim := self._dims()[1]) is None:
            raise ModelError(
                f"{self.architecture.name} has no edge vectors at its last layer: recipes and pretexts that learn from "
                "them need a --model that has (M3GNet or MEGNet, for example)."
            )
        return dim

    def graph_builder(self) -> GraphBuilder:
        """The graph builder that fits this model's elements and cutoff."""
        return GraphBuilder(self.element_types, self.cutoff)

    def forward(
        self,
        batch: CrystalBatch,
        *,
        state: Tensor | None = None,
        forces: bool = False,
        stresses: bool = False,
        detached_readout: bool = False,
    ) -> Features:
        """Encode a batch.

        Args:
            batch: Crystals. Where ``batch.atom["mask"]`` is true an atom's embedding is replaced by the mask token;
                where ``batch.edge["hidden"]`` is true an edge's vector is replaced by one that all hidden edges share.
            state: State attribute of each crystal, for models that take one (default: the encoder's, else zeros).
            forces: Also differentiate the output (times the number of atoms if it is intensive) by positions.
            stresses: Also differentiate it by strain; implies ``forces``.
            detached_readout: Let the readout see the last layer detached: a loss on its vector or on the output then
                teaches the readout alone.

        Returns:
            Features at layers 0 to ``n_layers``. Those of no crystals have no rows, and are still functions of the
            weights: a process that has no part of a batch takes part in its backward.
        """
        if not len(batch):
            return self._of_nothing(batch, forces=forces, stresses=stresses, detached_readout=detached_readout)
        batch, differentiated = self._hidden(batch.to(self.mask_token.device, self.dtype)), forces or stresses
        if EDGE_VECTOR in batch.edge and differentiated:
            raise ModelError("Forces need the crystal's own edges: a view that hides or replaces some has none.")
        state = self._default_state(len(batch)) if state is None else state.to(self.mask_token.device)
        taps = tapped(self.model, detached_readout=detached_readout)
        with self._reading(batch, differentiated), self._noted(batch), taps as taken:
            if differentiated:
                with torch.enable_grad(), _double_backward_safe(self.mask_token.device):
                    output, force, stress, *_ = backend.run_potential(self._potential(stresses), batch, state)
                if not is_extensive(self.model):
                    output = output.reshape(-1) / batch.n_atoms
            else:
                output, force, stress = backend.run_model(self.model, batch, state), None, None
        return Features(
            node=taken["node"],
            edge=taken["edge"],
            state=[None if s is None else s.reshape(len(batch), -1) for s in taken["state"]],
            readout=taken["readout"][0].reshape(len(batch), -1) if taken["readout"] else None,
            output=output.reshape(-1),
            forces=force,
            stresses=stress.reshape(-1, 3, 3) if stresses and stress is not None else None,
        )

    def _potential(self, stresses: bool) -> nn.Module:
        energy_model = self.model if is_extensive(self.model) else TimesNumberOfAtoms(self.model)
        potential = Potential(energy_model, calc_stresses=stresses)
        return potential.to(self.mask_token.device, self.dtype).train(self.training)

    def _default_state(self, n: int) -> Tensor | None:
        if self.state is not None:
            return self.state.to(self.mask_token.device).expand(n)
        if self.architecture.state_labels(self.model):
            raise ModelError(
                "This model was trained with a state label for each crystal (a fidelity, for example); "
                "say which with --state-attr (state_attr=)."
            )
        return no_state(self.model, n)

    def _hidden(self, batch: CrystalBatch) -> CrystalBatch:
        if HIDDEN not in batch.edge:
            return batch
        # Beyond the many-body terms, so that no angle with a hidden edge is formed.
        reach = min(self.architecture.many_body_cutoff(self.model), 0.9 * self.cutoff)
        vector = torch.tensor([(reach + self.cutoff) / 2, 0.0, 0.0], device=batch.lattice.device, dtype=self.dtype)
        vectors = torch.where(batch.edge[HIDDEN][:, None], vector, batch.edge_vectors())
        return dataclasses.replace(batch, edge={**batch.edge, EDGE_VECTOR: vectors})

    def _reading(self, batch: CrystalBatch, differentiated: bool) -> AbstractContextManager[None]:
        if isinstance(self.model, BatchReader):
            return self.model.reading(batch, differentiated=differentiated)
        return nullcontext()

    @contextmanager
    def _noted(self, batch: CrystalBatch) -> Iterator[None]:
        """Hide what views marked: the elements of atoms, and the directions of edges."""

        def replace(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return torch.where(batch.atom[MASK][:, None], self.mask_token.to(output.dtype), output)

        handles = []
        if MASK in batch.atom:
            handles.append(self._element_embedding.register_forward_hook(replace))
        if HIDDEN in batch.edge and (hide := self.architecture.hide_directions):
            handles.append(hide(self.model, batch.edge[HIDDEN]))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _of_nothing(self, batch: CrystalBatch, **options: bool) -> Features:
        """No row of the features of a minimal crystal, with the notes that the batch has."""
        minimal = self._minimal()
        if MASK in batch.atom:
            minimal.atom[MASK] = torch.ones(1, dtype=torch.bool)
        if HIDDEN in batch.edge:
            minimal.edge[HIDDEN] = torch.zeros(6, dtype=torch.bool)
        features = self(minimal, **options)

        def none(value: Any) -> Any:
            return [None if v is None else v[:0] for v in value] if isinstance(value, list) else value[:0]

        named: dict[str, Any] = {f.name: getattr(features, f.name) for f in dataclasses.fields(features)}
        cut: dict[str, Any] = {name: value if value is None else none(value) for name, value in named.items()}
        return Features(**cut)

    def _minimal(self) -> CrystalBatch:
        """One atom with six neighbours."""
        numbers, offsets = torch.zeros(1, dtype=torch.long), torch.cat([torch.eye(3), -torch.eye(3)])
        return CrystalBatch(
            numbers, torch.zeros(1, 3), 0.6 * self.cutoff * torch.eye(3)[None], torch.zeros(2, 6, dtype=torch.long),
            offsets, numbers, torch.ones(1, dtype=torch.long), torch.full((1,), 6), {}, {}, {}, [""],
        )  # fmt: skip

    def _dims(self) -> tuple[tuple[int, ...], int | None]:
        """Sizes of node and edge vectors, from a pass over a minimal crystal rather than from guessed attributes."""
        if not hasattr(self, "_cached_dims"):
            state = torch.zeros(1, dtype=torch.long) if self.architecture.state_labels(self.model) else None
            with torch.no_grad():
                features = self(self._minimal(), state=state)
            edge = features.edge[-1]
            self._cached_dims = (
                tuple(node.shape[-1] for node in features.node),
                None if edge is None else edge.shape[-1],
            )
        return self._cached_dims


def _double_backward_safe(device: torch.device) -> Any:
    # cuDNN's LSTM, in MEGNet's and M3GNet's Set2Set readouts, has no double backward.
    return torch.backends.cudnn.flags(enabled=False) if device.type == "cuda" else nullcontext()
