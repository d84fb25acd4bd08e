"""Hostile models, runs, configurations and records: what is loaded beside crystals."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from small_systems import small_model

from matgl_ssl.hub import save_model
from matgl_ssl.hub.stamp import sign

from .bait import CALLS, MODULE, PAYLOADS, URL, Bait, salt

Found = Iterator[tuple[str, str, Path]]
_CLASSES = [
    (MODULE, "Thing"), ("os", "system"), ("subprocess", "Popen"), ("webbrowser", "open"), ("antigravity", "x"),
    ("matgl.models", "torch"), ("pathlib", "Path"), ("builtins", "exec"),
]  # fmt: skip


def inputs(folder: Path, bait: Bait) -> Found:
    """Names, what opens them, and paths."""
    plain = save_model(small_model("MEGNet"), folder / "plain", kind="model", readout="trained")
    yield from _models(folder, plain)
    yield from _checkpoints(folder)
    yield from _yaml(folder, bait)
    yield from _records(folder, bait)


def _models(folder: Path, plain: Path) -> Found:
    changes: dict[str, Callable[[Path], object]] = {}
    for call, content in CALLS.items():
        for file in ("model.pt", "state.pt"):
            changes[f"a pickle of {call} in {file}"] = lambda p, c=content, f=file: _with(p / f, surprise=c)
            changes[f"nothing but {call} in {file}"] = lambda p, c=content, f=file: torch.save(c, p / f)
            changes[f"an old pickle of {call} in {file}"] = lambda p, c=content, f=file: torch.save(
                c, p / f, _use_new_zipfile_serialization=False
            )
    for module, cls in _CLASSES:
        named = {"@module": module, "@class": cls, "@model_version": 1, "init_args": {"args": ["true"]}}
        changes[f"{module}.{cls} among the arguments"] = lambda p, n=named: _with(p / "model.pt", bond_expansion=n)
        changes[f"{module}.{cls} further down"] = lambda p, n=named: _with(p / "model.pt", extra=[{"x": {"y": n}}])
        changes[f"{module}.{cls} in model.json"] = lambda p, n=named: _described(p, **n)
        changes[f"{module}.{cls} in kwargs"] = lambda p, n=named: _described(p, kwargs={"bond_expansion": n})
    for name, payload in PAYLOADS.items():
        changes[f"{name} in the stamp"] = lambda p, n=payload: _stamped(p, recipe=n, data=n, target=n)
        changes[f"{name} in the metadata"] = lambda p, n=payload: _described(p, metadata={"matgl_ssl": n, "x": n})
    changes["a teacher in the stamp"] = lambda p: _stamped(
        p, teacher=f"{MODULE}:run", init_from=URL, data={"source": URL}
    )
    for name, change in changes.items():
        path = folder / name.replace("/", " ")
        shutil.copytree(plain, path)
        change(path)
        with suppress(Exception):  # some have no stamp any more
            sign(path)
        yield name, "model", path


def _with(path: Path, **more: Any) -> None:
    torch.save({**torch.load(path, weights_only=True), **more}, path)


def _described(path: Path, **more: Any) -> None:
    file = path / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))


def _stamped(path: Path, **more: Any) -> None:
    metadata = json.loads((path / "model.json").read_text())["metadata"]
    _described(path, metadata={"matgl_ssl": {**metadata["matgl_ssl"], **more}})


def _checkpoints(folder: Path) -> Found:
    for call, content in CALLS.items():
        for name, new in (("a checkpoint", True), ("an old checkpoint", False)):
            path = folder / f"{name} of {call}.ckpt"
            torch.save({"state_dict": {}, "matgl_ssl": {"run": content}}, path, _use_new_zipfile_serialization=new)
            yield path.stem, "checkpoint", path
    path = folder / "a checkpoint of a global.ckpt"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", f"c{MODULE}\nThing\n)R.".encode())
        archive.writestr("archive/version", b"3\n")
    path.write_bytes(packed.getvalue())
    yield path.stem, "checkpoint", path


def _yaml(folder: Path, bait: Bait) -> Found:
    (folder / "data.jsonl").write_text(f"{json.dumps(salt().as_dict())}\n" * 4)
    tags = {
        "apply": "!!python/object/apply:os.system [true]", "new": f"!!python/object/new:{MODULE}.Thing {{}}",
        "module": f"!!python/module:{MODULE}", "name": f"!!python/name:{MODULE}.run",
        "object": f"!!python/object:{MODULE}.Thing {{}}",
        "own": f"!{MODULE} {{}}", "include": f"!include {bait.secret}", "twice": "1\nseed: 2",
    }  # fmt: skip
    for name, tag in tags.items():
        run = folder / f"run {name}"
        run.mkdir()
        (run / "config.yaml").write_text(f"recipe: masked-atoms\nseed: {tag}\n")
        yield f"YAML with {name}", "yaml", run / "config.yaml"
        yield f"a run whose configuration has {name}", "run", run
    names = {
        "teacher": f"{MODULE}:run", "pretexts": [{"name": f"{MODULE}:Thing", "arguments": {}}],
        "model": f"{MODULE}.Thing", "recipe": f"../{MODULE}", "cluster": "tcp://127.0.0.1:9",
        "units": {"energy": MODULE},
    }  # fmt: skip
    for option, value in names.items():
        run = folder / f"run that names {option}"
        run.mkdir()
        learnt = "energy-force-stress" if option == "teacher" else "crystal-targets"
        plain = {"data": str(folder / "data.jsonl"), "epochs": 1, "pretexts": [{"name": learnt, "arguments": {}}]}
        (run / "config.yaml").write_text(json.dumps({**plain, option: value}))
        yield f"a run whose configuration names {option}", "run", run


def _records(folder: Path, bait: Bait) -> Found:
    for name, payload in PAYLOADS.items():
        path = folder / f"{name}.jsonl"
        unit = {"unit": "cell-1", "label": "x", "where": payload, "facts": "f", "made_with": payload, "result": payload}
        path.write_text(json.dumps({"format": 2, "facts": {"f": payload}}) + "\n" + json.dumps(unit) + "\n")
        yield f"{name} in an archive of units", "units", path
        yield f"{name} in a unit", "unit", path
        run = folder / f"run with {name}"
        run.mkdir()
        (run / "config.yaml").write_text("recipe: masked-atoms\ndata: none.jsonl\n")
        (run / "environment.json").write_text(json.dumps({"started_in": {"folder": str(bait.folder)}, "x": payload}))
        (run / "facts.json").write_text(json.dumps(payload))
        yield f"{name} in the records of a run", "run", run
