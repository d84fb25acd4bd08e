"""The suite of pretexts: the contract, gradients, learning, and several processes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.encoders import Encoder
from matgl_ssl.pretexts import Pretext
from matgl_ssl.targets import Target, with_targets
from matgl_ssl.views import View

from .asking import answer, losses_while_learning, view_batches
from .systems import cscl, nacl, rattled, skewed, small_encoder
from .two_processes import assert_two_processes_agree


class PretextTests:
    """What every pretext must do: inherit it and say which.

    Attributes:
        pretext: The class.
        arguments: Its keyword arguments.
        models: Architectures to test it on, with arguments of the model.
        falls_to: The share of its first loss that forty steps on one batch must reach.
    """

    pretext: ClassVar[type[Pretext]]
    arguments: ClassVar[Mapping[str, Any]] = {}
    models: ClassVar[Mapping[str, Mapping[str, Any]]] = {"MEGNet": {}, "M3GNet": {}}
    falls_to: ClassVar[float] = 0.9

    def crystals(self) -> list[Crystal]:
        """Five crystals to ask about; override it to add labels."""
        return [nacl(), cscl(), skewed(), rattled(skewed(), 0.1, seed=4), rattled(nacl(), 0.1, seed=5)]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run what asks for a model on each of ``models``."""
        if "model" in metafunc.fixturenames:
            metafunc.parametrize("model", list(self.models))

    def made(self, model: str) -> tuple[Encoder, Pretext, CrystalDataset]:
        """An encoder, the pretext for it, prepared, and the crystals with the targets it asks for."""
        encoder = small_encoder(model, **self.models[model]).train()
        torch.manual_seed(1)
        pretext = self.pretext(encoder, **self.arguments)
        crystals = with_targets(CrystalDataset.from_crystals(self.crystals()), pretext.targets)
        pretext.prepare(crystals)
        return encoder, pretext, crystals

    def test_it_keeps_the_contract(self, model: str) -> None:
        """Summary, views, targets and labels are what they should be, and the encoder is not kept."""
        encoder, pretext, _ = self.made(model)
        assert self.pretext.summary.strip()
        assert "\n" not in self.pretext.summary
        assert pretext.views
        assert all(isinstance(view, View) and hash(view) == hash(copy.copy(view)) for view in pretext.views.values())
        assert pretext.stresses <= set(pretext.views)
        assert pretext.forces <= set(pretext.views)
        assert all(isinstance(target, Target) for target in pretext.targets)
        assert all(isinstance(label, str) for label in pretext.labels)
        assert not {id(p) for p in encoder.parameters()} & {id(p) for p in pretext.parameters()}
        if self.pretext.trains_output:
            assert pretext.trained_output().kind

    def test_the_gradient_reaches_the_encoder(self, model: str) -> None:
        """The loss is one finite number that the encoder's weights change, and metrics are detached."""
        encoder, pretext, crystals = self.made(model)
        with torch.no_grad():
            for parameter in pretext.parameters():  # a head that starts at zero would pass no gradient on
                if not parameter.any():
                    parameter.normal_(0.0, 0.1)
        output = answer(pretext, encoder, view_batches(pretext, encoder, crystals))
        assert output.loss.shape == ()
        assert bool(output.loss.isfinite())
        assert all(value.numel() == 1 and not value.requires_grad for value in output.metrics.values())
        output.loss.backward()
        gradients = [p.grad for p in encoder.model.parameters() if p.grad is not None]
        assert any(float(gradient.abs().max()) > 0 for gradient in gradients)
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)

    def test_the_loss_falls(self, model: str) -> None:
        """Forty steps on one batch."""
        encoder, pretext, crystals = self.made(model)
        losses = losses_while_learning(pretext, encoder, crystals)
        assert min(losses) < self.falls_to * losses[0]

    def test_it_draws_no_random_numbers(self, model: str) -> None:
        """What is random belongs to a view, so that a run can continue exactly."""
        encoder, pretext, crystals = self.made(model)
        batch = view_batches(pretext, encoder, crystals)
        before = torch.get_rng_state()
        first = answer(pretext, encoder, batch).loss.item()
        assert torch.equal(torch.get_rng_state(), before)
        assert answer(pretext, encoder, batch).loss.item() == first

    def test_what_it_prepared_is_saved(self, model: str) -> None:
        """Scales of the training crystals are buffers: a resumed run has them without preparing again."""
        encoder, pretext, crystals = self.made(model)
        batch = view_batches(pretext, encoder, crystals)
        other = self.pretext(encoder, **self.arguments)
        other.load_state_dict(pretext.state_dict())
        assert answer(other, encoder, batch).loss.item() == answer(pretext, encoder, batch).loss.item()

    def test_two_processes_have_the_loss_of_the_joint_batch(self, model: str, tmp_path: Path) -> None:
        """Loss and gradients of two processes with unequal shares, on average those of one with all crystals."""
        made = {"pretext": partial(self.pretext, **self.arguments)}
        assert_two_processes_agree(model, made, self.crystals(), tmp_path, **self.models[model])
