"""What accelerated and plain models are compared by."""

from __future__ import annotations

import torch

from matgl_ssl.acceleration.rows import Rows
from matgl_ssl.encoders import Encoder


def everything(encoder: Encoder, batch) -> dict[str, torch.Tensor]:
    """Features, output, forces, stresses, and the gradients of a loss on all of them."""
    encoder.zero_grad()
    found = encoder.train()(batch, forces=True, stresses=True)
    # Shifted, so that the crystals' outputs do not cancel to their rounding.
    loss = (found.output + 2).square().sum() + found.forces.square().sum() + 0.01 * found.stresses.square().sum()
    (loss + sum(x.square().mean() for x in (*found.node, *found.edge))).backward()
    values = {"output": found.output, "forces": found.forces, "stresses": found.stresses}
    values |= {f"state {k}": x for k, x in enumerate(found.state) if x is not None}
    values |= {f"node {k}": x for k, x in enumerate(found.node)} | {f"edge {k}": x for k, x in enumerate(found.edge)}
    values |= {f"d {name}": p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    return {name: value.detach().clone() for name, value in values.items()}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    scale = {kind: max(float(v.norm()) for k, v in expected.items() if k.startswith(kind)) for kind in ("d ", "")}
    for name, value in expected.items():
        # Forces that vanish by symmetry and gradients that are all rounding are compared with what does not vanish.
        floor = 1e-3 * scale["d " if name.startswith("d ") else ""]
        error = float((found[name] - value).norm()) / max(float(value.norm()), floor)
        assert error < tolerance, f"{name}: {error:.1e}"


def a_network(x: list[torch.Tensor], edge_index: torch.Tensor, n_atoms: int, kind: str) -> tuple[torch.Tensor, ...]:
    """Every operation that there is."""
    edges, source, destination, weight, bias, second, scale = x
    rows = Rows(edge_index, n_atoms)
    hidden = rows.rows(edges).linear(weight, bias) + rows.atoms(source, 0) + rows.atoms(destination, 1)
    hidden = hidden.activate(kind)
    gated = hidden.linear(second) * hidden.linear(second).activate("sigmoid") * rows.vector(scale) + rows.rows(edges)
    return rows.compute(gated, gated.sum(0), hidden.sum(1))
