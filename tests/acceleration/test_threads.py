"""The compiled kernel on several threads, which it uses from 2,000 rows on. Elsewhere tests run on one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from same_results import a_network, assert_close, everything
from small_systems import double, make_batch, nacl, rattled, small_encoder, supercell

from matgl_ssl.acceleration import accelerate, compiler, guard

pytestmark = [
    pytest.mark.pyg,
    pytest.mark.skipif(compiler.library() is None, reason="no C++ compiler"),
]

N_ROWS, N_ATOMS = 3 * 2048 + 37, 11
"""Rows for three threads, in blocks of which the last is not full."""


def inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = (N_ROWS, 5), (N_ATOMS, 7), (N_ATOMS, 7), (7, 5), (7,), (5, 7), (5,)
    x = [torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]
    return x, torch.randint(N_ATOMS, (2, N_ROWS), generator=generator)


def passes(x, edge_index) -> list[torch.Tensor]:
    """Outputs, gradients, and gradients of gradients."""
    outputs = a_network(x, edge_index, N_ATOMS, "softplus2")
    loss = sum(y.square().mean() for y in outputs)
    first = torch.autograd.grad(loss, x, create_graph=True)
    second = torch.autograd.grad(sum(g.square().mean() for g in first), x)
    return [y.detach().clone() for y in (*outputs, *first, *second)]


@pytest.mark.parametrize("n_threads", [2, 3, 64])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-11)])
def test_outputs_and_gradients_are_those_of_torch(n_threads, dtype, tolerance):
    torch.set_num_threads(n_threads)
    found = passes(*inputs(dtype))
    with guard.forced("torch"):
        expected = passes(*inputs(dtype))
    for x, y in zip(found, expected, strict=True):
        assert float((x - y).norm() / y.norm()) < tolerance


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_the_same_number_of_threads_gives_the_same_bits(n_threads):
    torch.set_num_threads(n_threads)
    x, edge_index = inputs(torch.float32)
    first = passes(x, edge_index)
    for _ in range(5):
        assert all(map(torch.equal, passes(x, edge_index), first))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.parametrize(("n_rows", "n_threads"), [(1984, 1), (2048, 2)])
def test_a_second_thread_works_from_2000_rows_on(n_rows, n_threads):
    """A thread that calls the kernel for the first time gets helpers of its own."""
    torch.set_num_threads(2)
    x, edge_index = inputs()
    x[0], edge_index = x[0].detach()[:n_rows], edge_index[:, :n_rows]
    counts = []

    def count() -> None:
        before = len(list(Path("/proc/self/task").iterdir()))
        with torch.no_grad():
            a_network(x, edge_index, N_ATOMS, "silu")
        counts.append(len(list(Path("/proc/self/task").iterdir())) - before)

    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    assert counts == [n_threads - 1]


def test_callers_on_several_threads_do_not_meet():
    """Each has its scratch memory."""
    torch.set_num_threads(2)
    x, edge_index = inputs()
    expected = passes(x, edge_index)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: passes(*inputs()), range(12)):
            assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize(
    ("name", "changes", "repeats"),
    [
        ("M3GNet", {"is_intensive": False, "nblocks": 1, "threebody_cutoff": 3.0}, (4, 3, 1)),
        ("MEGNet", {"nblocks": 1}, (4, 6, 1)),
    ],
)
def test_a_whole_model_is_the_plain_one_on_two_threads(name, changes, repeats):
    """Outputs, forces, stresses and gradients, of a pass with more than 2,048 edges."""
    torch.set_num_threads(2)
    encoder = small_encoder(name, **changes).double()
    batch = double(encoder, [rattled(supercell(nacl(), repeats)), nacl()])
    assert batch.edge_index.shape[1] > 2048
    expected = everything(encoder, batch)
    accelerate(encoder.model)
    assert_close(everything(encoder, batch), expected, 1e-10)


def test_without_forces_too():
    torch.set_num_threads(2)
    encoder = small_encoder("M3GNet")
    batch = make_batch(encoder, [rattled(supercell(nacl(), (4, 3, 1)))])
    with torch.no_grad():
        expected = encoder(batch).output
        accelerate(encoder.model)
        torch.testing.assert_close(encoder(batch).output, expected, rtol=1e-5, atol=1e-6)
