"""A device that this machine does not have: its tensors live apart from the CPU's, and it has no float64.

As on CUDA and MPS, an operation on tensors of two devices is an error, and so is reading a tensor's memory from the
CPU. As on MPS, so is a tensor in float64. PyTorch's hook for backends written in Python makes the device; what a
tensor holds is a tensor on the CPU, which computes.

Use it in a process of its own: a device is registered for good.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"
aten = torch.ops.aten
_BETWEEN_DEVICES = {aten._to_copy.default, aten.copy_.default}
_INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
"""What takes indices from the CPU, too."""


class Elsewhere(torch.Tensor):
    """A tensor of the device."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Self:
        if inner.dtype == torch.float64:
            raise TypeError("This device has no float64.")
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=f"{NAME}:0",
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert a tensor of another device to numpy: use .cpu()")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, **kwargs: Any) -> str:
        return f"Elsewhere({self.inner})"


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat, _ = tree_flatten((args, kwargs))
    ours = [x for x in flat if isinstance(x, Elsewhere)]
    theirs = [x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, Elsewhere) and x.dim()]
    device = kwargs.get("device")
    here = bool(ours) if device is None else torch.device(device).type == NAME
    indexed = func in _INDEXED and isinstance(args[0], Elsewhere) and all(isinstance(x, Elsewhere) for x in args[2:3])
    if ours and theirs and func not in _BETWEEN_DEVICES and not indexed:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    inner = lambda x: x.inner if isinstance(x, Elsewhere) else x  # noqa: E731
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if func is aten.copy_.default:
        args[0].inner.copy_(inner(args[1])) if isinstance(args[0], Elsewhere) else args[0].copy_(inner(args[1]))
        return args[0]
    plain_args, plain_kwargs = tree_map(inner, (args, kwargs))
    result = _KERNELS.get(func, func)(*plain_args, **plain_kwargs)
    if not here:
        if func is aten._to_copy.default and result is plain_args[0]:
            result = result.clone()
        return result
    made = tree_map(lambda x: Elsewhere(x) if isinstance(x, torch.Tensor) else x, result)
    return return_and_correct_aliasing(func, args, kwargs, made)


def _lstm_cell(input_gates, hidden_gates, cx, input_bias=None, hidden_bias=None):
    """What torch runs on all devices but the CPU."""
    gates = input_gates + hidden_gates + (0 if input_bias is None else input_bias + hidden_bias)
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cy = f * cx + i * g
    return o * cy.tanh(), cy, torch.cat([i, f, g, o], 1)


def _lstm_cell_backward(grad_hy, grad_cy, cx, cy, workspace, has_bias):
    i, f, g, o = workspace.chunk(4, 1)
    t = cy.tanh()
    grad_hy = torch.zeros_like(cy) if grad_hy is None else grad_hy
    gc = (0 if grad_cy is None else grad_cy) + grad_hy * o * (1 - t * t)
    gates = torch.cat([gc * g * i * (1 - i), gc * cx * f * (1 - f), gc * i * (1 - g * g), grad_hy * t * o * (1 - o)], 1)
    return gates, gc * f, gates.sum(0) if has_bias else gates.new_zeros(0)


_KERNELS = {
    aten._thnn_fused_lstm_cell.default: _lstm_cell,
    aten._thnn_fused_lstm_cell_backward_impl.default: _lstm_cell_backward,
}


class _FromNumbers(TorchFunctionMode):
    """``torch.tensor`` and its like make a tensor on the CPU and copy it, out of reach of a dispatch mode."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and device is not None and torch.device(device).type == NAME:
            return func(*args, **{**kwargs, "device": "cpu"}).to(device)
        if func is torch.Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs, "device": "cpu"}).to(NAME)
        return func(*args, **kwargs)


class Machine(TorchDispatchMode):
    """A machine that has the device."""

    def __enter__(self) -> Self:
        self.numbers = _FromNumbers()
        self.numbers.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[arg-type]
        self.numbers.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        there = device is not None and torch.device(device).type == NAME
        flat, _ = tree_flatten((args, kwargs))
        if there or any(isinstance(x, Elsewhere) for x in flat):
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


_setup_privateuseone_for_python_backend(NAME)
