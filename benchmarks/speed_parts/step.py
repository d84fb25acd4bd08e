"""(a) A training step against MatGL's own, and whether both compute the same.

``lightning`` is one whole step from a collated batch: ``training_step`` of MatGL's ``ModelLightningModule`` (or
``PotentialLightningModule``, stresses included), backward and the optimiser it configures, against the same crystals,
labels and weights in our Lightning module, accelerated, with our optimiser and gradient clipping. ``model`` is the bare
forward and backward, plain against accelerated. ``plain_products_ms`` is what the plain pass's matrix products alone
take: multiplications, counted, at the rate that a product of 20,000 rows by 64 x 64 reaches here. ``compiled_ms`` is
the accelerated pass's time inside compiled row networks, and of it what their products (those computed again in the
backward included), activations, and rows read, gathered, written and summed take, each at the rate it reaches here by
itself; the rest of the pass are torch's operations and Python.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.data import collate_fn_graph, collate_fn_pes
from matgl.utils.training import ModelLightningModule, PotentialLightningModule
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from matgl_ssl import accelerate, decelerate
from matgl_ssl.acceleration import compiler, kernel
from matgl_ssl.acceleration.row_network import (
    ACTIVATE,
    LINEAR,
    OUTER,
    ROWS,
    SUM,
    TABLE,
    WRITE,
    RowNetwork,
)
from matgl_ssl.acceleration.rows import Rows
from matgl_ssl.backends import CrystalBatch, collate
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import new_model
from matgl_ssl.pretexts import Mixture, build_pretext
from matgl_ssl.training.config import FinetuneConfig, PretrainConfig
from matgl_ssl.training.finetune import FinetuningModule
from matgl_ssl.training.module import TrainingModule
from matgl_ssl.training.pretrain import PretrainingModule
from matgl_ssl.training.target import Standardisation

from .common import LABEL, MIB, Results, Settings, drawn, fresh, in_turn, n_threads, paired, seconds

CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "MEGNet": ("MEGNet", {}, 64),
    "M3GNet": ("M3GNet", {}, 64),
    "M3GNet forces and stress": ("M3GNet", {"is_intensive": False}, 16),
}
STEPS = 3
"""Steps, on as many batches, that a measurement is the mean of."""


def matgl_batches(model: Any, crystals: list[Crystal], n: int, forces: bool) -> list[Any]:
    """Batches as MatGL's own dataset and collating make them; forces and stresses are zero."""
    converter = Structure2Graph(element_types=model.element_types, cutoff=model.cutoff)
    items = []
    for crystal in crystals:
        graph, lattice, state = converter.get_graph(crystal.to_structure())
        energy = torch.tensor(crystal.labels[LABEL], dtype=torch.float32)
        labels = {"energies": energy, "forces": torch.zeros(len(crystal), 3), "stresses": torch.zeros(3, 3)}
        items.append((graph, lattice, torch.tensor(state), labels if forces else {LABEL: energy}))
    collated = collate_fn_pes if forces else collate_fn_graph
    return [collated(items[i : i + n]) for i in range(0, len(items), n)]


def our_batches(model: Any, crystals: list[Crystal], n: int) -> list[CrystalBatch]:
    """The same crystals and labels as our loader hands them out."""
    build, graphs = Encoder(model).graph_builder(), []
    for crystal in crystals:
        graph, energy = build(crystal), crystal.labels[LABEL]
        zeros = {"forces": np.zeros((len(crystal), 3)), "stress": np.zeros((3, 3))}
        graph.labels = {"target": energy, "energy": energy, **zeros}
        graphs.append(graph)
    return [collate(graphs[i : i + n]) for i in range(0, len(graphs), n)]


def our_module(model: Any, labels: np.ndarray, forces: bool, device: str) -> TrainingModule:
    """Our Lightning module for the same task."""
    encoder = Encoder(accelerate(model))
    if forces:
        mixture = Mixture({"pretext": build_pretext("energy-force-stress", encoder, {})}, {"pretext": 1.0})
        return PretrainingModule(encoder, mixture, optimizer=PretrainConfig(), total_steps=1000).to(device)
    config = FinetuneConfig(target=LABEL)
    return FinetuningModule(encoder, Standardisation.fit(labels), config, total_steps=1000).to(device)


def matgl_stepper(model: Any, batches: list[Any], forces: bool, device: str) -> Callable[[int], float]:
    """Seconds of a step of MatGL's Lightning module."""
    cls: Any = PotentialLightningModule if forces else ModelLightningModule
    module = cls(model, **({"stress_weight": 0.1} if forces else {})).to(device).train()
    (optimizer,), _ = module.configure_optimizers()

    def step(batch: Any) -> None:
        module.optimizer_zero_grad(0, 0, optimizer)
        loss = module.training_step(batch, 0)
        (loss["loss"] if forces else loss).backward()
        optimizer.step()

    return timer(step, [[part.to(device) for part in batch] for batch in batches], device)


def our_stepper(module: TrainingModule, batches: list[CrystalBatch], device: str) -> Callable[[int], float]:
    """Seconds of a step of ours."""
    optimizer = module.train().configure_optimizers()["optimizer"]
    clip = PretrainConfig().clip

    def step(batch: CrystalBatch) -> None:
        optimizer.zero_grad()
        loss, _ = module.score([batch])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()

    return timer(step, [batch.to(device) for batch in batches], device)


def bare_stepper(encoder: Encoder, batches: list[CrystalBatch], forces: bool, device: str) -> Callable[[int], float]:
    """Seconds of a forward and backward pass of the model alone, in whatever state of acceleration it is."""

    def step(batch: CrystalBatch) -> None:
        encoder.zero_grad()
        trained(encoder, batch, forces).backward()

    return timer(step, [batch.to(device) for batch in batches], device)


def timer(step: Callable[[Any], None], batches: list[Any], device: str) -> Callable[[int], float]:
    """From a number to the seconds of a step, over ``STEPS`` batches nobody has seen."""

    def measure(i: int) -> float:
        todo = [fresh(batches[(STEPS * i + k) % len(batches)]) for k in range(STEPS)]
        return seconds(lambda: [step(batch) for batch in todo], device) / STEPS

    return measure


def trained(encoder: Encoder, batch: CrystalBatch, forces: bool) -> Tensor:
    """A loss on what is trained."""
    found = encoder(batch, forces=forces, stresses=forces)
    loss = found.output.square().mean()
    return loss + found.forces.square().mean() + found.stresses.square().mean() if forces else loss


def floor(plain: Encoder, fast: Encoder, batches: list[CrystalBatch], forces: bool) -> dict[str, float]:
    """What a step's matrix products alone take, what part of an accelerated step compiled passes are, and of what."""
    with FlopCounterMode(display=False) as counter:
        for batch in batches:
            trained(plain, batch, forces).backward()
    of_plain = counter.get_total_flops() / 2 / len(batches)
    passes: list[tuple[float, ...]] = []
    compute = kernel.compute

    def timed_compute(network: RowNetwork, inputs: Sequence[Tensor], *rest: Any) -> tuple[Tensor, ...]:
        start = time.perf_counter()
        found = compute(network, inputs, *rest)
        passes.append((time.perf_counter() - start, *(len(inputs[0]) * n for n in work(network, inputs))))
        return found

    with mock.patch.object(kernel, "compute", timed_compute):
        for batch in fresh(batches):
            trained(fast, batch, forces).backward()
    in_passes, products, activations, moved = (sum(column) / len(batches) for column in zip(*passes, strict=True))
    per_product, per_activation, per_number = rates()
    return {
        "plain_multiplications_1e9": round(of_plain / 1e9, 2),
        "plain_products_ms": round(1e3 * of_plain * per_product, 1),
        "compiled_ms": round(1e3 * in_passes, 1),
        "compiled_multiplications_1e9": round(products / 1e9, 2),
        "compiled_products_ms": round(1e3 * products * per_product, 1),
        "compiled_activations_1e6": round(activations / 1e6, 2),
        "compiled_activations_ms": round(1e3 * activations * per_activation, 1),
        "compiled_moved_MiB": round(4 * moved / MIB, 1),
        "compiled_moved_ms": round(1e3 * moved * per_number, 1),
    }


def work(network: RowNetwork, inputs: Sequence[Tensor]) -> tuple[int, int, int]:
    """For each row: multiplications of matrix products, activations, and numbers moved between memory and the cache."""
    widths: list[int] = []
    products = activations = moved = 0
    for node in network.nodes:
        if node.code == LINEAR:
            widths.append(inputs[node.slot].shape[1 - node.which])
            products += inputs[node.slot].numel()
        else:
            widths.append(inputs[node.slot].shape[-1] if node.slot >= 0 else widths[node.a])
        activations += widths[-1] * (node.code == ACTIVATE)
        moved += widths[-1] * (node.code in (ROWS, TABLE))
    for node in (node for output in network.outputs for node in output):
        products += widths[node.a] * widths[node.b] * (node.code == OUTER)
        moved += widths[node.a] * (node.code in (WRITE, SUM))
    return products, activations, moved


def rates() -> tuple[float, float, float]:
    """Seconds that this machine takes for a multiplication in a product by 64 x 64, an activation, a number moved."""
    n, width = 20_000, 64
    x, weight = torch.randn(n, width), torch.randn(width, width)

    def best(repeats: int) -> float:
        rows = Rows()
        value = rows.rows(x)
        for _ in range(repeats):
            value = value.activate("softplus2")
        return min(seconds(lambda: rows.compute(value)) for _ in range(20))

    moved = best(0)
    product = min(seconds(lambda: x @ weight) for _ in range(20))
    numbers = n * width
    return product / (numbers * width), (best(8) - moved) / (8 * numbers), moved / (2 * numbers)


def timed(case: str, threads: int, settings: Settings) -> dict[str, Any]:
    """One case."""
    name, arguments, n = CASES[case]
    forces, device, pairs = case.endswith("stress"), settings.device, 2 if settings.quick else 15
    crystals = list(drawn(2 * n if settings.quick else 512))
    torch.manual_seed(0)
    model = new_model(name, arguments).train()
    ours, theirs = our_batches(model, crystals, n), matgl_batches(model, crystals, n, forces)
    labels = np.array([crystal.labels[LABEL] for crystal in crystals])
    with n_threads(threads), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*self.log.*")  # outside a trainer MatGL's step logs nothing
        module = our_module(copy.deepcopy(model), labels, forces, device)
        plain, fast = (Encoder(m).to(device) for m in (copy.deepcopy(model), accelerate(copy.deepcopy(model))))
        steppers = {
            "matgl": matgl_stepper(copy.deepcopy(model), theirs, forces, device),
            "ours": our_stepper(module, ours, device),
            "plain": bare_stepper(plain, ours, forces, device),
            "accelerated": bare_stepper(fast, ours, forces, device),
        }
        found = in_turn(steppers, pairs=pairs)
        floors = floor(plain, fast, ours, forces) if device == "cpu" and compiler.library() else {}
    return {
        "batch": n,
        "atoms": int(np.mean([len(b.node_type) for b in ours])),
        "edges": int(np.mean([b.edge_index.shape[1] for b in ours])),
        "lightning": paired(found, "matgl", "ours"),
        "model": {**paired(found, "plain", "accelerated"), **floors},
    }


def equality(case: str, settings: Settings) -> dict[str, Any]:
    """``||accelerated - plain|| / ||plain||`` of outputs, forces, stresses, and of all gradients and the worst one."""
    name, arguments, n = CASES[case]
    forces = case.endswith("stress")
    rows: dict[str, Any] = {}
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        encoder = Encoder(new_model(name, arguments)).train().to(settings.device, dtype)
        batch = our_batches(encoder.model, list(drawn(n)), n)[0].to(settings.device, dtype)
        expected, found = (
            dict(_everything(encoder, batch, forces)) for change in (decelerate, accelerate) if change(encoder.model)
        )
        errors = {k: float((found[k] - v).norm() / v.norm()) for k, v in expected.items()}
        tensors = {k: e for k, e in errors.items() if k.startswith("d ") and e == e}  # 0/0: no gradient either way
        worst = max(tensors, key=lambda k: tensors[k])
        joint = [torch.cat([values[k].flatten() for k in values if k.startswith("d ")]) for values in (found, expected)]
        rows[str(dtype).removeprefix("torch.")] = {
            **{k: f"{e:.1e}" for k, e in errors.items() if not k.startswith("d ")},
            "all_gradients": f"{float((joint[0] - joint[1]).norm() / joint[1].norm()):.1e}",
            "worst_gradient": f"{tensors[worst]:.1e}",
            "worst_gradient_of": worst.removeprefix("d model."),
            "tensors": len(tensors),
        }
    return rows


def _everything(encoder: Encoder, batch: CrystalBatch, forces: bool) -> Iterator[tuple[str, Tensor]]:
    encoder.zero_grad()
    features = encoder(batch, forces=forces, stresses=forces)
    names = ("output", "forces", "stresses") if forces else ("output",)
    torch.stack([getattr(features, name).square().mean() for name in names]).sum().backward()
    for name in names:
        yield name, getattr(features, name).detach().clone()
    for name, parameter in encoder.named_parameters():
        if parameter.grad is not None:
            yield f"d {name}", parameter.grad.clone()


def run(settings: Settings) -> None:
    """All cases."""
    results = Results("step", settings)
    for case in CASES:
        results.measure(f"{case}, equality", lambda case=case: equality(case, settings))
        for threads in settings.threads:
            results.measure(
                f"{case}, {threads} threads", lambda case=case, threads=threads: timed(case, threads, settings)
            )
