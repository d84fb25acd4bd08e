"""Runs pretraining runs one after the other, each in a process of its own, and stops them where a test wants.

``python runner.py plan.json``: a list of runs, each with the ``options`` of ``pretrain`` and, to be interrupted,
``stop``: the signal's name, the global ``step`` during which the process (or its whole group) gets it, and in which
``phase`` (``train`` or ``val``). The exit codes are printed as JSON. Runs fork from a process that has imported
everything and computed nothing, which saves importing torch a dozen times.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def interrupt_at(stop: dict[str, Any]) -> None:
    """Send this very process a real signal in the middle of a step."""
    from matgl_ssl.training.pretrain import PretrainingModule

    score = PretrainingModule.score
    phase = stop.get("phase", "train")

    def score_and_signal(self: Any, batches: Any) -> Any:
        result = score(self, batches)
        if self.global_step == stop["step"] and self.training == (phase == "train") and not stop.get("sent"):
            stop["sent"] = True
            number = signal.Signals[stop["signal"]]
            for _ in range(stop.get("times", 1)):
                if stop.get("group"):
                    subprocess.run(["setsid", "kill", f"-{number.value}", "--", f"-{os.getpgid(0)}"], check=True)
                else:
                    os.kill(os.getpid(), number)
                time.sleep(0.01)
        return result

    PretrainingModule.score = score_and_signal


def one(run: dict[str, Any]) -> int:
    from matgl_ssl import pretrain
    from matgl_ssl.errors import MatGLSSLError

    if run.get("stop"):
        interrupt_at(run["stop"])
    try:
        pretrain(**run["options"])
    except MatGLSSLError as err:
        print(f"{type(err).__name__}: {err}", file=sys.stderr)
        return err.exit_code
    return 0


def forked(run: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            code = one(run)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    import logging

    import torch

    torch.set_num_threads(1)
    import matgl_ssl.training.pretrain  # noqa: F401 - so that forks need not

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plan = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps([forked(run) for run in plan]))


if __name__ == "__main__":
    main()
