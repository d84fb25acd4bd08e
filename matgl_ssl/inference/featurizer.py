"""Atomic and material representations in scikit-learn's shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from matgl_ssl.acceleration import Mode, accelerate, use, using
from matgl_ssl.crystals import check_dataset, read_crystals
from matgl_ssl.devices import inference_device
from matgl_ssl.encoders import Encoder, bare_model
from matgl_ssl.encoders.state import check_batch_size, state_labels
from matgl_ssl.hub import evaluating, load_with_stamp
from matgl_ssl.hub.elements import warn_of_elements

from .embed import Layer, Level, Reduce, check_choices, chosen_layers, encode


class StructureFeaturizer(TransformerMixin, BaseEstimator):
    """Vectors of crystals, or of their atoms, out of chosen layers of an encoder.

    How far an atom's vector sees is a matter of the layers: layer 0 knows the element; in M3GNet layer k sees k cutoffs
    (with DGL k times the cutoff and the three-body cutoff); in MEGNet the state mixes the whole cell from layer
    2 on. ``layer=(0, 1)``, element and nearest surroundings, is the default of Kong et al. (arXiv 2211.03563;
    Harrykjg-physics/self-supervised-atomic-representations), whose crystal vector is the sum over the atoms.

    ``fit`` loads the model and looks at no structure. Structures may be pymatgen's, ASE's, ``Crystal``,
    ``CrystalDataset``, or a path. There is a row for each: what the model cannot be trusted with is an error, not left
    out (``embed`` leaves out, and also says which atom a row is). Clones share a model given as an instance.

    Args:
        model: A MatGL model (not changed), a model or run directory, a shipped encoder's name (``list_models``), a hub
            name, or an architecture's name (random weights, drawn from torch's global generator).
        layer: Layer 0 to the number of blocks, ``"readout"``, or several, concatenated in this order; None for what
            ``embed`` takes by default.
        level: A row a ``"crystal"``, or a row an ``"atom"``, crystal after crystal.
        reduce: A crystal's vector is the ``"mean"`` over its atoms, or the ``"sum"``, which grows with the cell.
        batch_size: Crystals in a batch.
        trained_with: ``"pyg"`` or ``"dgl"``, for a model without a matgl_ssl stamp.
        state_attr: The state label of all crystals, for models that take one.
        accelerator: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps`` (see ``matgl_ssl.devices``). A model given as an
            instance stays where it lies, and what comes out of a pickle is on the CPU.
        devices: ``1``, or the name of a device (``"cuda:1"``).
        acceleration: ``"native"``, ``"torch"`` or ``"off"`` (see ``accelerate``).

    Attributes:
        encoder_: The encoder.
        layers_: The layers, in order.
    """

    def __init__(
        self,
        model: str | Path | nn.Module,
        *,
        layer: Layer | Sequence[Layer] | None = (0, 1),
        level: Level = "crystal",
        reduce: Reduce = "mean",
        batch_size: int = 64,
        trained_with: str | None = None,
        state_attr: int | None = None,
        accelerator: str = "auto",
        devices: int | str = 1,
        acceleration: Mode | None = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.level = level
        self.reduce = reduce
        self.batch_size = batch_size
        self.trained_with = trained_with
        self.state_attr = state_attr
        self.accelerator = accelerator
        self.devices = devices
        self.acceleration = acceleration

    def __sklearn_clone__(self) -> Self:
        return type(self)(**self.get_params(deep=False))

    def __getstate__(self) -> dict[str, Any]:
        """For pickles (a saved ``Pipeline``, say): not all MatGL models can be pickled, their weights can."""
        state = {**super().__getstate__(), "_model": None, "_encoder": None}
        if isinstance(self.model, nn.Module):
            state["_model"] = _packed(state.pop("model"))
        if "encoder_" in state:
            state["_encoder"] = _packed(state.pop("encoder_").model)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build them again."""
        model, encoder = state.pop("_model"), state.pop("_encoder")
        super().__setstate__(state)
        if model:
            self.model = _unpacked(*model)
        if encoder:
            loaded = _unpacked(*encoder)
            self.encoder_ = Encoder(loaded if model else accelerate(loaded))

    @using
    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Load the model.

        Args:
            X: Not looked at.
            y: Not looked at.

        Raises:
            ConfigError: If an option has a wrong value, or there is no such device.
            ModelError: If the model cannot be loaded, or its readout makes no crystal vector.
            BackendError: If it belongs to the other graph library.
        """
        check_choices(self.level, self.reduce)
        check_batch_size(self.batch_size)
        use(self.acceleration)
        loaded, stamp = load_with_stamp(
            self.model, trained_with=self.trained_with, prefer=("encoder", "potential", "model"),
            device=inference_device(self.model, self.accelerator, self.devices),
        )  # fmt: skip
        encoder = Encoder(loaded)
        self.layers_ = chosen_layers(encoder, stamp, self.layer, self.level)
        self._state = state_labels(encoder.model, self.state_attr, 1)
        self.encoder_, self._stamp = encoder, {"elements": stamp.get("elements")}
        return self

    @using
    def transform(self, X: Any) -> np.ndarray:
        """Vectors of structures.

        Args:
            X: The structures.

        Returns:
            Shape ``(n_crystals, d)`` or ``(n_atoms, d)``, float32.

        Raises:
            BadStructureError: For the first crystal that the model cannot be trusted with.
            DataError: If there is none.
        """
        check_is_fitted(self)
        use(self.acceleration)
        crystals, _ = check_dataset(
            read_crystals(X, columns=[], policy="raise"),
            element_types=self.encoder_.element_types, cutoff=self.encoder_.cutoff, policy="raise",
        )  # fmt: skip
        warn_of_elements(self._stamp, crystals)
        with evaluating(self.encoder_):
            parts = encode(self.encoder_, crystals, self.layers_, self.level, self.reduce, self._state, self.batch_size)
            return np.concatenate([vectors for _, vectors in parts])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns: ``layer1_0``, ... or ``readout_0``, ...

        Args:
            input_features: Not looked at.
        """
        check_is_fitted(self)
        names = []
        for layer in self.layers_:
            if isinstance(layer, int):
                name, size = f"layer{layer}", self.encoder_.node_dims[layer]
            else:
                name, size = "readout", self.encoder_.readout_dim
            names += [f"{name}_{i}" for i in range(size)]
        return np.array(names, dtype=object)


def _packed(model: Any) -> tuple[type[nn.Module], dict[str, Any], dict[str, torch.Tensor]]:
    bare = bare_model(model)
    weights = {name: value.cpu() for name, value in bare.state_dict().items()}
    return getattr(type(bare), "plain", type(bare)), bare._init_args, weights


def _unpacked(cls: type[nn.Module], arguments: dict[str, Any], weights: dict[str, torch.Tensor]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # random weights, which are replaced
        model = cls(**arguments).to(next(value.dtype for value in weights.values() if value.is_floating_point()))
    model.load_state_dict(weights)
    return model.eval()
