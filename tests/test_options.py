"""Type checkers see the options of ``pretrain``, ``finetune`` and ``benchmark``: a typed dictionary for each.

``python tests/test_options.py`` writes ``matgl_ssl/options.py`` anew after a field was added.
"""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest

from matgl_ssl.ensemble.config import FitConfig
from matgl_ssl.evaluation.benchmarking import BenchmarkOptions
from matgl_ssl.training.config import FinetuneConfig, PretrainConfig

OPTIONS = Path(__file__).parents[1] / "matgl_ssl" / "options.py"
HEAD = '''"""Options of the verbs as type checkers see them. ``tests/test_options.py`` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypedDict

from torch import nn
'''
MODELS = ("model", "init_from", "node_embedding_from")
"""Options that also take a MatGL model."""
PATHS = (*MODELS, "recipe", "exclude_formulas_of", "teacher", "unlabelled", "out", "runs")
DATA = ("val_data", "test_data")
"""Options that take whatever ``data`` takes."""


def written(annotation: Any) -> str:
    """An annotation as source, None last."""
    if get_origin(annotation) in (Union, types.UnionType):
        return " | ".join(sorted(map(written, get_args(annotation)), key=lambda kind: kind == "None"))
    if get_origin(annotation) is Literal:
        return f"Literal[{', '.join(f'{value!r}'.replace(chr(39), chr(34)) for value in get_args(annotation))}]"
    if get_origin(annotation) in (list, dict):
        return f"{get_origin(annotation).__name__}[{', '.join(map(written, get_args(annotation)))}]"
    if annotation is type(None):
        return "None"
    return "dict[str, Any]" if annotation.__module__.startswith("matgl_ssl") else annotation.__name__


def fields(config: type, without: tuple[str, ...]) -> list[str]:
    lines = []
    for name, field in config.model_fields.items():
        if name in without:
            continue
        kind = "Any" if name in DATA else written(field.annotation)
        kind = kind.replace("str", "str | Path", 1) if name in PATHS else kind
        kind = kind.replace("Path", "Path | nn.Module") if name in MODELS else kind
        kind = f"str | {kind}" if kind == "list[str]" else kind  # names with commas between them
        lines.append(f"    {name}: {kind}")
    return lines


def module() -> str:
    """The source of ``matgl_ssl/options.py``."""
    parts = [HEAD]
    for verb, config, without in (
        ("pretrain", PretrainConfig, ("data",)), ("finetune", FinetuneConfig, ("data",)),
        ("fit", FitConfig, ("data",)), ("benchmark", BenchmarkOptions, ()),
    ):  # fmt: skip
        lines = fields(config, without)
        head = f'class {verb.capitalize()}Keywords(TypedDict, total=False):\n    """Options of ``{verb}``."""\n'
        parts.append("\n".join([head, *lines, ""]))
    return "\n\n".join(parts)


def test_the_typed_dictionaries_are_the_configurations():
    assert OPTIONS.read_text() == module(), "run python tests/test_options.py"


@pytest.mark.slow
def test_a_type_checker_finds_a_misspelt_option(tmp_path):
    mypy = pytest.importorskip("mypy.api")
    (tmp_path / "user.py").write_text("import matgl_ssl\nmatgl_ssl.pretrain(data='x', out='y', epoch=3)\n")
    out, _, code = mypy.run([str(tmp_path / "user.py"), "--ignore-missing-imports", "--follow-imports=silent"])
    assert code
    assert 'Unexpected keyword argument "epoch" for "pretrain"' in out


if __name__ == "__main__":
    OPTIONS.write_text(module())
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(OPTIONS)], check=True)
