"""Execute the notebooks, two at a time, in a temporary folder: ``python tests/run_notebooks.py [NOTEBOOK ...]``.

What a notebook writes lands beside its copy, never in the checkout. The notebook about sharing finds a hub on this
machine (``tests/hub_server.py``). A table of times is printed at the end; the exit status is 1 if a notebook failed.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hub_server import OWNER, TOKEN, running

FOLDER = Path(__file__).parents[1] / "notebooks"
LONGEST = 900
"""Seconds that a cell may take, on a busy machine too."""


def execute(book: Path, work: Path, environment: dict[str, str]) -> tuple[Path, float, str]:
    """The notebook, the seconds that it took, and what nbconvert says if it failed."""
    shutil.copy(book, work)
    started = time.monotonic()
    command = [
        sys.executable, "-m", "nbconvert", "--log-level=ERROR", "--to", "notebook", "--execute",
        f"--ExecutePreprocessor.timeout={LONGEST}", f"--output-dir={work / 'executed'}", work / book.name,
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    failed = done.stderr if done.returncode else ""
    print(f"{'FAILED' if failed else 'ok':<8}{seconds:>6.0f} s  {book.name}", flush=True)
    return book, seconds, failed


def main(names: list[str]) -> int:
    """Execute all notebooks, or those that are named."""
    books = [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as folder, running() as hub, ThreadPoolExecutor(2) as two:
        environment = {
            **os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "JUPYTER_PREFER_ENV_PATH": "1", "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1",
            "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HUB_OWNER": OWNER, "HF_HOME": str(Path(folder) / "hf"),
            "HF_HUB_DISABLE_XET": "1", "HOME": folder,  # MatGL keeps fetched models under the home directory
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        }  # fmt: skip
        done = list(two.map(lambda book: execute(book, Path(folder), environment), books))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    failed = [(book.name, why) for book, _, why in done if why]
    print(f"{len(done)} notebooks, {len(failed)} failed; {used.ru_utime + used.ru_stime:.0f} s of processor time.")
    for name, why in failed:
        print(f"\n{name}\n{why[-4000:]}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
