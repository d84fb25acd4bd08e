"""The mask token: hides an element, learns, and leaves no trace in the MatGL model."""

from __future__ import annotations

import copy

import pytest
import torch
from small_systems import ELEMENTS, NAMES, cscl, make_batch, nacl, skewed, small_encoder, small_model

from matgl_ssl.backends import MASK
from matgl_ssl.encoders import Encoder


def masked_batch(encoder: Encoder, atoms: tuple[int, ...]):
    batch = make_batch(encoder, [nacl(), skewed()])
    mask = torch.zeros(14, dtype=torch.bool)
    mask[list(atoms)] = True
    batch.atom = {MASK: mask}
    return batch


def element_embedding(encoder: Encoder):
    return encoder.model.get_submodule(encoder.architecture.element_embedding)


def is_clean(model: torch.nn.Module) -> bool:
    return not any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules()
    ) and not getattr(model, "feature_dict", None)


@pytest.mark.parametrize("name", NAMES)
def test_masked_atoms_get_the_token_and_others_keep_their_embedding(name):
    encoder = small_encoder(name)
    with torch.no_grad():
        encoder.mask_token.add_(1.0)
        open_, hidden = (encoder(masked_batch(encoder, atoms)).node[0] for atoms in ((), (2, 9)))
    changed = (open_ != hidden).any(1)
    assert changed.nonzero().flatten().tolist() == [2, 9]
    torch.testing.assert_close(hidden[2], hidden[9])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_masked_atoms_element_gets_through(name):
    encoder = small_encoder(name)
    batch = masked_batch(encoder, (2, 9))
    first = encoder(batch, forces=True)
    batch.node_type = batch.node_type.clone()
    batch.node_type[[2, 9]] = torch.tensor([ELEMENTS.index("U"), ELEMENTS.index("H")])
    second = encoder(batch, forces=True)
    for kind in ("node", "edge"):
        for one, other in zip(getattr(first, kind), getattr(second, kind), strict=True):
            assert one is other is None or torch.equal(one, other)
    assert torch.equal(first.output, second.output)
    torch.testing.assert_close(first.forces, second.forces)
    batch.atom = {}
    assert not torch.allclose(encoder(batch).output, second.output)


@pytest.mark.parametrize("name", NAMES)
def test_neighbours_notice_a_mask(name):
    encoder = small_encoder(name)
    with torch.no_grad():
        open_, hidden = (encoder(masked_batch(encoder, atoms)).node[-1] for atoms in ((), (0,)))
    assert (open_[1:8] - hidden[1:8]).abs().max() > 1e-5
    torch.testing.assert_close(open_[8:], hidden[8:], rtol=1e-5, atol=1e-6)  # the other crystal does not


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("forces", [False, True])
def test_the_token_and_the_embedding_learn(name, forces):
    encoder = small_encoder(name).train()
    features = encoder(masked_batch(encoder, (2, 9)), forces=forces)
    loss = features.node[-1].pow(2).sum() if not forces else features.forces.pow(2).sum()
    loss.backward()
    assert encoder.mask_token.grad.abs().sum() > 0
    assert element_embedding(encoder).weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_matgl_model_stays_as_it_is(name):
    model = small_model(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    encoder = Encoder(model).eval()
    assert encoder.model is model
    encoder(masked_batch(encoder, (2, 9)), stresses=True)
    encoder(make_batch(encoder, [cscl()]))
    assert is_clean(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_pass_leaves_no_hooks(name):
    encoder = small_encoder(name)
    batch = masked_batch(encoder, (2,))
    batch.node_type = batch.node_type + 1000
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the backend raises
        encoder(batch)
    assert is_clean(encoder.model)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("forces", [False, True])
def test_an_encoder_can_be_copied_after_a_pass(name, forces):
    encoder = small_encoder(name)
    batch = make_batch(encoder, [nacl()])
    expected = encoder(batch, forces=forces).output
    twin = copy.deepcopy(encoder)
    torch.testing.assert_close(twin(batch).output, expected)
    with torch.no_grad():
        element_embedding(twin).weight.add_(1.0)
    torch.testing.assert_close(encoder(batch).output, expected)
