"""Damaged files: what the package makes of a flipped bit, a file that was cut short or emptied, and another's file.

    python benchmarks/reliability_parts/damage.py --n 30    # about ten minutes

Every kind of file that is written and read again is damaged: ``n`` times in one bit, half as often cut short, once
emptied, once replaced by a file of another run. Then it is read as users would: a run is resumed, a model predicts, a
benchmark goes on. The outcome is ``told`` (an error or a warning that names the file), ``harmless`` (what is read is
the same), ``lied`` (it differs, and nobody said so), ``unnamed`` (a typed error that names no file) or ``foreign``
(another exception). ``results/damage.json`` has the counts.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets

sys.path.insert(0, str(Path(__file__).parents[1]))

from matgl_ssl import __version__
from matgl_ssl.console import configure_logging
from matgl_ssl.errors import MatGLSSLError
from reliability_parts.artefacts import Artefact, make

RESULTS = Path(__file__).parents[1] / "results" / "damage.json"
OUTCOMES = ("told", "harmless", "lied", "unnamed", "foreign")


def damaged(folder: Path, seed: int = 0, n: int = 20, only: str = "") -> dict[str, dict[str, int]]:
    """Damage every artefact in all ways, and count what came of it.

    Args:
        folder: An empty folder; what came of a lie or a foreign exception is in its ``log``.
        seed: Of the places.
        n: Bits to flip in each.
        only: Part of the names of the artefacts to damage.

    Returns:
        For each artefact how often each of ``OUTCOMES`` came, and ``n``.
    """
    root, whole = folder / "trial", folder / "whole"
    root.mkdir(parents=True)
    counts = {}
    with _cache_in(root):
        artefacts = make(root)
        shutil.copytree(root, whole)
        for artefact in artefacts:
            if only not in artefact.name:
                continue
            expected, _ = _read(artefact, root, whole, None)
            found: Counter[str] = Counter()
            for what, content in _damages(whole, artefact, random.Random(f"{seed} {artefact.name}"), n):
                outcome, said = _outcome(artefact, root, whole, content, expected)
                found[outcome] += 1
                if outcome in OUTCOMES[2:]:
                    with (folder / "log").open("a") as log:
                        log.write(f"{artefact.name}, {what}: {outcome}: {said}\n")
            counts[artefact.name] = {**{name: found[name] for name in OUTCOMES}, "n": found.total()}
    return counts


def _damages(whole: Path, artefact: Artefact, rng: random.Random, n: int) -> Iterator[tuple[str, bytes]]:
    content = (whole / artefact.file).read_bytes()
    for bit in rng.sample(range(8 * len(content)), min(n, 8 * len(content))):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", bytes(changed)
    for length in rng.sample(range(1, len(content)), min((n + 1) // 2, len(content) - 1)):
        yield f"first {length} of {len(content)} bytes", content[:length]
    yield "empty", b""
    if artefact.other:
        yield "another's", (whole / artefact.other).read_bytes()


def _outcome(artefact: Artefact, root: Path, whole: Path, content: bytes, expected: str) -> tuple[str, str]:
    try:
        found, warned = _read(artefact, root, whole, content)
    except MatGLSSLError as err:
        return ("told" if _names(str(err), artefact) else "unnamed"), f"{type(err).__name__}: {err}"
    except Exception as err:
        return "foreign", f"{type(err).__name__}: {err}"
    if _names(warned, artefact):
        return ("told" if found == expected else "lied"), found
    return ("harmless" if found == expected else "lied"), found


def _names(text: str, artefact: Artefact) -> bool:
    """Whether a message names the file, or the folder of a model."""
    return Path(artefact.file).name in text or str(Path(artefact.file).parent) in text


def _read(artefact: Artefact, root: Path, whole: Path, content: bytes | None) -> tuple[str, str]:
    """What is read from a fresh copy of all, perhaps with another content of the file, and what is warned of."""
    shutil.rmtree(root)
    shutil.copytree(whole, root)
    if content is not None:
        (root / artefact.file).write_bytes(content)
    with _warnings() as warned:
        return artefact.read(root), "\n".join(warned)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("matgl_ssl")
    before = logger.level, logger.handlers[:], logger.propagate
    logger.level, logger.handlers[:], logger.propagate = logging.WARNING, [handler], False
    try:
        yield said
    finally:
        logger.level, logger.handlers[:], logger.propagate = before


@contextmanager
def _cache_in(root: Path) -> Iterator[None]:
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = str(root / "cache")
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = before


def main() -> None:
    """Damage, count, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the names of the artefacts to damage")
    options = parser.parse_args()
    configure_logging(logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="matgl_ssl-damage-"))
    counts = damaged(folder, options.seed, options.n, options.only)
    total = {name: sum(found[name] for found in counts.values()) for name in (*OUTCOMES, "n")}
    table = {"version": __version__, "seed": options.seed, "bits_of_each": options.n, "all": total, "by_file": counts}
    print(text := json.dumps(table, indent=1))
    if not options.only:
        RESULTS.write_text(f"{text}\n")
    print(f"Lies and foreign exceptions are in {folder / 'log'}, if there are any.")


if __name__ == "__main__":
    main()
