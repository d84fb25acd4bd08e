"""A pretext on two real processes (gloo), each with crystals of its own, against one process with all of them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from matgl_ssl.backends import collate
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.encoders import Encoder
from matgl_ssl.pretexts import Mixture, Pretext, build_pretext
from matgl_ssl.targets import with_targets
from matgl_ssl.views import sample_generator

from .systems import small_encoder

Result = tuple[torch.Tensor, dict[str, torch.Tensor]]
Made = Mapping[str, Any] | Callable[[Encoder], Pretext]
"""The arguments of a registered pretext, or what makes another."""


def loss_and_gradients(
    model: str,
    pretexts: Mapping[str, Made],
    crystals: Sequence[Crystal],
    rows: Sequence[int],
    changes: Mapping[str, Any],
) -> Result:
    """Loss and gradients in float64 on some rows of a table; randomness belongs to the row, as in the loader."""
    encoder = small_encoder(model, **changes).double().train()
    torch.manual_seed(1)
    made = {n: p(encoder) if callable(p) else build_pretext(n, encoder, p) for n, p in pretexts.items()}
    mixture = Mixture(made, dict.fromkeys(pretexts, 1.0))
    with torch.no_grad():
        for parameter in mixture.parameters():  # a head that starts at zero would pass no gradient on
            if not parameter.any():
                parameter.normal_(0.0, 0.1)
    table = with_targets(CrystalDataset.from_crystals(crystals), mixture.targets)
    mixture.prepare(table)
    mixture.double().train()
    build = encoder.graph_builder()
    batches = []
    for view in mixture.views:
        graphs = []
        for row in rows:
            rng = sample_generator(0, 0, row, view.stream)
            graphs.append(view.on_graph(build(view.on_crystal(table[row], rng)), rng))
        batches.append(collate(graphs))
    loss, _, _ = mixture(encoder, [b.to("cpu", torch.float64) for b in batches])
    loss.backward()
    named = {**dict(encoder.named_parameters()), **dict(mixture.named_parameters())}
    return loss.detach(), {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in named.items()}


def assert_two_processes_agree(
    model: str,
    pretexts: Mapping[str, Made],
    crystals: Sequence[Crystal],
    folder: Path,
    *,
    first: int = 2,
    tolerance: float = 1e-9,
    **changes: Any,
) -> None:
    """The ranks' mean loss and mean gradients are those of the joint batch.

    Args:
        model: Architecture of the encoder.
        pretexts: Pretexts by name: the arguments of registered ones, or what makes one of an encoder.
        crystals: The joint batch.
        folder: An empty folder, where the ranks meet.
        first: How many of the crystals rank 0 has.
        tolerance: Of loss and gradients, absolute and relative.
        **changes: Arguments of the model.
    """
    rows = [list(range(first)), list(range(first, len(crystals)))]
    arguments = (model, pretexts, crystals, rows, changes, str(folder))
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_rank, args=(rank, *arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [p.exitcode for p in processes] == [0, 0], "a rank failed or hung"
    ranks = [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]
    loss, gradients = loss_and_gradients(model, pretexts, crystals, [*rows[0], *rows[1]], changes)
    torch.testing.assert_close((ranks[0][0] + ranks[1][0]) / 2, loss, rtol=tolerance, atol=tolerance)
    assert any(float(g.abs().max()) > 0 for g in gradients.values())
    for name, gradient in gradients.items():
        mean = (ranks[0][1][name] + ranks[1][1][name]) / 2
        assert float((mean - gradient).norm()) <= tolerance * (1 + float(gradient.norm())), name


def _rank(rank: int, model: str, pretexts: Any, crystals: Any, rows: Any, changes: Any, folder: str) -> None:
    torch.set_num_threads(1)
    try:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
        torch.save(loss_and_gradients(model, pretexts, crystals, rows[rank], changes), f"{folder}/rank{rank}.pt")
        distributed.barrier()
        distributed.destroy_process_group()
    except BaseException:
        traceback.print_exc()
        raise
