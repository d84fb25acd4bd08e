"""Over two processes with different crystals, loss and gradients are those of one process with the joint batch."""

from __future__ import annotations

import pytest
from small_systems import cscl, nacl, rattled, skewed
from two_processes import assert_two_processes_agree

CRYSTALS = [nacl(), cscl(), skewed(), rattled(skewed(), 0.1, seed=4), rattled(nacl(), 0.1, seed=5)]


@pytest.mark.parametrize("model", ["M3GNet", "MEGNet"])
@pytest.mark.parametrize(
    "pretexts",
    [
        {"masked-atoms": {"target": "element"}},
        {"masked-atoms": {"target": "group-period"}},
        {"direct-denoising": {"loss": "mae"}},
        {"edge-denoising": {"target": "expansion"}},
        {"edge-denoising": {"target": "distance"}},
    ],
    ids=str,
)
def test_features_alone(model, pretexts, tmp_path):
    assert_two_processes_agree(model, pretexts, CRYSTALS, tmp_path)


@pytest.mark.parametrize(("model", "changes"), [("M3GNet", {"is_intensive": False}), ("MEGNet", {})])
def test_forces(model, changes, tmp_path):
    assert_two_processes_agree(model, {"derivative-denoising": {}}, CRYSTALS, tmp_path, **changes)
