"""Stop at the first loss or gradient that is not a number, and say which crystals it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from matgl_ssl._files import write_text
from matgl_ssl.errors import NonFiniteError


class FiniteGuard(L.Callback):
    """Write the offending batch's ids to ``incidents/step-N.json`` and raise before the weights are touched.

    Args:
        folder: Where incidents are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_before_backward(self, trainer: L.Trainer, pl_module: Any, loss: Tensor) -> None:
        """Check the loss."""
        if not bool(torch.isfinite(loss)):
            self._stop(pl_module, f"the loss is {float(loss.detach())}")

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Check the gradients."""
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        if not bool(torch.isfinite(norm)):
            self._stop(pl_module, f"the gradient's norm is {float(norm)}")

    def _stop(self, module: Any, what: str) -> None:
        incident = {"step": module.global_step, "epoch": module.current_epoch, "what": what, "ids": module.ids}
        path = self.folder / f"step-{module.global_step}.json"
        write_text(path, json.dumps(incident, indent=1))
        raise NonFiniteError(
            f"Step {module.global_step}: {what}. The batch's crystals are listed in {path}; the weights were not "
            "updated and the last checkpoint is intact. Look at those crystals with `mgl-ssl doctor`, or lower --lr."
        )
