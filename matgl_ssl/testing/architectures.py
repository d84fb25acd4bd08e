"""The suite of architectures: MatGL's own model, its features at every layer, and its export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import matgl
import numpy as np
import pytest
import torch

from matgl_ssl import registry
from matgl_ssl.backends import MASK
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import Encoder, layer_of_parameter
from matgl_ssl.hub import load_model, new_model
from matgl_ssl.training.pretrain import pretrain

from .systems import ELEMENTS, make_batch, nacl, reordered, skewed, some_crystals, supercell


class ArchitectureTests:
    """What every architecture must do: inherit it and say which.

    Attributes:
        architecture: Its registered name.
        arguments: Arguments of a small model; it is made with the elements of ``ELEMENTS``.
        tolerance: Of features, relative to their size.
    """

    architecture: ClassVar[str]
    arguments: ClassVar[Mapping[str, Any]] = {}
    tolerance: ClassVar[float] = 1e-4

    @pytest.fixture
    def encoder(self) -> Encoder:
        """A small one in eval mode."""
        torch.manual_seed(0)
        return Encoder(new_model(self.architecture, {"element_types": ELEMENTS, **self.arguments})).eval()

    def close(self, found: torch.Tensor, expected: torch.Tensor) -> None:
        """Compare vectors, relative to the largest."""
        assert found.shape == expected.shape
        assert float((found - expected).abs().max()) <= self.tolerance * max(float(expected.abs().max()), 0.05)

    def test_it_is_registered_under_matgls_name(self, encoder: Encoder) -> None:
        """So that configurations and saved models can name it."""
        architecture = registry.load("architectures", self.architecture)
        assert architecture.name == self.architecture
        assert isinstance(encoder.model, architecture.cls)
        assert encoder.architecture is architecture

    def test_the_output_is_matgls_own(self, encoder: Encoder) -> None:
        """What a crystal's prediction is without matgl_ssl."""
        with torch.no_grad():
            found = encoder(make_batch(encoder, some_crystals())).output
            expected = torch.stack(
                [encoder.model.predict_structure(crystal.to_structure()).reshape(()) for crystal in some_crystals()]
            )
        self.close(found, expected)

    def test_every_layer_has_features(self, encoder: Encoder) -> None:
        """A finite vector for each atom at layers 0 to n; the last is not the first."""
        with torch.no_grad():
            features = encoder(make_batch(encoder, some_crystals()))
        assert len(features.node) == encoder.n_layers + 1 == len(encoder.node_dims)
        for node, size in zip(features.node, encoder.node_dims, strict=True):
            assert node.shape == (17, size)
            assert bool(node.isfinite().all())
        assert features.node[0].shape != features.node[-1].shape or not torch.equal(features.node[0], features.node[-1])
        head = encoder.architecture.readout_head(encoder.model)
        assert (features.readout is None) == (head is None)
        if head is not None:
            with torch.no_grad():
                self.close(head(features.readout).reshape(-1), features.output)

    def test_features_do_not_depend_on_how_the_crystal_is_written_down(self, encoder: Encoder) -> None:
        """Turned, shifted and reordered, and as a supercell."""
        crystal = skewed()
        other, order = reordered(crystal)
        large = supercell(crystal, (2, 1, 1))
        with torch.no_grad():
            node, turned, repeated = (encoder(make_batch(encoder, [c])).node for c in (crystal, other, large))
        for layer in range(encoder.n_layers + 1):
            self.close(turned[layer], node[layer][torch.from_numpy(order)])
            self.close(repeated[layer], node[layer].repeat(2, 1))

    def test_nothing_of_a_masked_atoms_element_gets_through(self, encoder: Encoder) -> None:
        """Whatever it was, all features and the output are the same; its own token learns."""
        outputs = []
        for number in (11, 26):
            numbers = nacl().numbers.copy()
            numbers[0] = number
            batch = make_batch(encoder, [Crystal(numbers, nacl().frac_coords, nacl().lattice)])
            batch.atom = {MASK: torch.arange(8) == 0}
            outputs.append(encoder(batch))
        for one, other in zip(outputs[0].node, outputs[1].node, strict=True):
            assert torch.equal(one, other)
        assert torch.equal(outputs[0].output, outputs[1].output)
        outputs[0].node[-1].pow(2).sum().backward()
        assert encoder.mask_token.grad is not None
        assert float(encoder.mask_token.grad.abs().sum()) > 0

    def test_every_parameter_belongs_to_a_layer_or_the_readout(self, encoder: Encoder) -> None:
        """What belongs to no layer is the readout's, and each layer has some; freezing and layer decay go by it."""
        architecture, n = encoder.architecture, encoder.n_layers
        layers = {name: layer_of_parameter(architecture, n, name) for name, _ in encoder.model.named_parameters()}
        assert set(layers.values()) >= {0, n, n + 1}
        for name, layer in layers.items():
            assert layer <= n or name.startswith(architecture.readout_modules), name
        assert isinstance(architecture.last_linear(encoder.model), torch.nn.Linear)

    def test_an_export_after_no_step_is_the_model_itself(self, encoder: Encoder, tmp_path: Path) -> None:
        """Bit for bit, loaded by matgl_ssl and by MatGL alone."""
        model = encoder.model
        result = pretrain(
            data=some_crystals() * 2, out=tmp_path / "run", model=model, recipe="masked-atoms", epochs=0,
            val_fraction=0.5, accelerator="cpu",
        )  # fmt: skip
        for loaded in (load_model(result.encoder), matgl.load_model(result.encoder)):
            assert type(loaded).__name__ == self.architecture or isinstance(loaded, type(model))
            for (name, expected), found in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
                np.testing.assert_array_equal(found.numpy(), expected.numpy(), err_msg=name)
