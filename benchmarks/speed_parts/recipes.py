"""(b) Each recipe's step against its floor: the passes through the accelerated encoder that it makes.

A step is scoring a collated batch, backward, gradient clipping and the optimiser. The floor makes the same encoder
passes on the same batches (views encoded together count as they are encoded, forces and stresses are differentiated
where the recipe does), and sends back through them what the recipe's heads and losses sent back on that batch: recorded
beforehand, so that computing it takes no time. Nothing but the heads, the losses and the optimiser is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from matgl_ssl import accelerate, list_recipes
from matgl_ssl.backends import CrystalBatch
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.demo import demo_task
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.recipes import load_recipe
from matgl_ssl.targets import with_targets
from matgl_ssl.training.config import PretrainConfig
from matgl_ssl.training.loader import ViewDataset
from matgl_ssl.training.module import initialise
from matgl_ssl.training.pretrain import PretrainingModule, _build

from .common import Results, Settings, drawn, fresh, in_turn, n_threads, paired, seconds

MODELS = ("MEGNet", "M3GNet")
LARGEST_BATCH = 64
BATCHES = 3


class Recorder(nn.Module):
    """Stands in for an encoder: the heads get leaves instead of features, so that what reaches those is kept.

    Attributes:
        passes: Batch and options of each pass, and the leaves.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.passes: list[tuple[CrystalBatch, dict[str, Any], Features]] = []

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name) if name in ("encoder", "_modules") else getattr(self.encoder, name)

    def forward(self, batch: CrystalBatch, **options: Any) -> Features:
        """Encode, and cut the graph."""
        found = {k: cut(v) for k, v in vars(self.encoder(batch, **options)).items()}
        self.passes.append((batch, options, Features(**found)))
        return self.passes[-1][2]


def cut(value: Any) -> Any:
    """A leaf in place of a tensor, or of each in a list."""
    if isinstance(value, list):
        return [cut(v) for v in value]
    return value.detach().requires_grad_() if isinstance(value, Tensor) else value


def tensors(features: Features) -> list[Tensor | None]:
    """Every tensor of the features, in order."""
    values = [v if isinstance(v, list) else [v] for v in vars(features).values()]
    return [tensor for value in values for tensor in value]


def recorded(module: PretrainingModule, batches: list[CrystalBatch]) -> list[tuple[Any, ...]]:
    """Batch and options of each encoder pass of a step, and the gradients that reach its features."""
    recorder = Recorder(module.encoder)
    loss, _, _ = module.mixture(recorder, batches)
    loss.backward()
    return [(b, o, [None if t is None else t.grad for t in tensors(leaves)]) for b, o, leaves in recorder.passes]


def passes_alone(encoder: Encoder, passes: list[tuple[Any, ...]]) -> None:
    """The encoder passes of a step, forward and backward, and nothing else."""
    encoder.zero_grad()
    found = [tensors(encoder(batch, **options)) for batch, options, _ in passes]
    pairs = [
        (tensor, gradient)
        for features, (*_, gradients) in zip(found, passes, strict=True)
        for tensor, gradient in zip(features, gradients, strict=True)
        if gradient is not None and tensor is not None and tensor.requires_grad
    ]
    torch.autograd.backward(*map(list, zip(*pairs, strict=True)))


def module_and_batches(
    recipe: str, model: str, crystals: CrystalDataset, batch_size: int | None, device: str
) -> tuple[PretrainingModule, list[list[CrystalBatch]], PretrainConfig]:
    """What ``pretrain`` trains, accelerated, and the first batches it would train on."""
    settings = PretrainConfig.build(load_recipe(recipe), {"model": model})
    encoder, mixture = initialise(lambda: _build(settings, None), settings.seed)
    n = batch_size or min(settings.batch_size, LARGEST_BATCH)
    crystals = with_targets(crystals.select(range(n * (1 if batch_size else BATCHES))), mixture.targets)
    mixture.prepare(crystals)
    views = ViewDataset(crystals, encoder.graph_builder(), mixture.views, settings.seed)
    batches = [
        [batch.to(device) for batch in views.collate(views.__getitems__([(0, row) for row in range(i, i + n)]))]
        for i in range(0, len(crystals), n)
    ]
    accelerate(encoder.model)
    module = PretrainingModule(encoder, mixture, optimizer=settings, total_steps=1000).to(device).train()
    return module, batches, settings


def measured(recipe: str, model: str, threads: int, settings: Settings) -> dict[str, Any]:
    """One recipe on one architecture."""
    crystals = demo_task(16 * BATCHES) if recipe == "energy-force-stress" else drawn(LARGEST_BATCH * BATCHES)
    module, batches, config = module_and_batches(
        recipe, model, crystals, 8 if settings.quick else None, settings.device
    )
    optimizer = module.configure_optimizers()["optimizer"]

    def whole(batch: list[CrystalBatch]) -> None:
        optimizer.zero_grad()
        module.score(batch)[0].backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip)
        optimizer.step()

    def without_optimizer(batch: list[CrystalBatch]) -> None:
        optimizer.zero_grad()
        module.score(batch)[0].backward()

    passes = [recorded(module, fresh(batch)) for batch in batches]

    def timer(work: Callable[[Any], None], inputs: list[Any]) -> Callable[[int], float]:
        def measure(i: int) -> float:
            given = fresh(inputs[i % len(inputs)])
            return seconds(lambda: work(given), settings.device)

        return measure

    with n_threads(threads):
        works = {
            "step": timer(whole, batches),
            "without_optimizer": timer(without_optimizer, batches),
            "passes": timer(lambda given: passes_alone(module.encoder, given), passes),
        }
        found = in_turn(works, pairs=2 if settings.quick else 11)
    first = batches[0]
    return {
        **paired(found, "step", "passes"), "without_optimizer": paired(found, "without_optimizer", "passes"),
        "batch": len(first[0]), "passes": len(passes[0]), "views": len(first),
        "edges": [b.edge_index.shape[1] for b in first],
    }  # fmt: skip


def run(settings: Settings) -> None:
    """Every recipe on both architectures."""
    results, threads = Results("recipes", settings), settings.threads[-1]
    for model in MODELS:
        for recipe in list_recipes():
            results.measure(
                f"{recipe}, {model}, {threads} threads",
                lambda recipe=recipe, model=model: measured(recipe, model, threads, settings),
            )
