"""What MatGL 2.2's M3GNet does to bonds beyond the three-body cutoff, and what our backend makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_systems import cscl, iron, make_batch, nacl, skewed, small_encoder, small_model, supercell

from matgl_ssl.backends import Potential, backend
from matgl_ssl.crystals import Crystal

pytestmark = pytest.mark.dgl


def molecule() -> Crystal:
    """Atoms with no, one and two bonds within the three-body cutoff, in this order."""
    cart = np.array([[9.0, 9, 9], [0, 0, 0], [0, 0, 2.1], [0, 2.2, 6.0], [0, 0, 5.5], [4.5, 0, 0]])
    return Crystal(np.array([26, 11, 17, 8, 12, 17]), cart / 18, 18 * np.eye(3), id="molecule")


def predict(model, crystals):
    with torch.no_grad():
        batch = make_batch(small_encoder("M3GNet"), crystals)
        return backend.run_model(model, batch, torch.zeros(len(batch), 2)).reshape(-1)


def test_matgl_itself_gives_a_supercell_another_value():
    """The reason for all this: it takes numbers of bonds within the three-body cutoff for numbers of bonds."""
    for cutoff, wrong in ((4.0, True), (5.0, False)):
        model = small_model("M3GNet", threebody_cutoff=cutoff, readout_type="reduce_atom")
        with torch.no_grad():
            one, two = (
                float(model.predict_structure(c.to_structure())) for c in (skewed(), supercell(skewed(), (2, 1, 1)))
            )
        assert (abs(one - two) > 1e-5 * abs(one)) == wrong


@pytest.mark.parametrize("threebody_cutoff", [3.0, 4.0, 5.0])
def test_a_crystal_gets_in_any_batch_what_matgl_gives_it_alone(threebody_cutoff):
    model = small_model("M3GNet", threebody_cutoff=threebody_cutoff)
    crystals = [skewed(), molecule(), cscl(), molecule(), nacl(), iron()]
    with torch.no_grad():
        expected = torch.stack([model.predict_structure(c.to_structure()).reshape(()) for c in crystals])
    torch.testing.assert_close(predict(model, crystals), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(predict(model, crystals[::-1]).flip(0), expected, rtol=1e-6, atol=1e-6)


def test_bonds_without_any_triple_do_not_disturb_others():
    model = small_model("M3GNet", threebody_cutoff=2.15)  # the molecule has one bond so short: no triple at all
    expected = predict(model, [molecule()])
    torch.testing.assert_close(predict(model, [molecule(), nacl(), molecule()])[[0, 2]], expected.repeat(2))


def test_models_are_left_as_they_were():
    potential = Potential(small_model("M3GNet", is_intensive=False), calc_stresses=True)
    batch = make_batch(small_encoder("M3GNet"), [skewed()])
    backend.run_potential(potential, batch, None)
    backend.run_model(potential.model, batch, None)
    assert all("forward" not in vars(layer) for layer in potential.model.three_body_interactions)


def test_double_precision_needs_no_global_setting():
    import matgl

    encoder = small_encoder("M3GNet").double()
    output = encoder(make_batch(encoder, [skewed()])).output
    assert output.dtype == torch.float64
    assert matgl.float_th == torch.float32
    single = small_encoder("M3GNet")
    torch.testing.assert_close(output.float(), single(make_batch(single, [skewed()])).output, rtol=1e-3, atol=1e-4)
