"""Blocks of code on the documentation's pages, and how a test runs them.

Blocks run in the order of their page, in one folder that holds the files of ``examples/alloys.py``:

- ``bash``: line by line. ``mgl-ssl`` runs in this process, as starting Python for each line would take minutes.
- ``python``: all blocks of a page share their names.
- ``LANGUAGE NAME``, for example ``yaml mine.yaml``: the block is a file of that name.
- All other languages, such as ``text``, are shown and not run.

A block that cannot run here is marked above it in the page's source: ``<!-- skip: next "needs four GPUs" -->``. Its
``mgl-ssl`` lines are still held to the real parser.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from matgl_ssl.cli import main

ROOT = Path(__file__).parents[1]
SKIP = re.compile(r'<!-- skip: next "(.+)" -->')
OURS = re.compile(r"(?:mgl-ssl|matgl_ssl\.cli|slurm_cluster\.py)\s+(.*)")
SHORTER: dict[str, dict[str, Any]] = {
    "PretrainConfig": {"epochs": 1, "n_crystals": 16, "val_fraction": 0.25, "devices": 1, "accelerator": "cpu"},
    "FinetuneConfig": {"epochs": 1, "n_train": 24, "accelerator": "cpu"},
    "FitConfig": {"budget": 0.01, "n_folds": 2, "fine_tunings": 0, "unlabelled": "candidates", "accelerator": "cpu"},
}
"""Options of runs that these win over, from the command line and from Python alike, so that pages run in a minute."""
FLAGS = {"doctor": ["--estimate-seconds", "0"], "prepare": ["--num-workers", "0"]}
"""The same for commands that have no configuration."""


@dataclass(frozen=True)
class Block:
    """A fenced block: what stands behind its fence, its text, its line, and why it is not run if it is not."""

    info: str
    text: str
    line: int
    skipped: str | None

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, one a line; a backslash at the end continues one."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    from markdown_it import MarkdownIt  # not in the other backend's environment, where pages are not tested

    reason = None
    for token in MarkdownIt("commonmark").parse(page):
        if token.type == "html_block" and (found := SKIP.search(token.content)):
            reason = found[1]
        elif token.type == "fence":
            yield Block(token.info.strip(), token.content, token.map[0] + 1 if token.map else 0, reason)
            reason = None


def parsed(command: str, patch: pytest.MonkeyPatch) -> None:
    """Hold a line that cannot run to the parser of the command line."""

    class Understood(Exception):
        pass

    parse = argparse.ArgumentParser.parse_args

    def stop(*args: Any, **kwargs: Any) -> None:
        parse(*args, **kwargs)
        raise Understood

    if found := OURS.search(command):
        with patch.context() as patched:
            patched.setattr(argparse.ArgumentParser, "parse_args", stop)
            with pytest.raises(Understood):
                main(shlex.split(found[1], comments=True))


def run(command: str) -> None:
    """Run a line of a shell block in the working directory."""
    words = shlex.split(command, comments=True)
    *words, target = words if ">" in words else [*words, ""]
    matching = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words if word != ">"]
    program, *arguments = chain.from_iterable(matching)
    with contextlib.ExitStack() as stack:
        if target:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(Path(target).open("w"))))
        if program == "mgl-ssl":
            code = main([*arguments, *FLAGS.get(arguments[0], [])])
        elif program == "mgl":
            code = _in_process("matgl.cli", arguments)
        else:
            bin_first = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
            code = subprocess.run(["bash", "-euc", command], env=bin_first, check=False).returncode
    assert code == 0, command


def _in_process(module: str, arguments: list[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *arguments])
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
    return 0
