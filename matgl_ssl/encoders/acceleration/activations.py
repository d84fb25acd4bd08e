"""Activations with fewer passes over memory.

A CPU waits for memory here: every tensor of the size of the edges that is not there costs more than what is computed.
MEGNet's SoftPlus2 is strictly increasing, so its derivative is a function of its value: it is written over its
argument, which need not be kept. M3GNet's SiLU is torch's own, but for its second derivative, which forces are trained
through: torch makes it of a dozen products, one tensor each.
"""

from __future__ import annotations

import math
from types import MethodType
from typing import Any

import torch
from matgl.layers import MLP
from matgl.layers._activations import SoftPlus2
from torch import Tensor, nn
from torch.nn import functional

_LN2 = math.log(2.0)


def accelerate_softplus2(model: nn.Module) -> None:
    """Shadow ``forward`` of every perceptron whose activations are SoftPlus2."""
    for module in model.modules():
        if isinstance(module, MLP) and all(isinstance(layer, nn.Linear | SoftPlus2) for layer in module.layers):
            module.forward = MethodType(_perceptron, module)


def accelerate_silu(model: nn.Module) -> None:
    """Shadow ``forward`` of every SiLU."""
    for module in model.modules():
        if isinstance(module, nn.SiLU):
            module.forward = MethodType(lambda _, x: _SiLU.apply(x), module)  # type: ignore[method-assign]


def _perceptron(mlp: Any, inputs: Tensor) -> Tensor:
    for layer in mlp.layers:
        inputs = layer(inputs) if isinstance(layer, nn.Linear) else softplus2_(inputs)
    return inputs


def softplus2_(x: Tensor) -> Tensor:
    """log(1 + exp(x)) - log(2), written over ``x``, which nothing else may need; twice differentiable."""
    return _SoftPlus2.apply(x)


class _SoftPlus2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        # torch's CPU kernel takes one number at a time through log1p and exp. Vectorised exp and log are as exact: the
        # result is of order one where exp(x) is lost beside 1. Only exp of much must not overflow.
        if x.device.type == "cpu" and x.numel() and bool(x.amax() < 80.0):  # NaN goes the other way, and stays NaN
            x.exp_().add_(1.0).log_().sub_(_LN2)
        else:
            x.copy_(functional.softplus(x)).sub_(_LN2)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return grads[0] * (1.0 - 0.5 * torch.exp(-y))  # sigmoid(x)
        return torch.neg(y).exp_().mul_(-0.5).add_(1.0).mul_(grads[0])


class _SiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return functional.silu(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return (
            _SiLUGradient.apply(grads[0], x) if torch.is_grad_enabled() else torch.ops.aten.silu_backward(grads[0], x)
        )


class _SiLUGradient(torch.autograd.Function):
    """``grad * silu'(x)``."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(grad, x)
        return torch.ops.aten.silu_backward(grad, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        grad, x = ctx.saved_tensors
        if torch.is_grad_enabled():  # a third derivative
            s = torch.sigmoid(x)
            return grads[0] * s * (1 + x * (1 - s)), grads[0] * grad * s * (1 - s) * (2 + x * (1 - 2 * s))
        s = torch.sigmoid(x)
        second = s.mul(-2.0).add_(1.0).mul_(x).add_(2.0)  # silu'' = s (1 - s) (2 + x (1 - 2 s))
        second = torch.ops.aten.sigmoid_backward(second, s).mul_(grad).mul_(grads[0])
        return torch.ops.aten.silu_backward(grads[0], x), second
