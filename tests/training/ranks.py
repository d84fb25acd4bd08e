"""Runs pretraining runs one after the other in every process that torchrun starts.

``torchrun --standalone --nproc-per-node 2 ranks.py plan.json``: a list of runs, each with the ``verb`` and its
``options``, and, to be interrupted, ``stop``: the ``signal`` that a ``rank`` gets during a ``step``. What came of each,
the name of an error or ``done``, is printed by the first process as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any


def interrupt_at(stop: dict[str, Any]) -> None:
    """Send one of the processes a signal in the middle of a step."""
    from matgl_ssl.training.pretrain import PretrainingModule

    score = PretrainingModule.score

    def score_and_signal(self: Any, batches: Any) -> Any:
        if self.global_step == stop["step"] and int(os.environ["RANK"]) == stop["rank"]:
            PretrainingModule.score = score
            os.kill(os.getpid(), signal.Signals[stop["signal"]])
        return score(self, batches)

    PretrainingModule.score = score_and_signal


def main() -> None:
    import torch

    torch.set_num_threads(1)
    import matgl_ssl
    from matgl_ssl.errors import MatGLSSLError

    logging.basicConfig(level=logging.ERROR)
    results = []
    for run in json.loads(Path(sys.argv[1]).read_text()):
        if "stop" in run:
            interrupt_at(run["stop"])
        try:
            getattr(matgl_ssl, run["verb"])(**run["options"])
            results.append("done")
        except MatGLSSLError as err:
            results.append(f"{type(err).__name__}: {err}")
    if os.environ["RANK"] == "0":
        print(json.dumps(results))


if __name__ == "__main__":
    main()
