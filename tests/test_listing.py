"""What there is to choose from."""

from __future__ import annotations

import torch

from matgl_ssl import list_encoders, list_pretexts, list_recipes


def test_pretexts_and_recipes_have_a_line_each():
    for listed, expected in ((list_pretexts(), "masked-atoms"), (list_recipes(), "derivative-denoising")):
        assert expected in listed
        assert all(isinstance(text, str) and text.strip() and "\n" not in text for text in listed.values())


def test_encoders_show_their_defaults_and_draw_no_random_numbers():
    state = torch.random.get_rng_state()
    listed = list_encoders()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert list(listed) == ["M3GNet", "MEGNet", "TensorNet"]
    assert listed["M3GNet"].startswith("cutoff 5 Å, layers 0 to 3, 64 numbers an atom")
    assert listed["MEGNet"].startswith("cutoff 4 Å, layers 0 to 3, 32 numbers an atom")
    assert "89 elements" in listed["MEGNet"]
