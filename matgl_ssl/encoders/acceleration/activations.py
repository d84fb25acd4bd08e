"""MEGNet's activation written over its input, and cheaper.

A CPU waits for memory here: every tensor of the size of the edges that is not there costs more than what is computed.
SoftPlus2 is strictly increasing, so its derivative is a function of its value, and its argument need not be kept.
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
