"""Verbs of the longer way: ``prepare``, ``pretrain``, ``finetune``, ``embed``, ``benchmark``."""

from __future__ import annotations

import json
from typing import Any

from matgl_ssl.console import quiet_lightning
from matgl_ssl.errors import ConfigError, MatGLSSLError
from matgl_ssl.flags import DATA, MODEL, STATE, add_fields, add_inference, add_run, number_or_text
from matgl_ssl.help import Parser

from .verb import Verb, add_json, as_json, run_or_plan, show_plan


def _prepare_options(parser: Parser) -> None:
    from matgl_ssl.training.config import RunConfig

    add = parser.add_argument
    text = f"crystals ({DATA}); sources are joined, and the first of several duplicates is kept"
    add("--data", required=True, nargs="+", action="extend", metavar="SOURCE", help=text)
    add("--out", required=True, metavar="DIR", help="folder to write; every --data option takes it")
    text = "terms of use, as an SPDX identifier if possible (CC-BY-4.0): one for all sources, or one each"
    add("--license", nargs="+", action="extend", metavar="NAME", help=text)
    add("--columns", nargs="*", metavar="NAME", help="label columns to keep [default: all]")
    for name in ("energy_unit", "force_unit", "stress_unit"):
        add(f"--{name.replace('_', '-')}", metavar="UNIT", help=RunConfig.model_fields[name].description)
    add("--recipe", metavar="NAME|FILE", help="also compute the targets of this recipe, so that pretrain finds them")
    text = "leave out crystals that have no two atoms closer than this (Å) [default: 5.0]"
    add("--cutoff", type=float, default=5.0, metavar="FLOAT", help=text)
    text = "leave out crystals that have two atoms closer than this (Å) [default: 0.5]"
    add("--min-distance", type=float, default=0.5, metavar="FLOAT", help=text)
    text = "crystals are duplicates if no atom is displaced by more than this (Å) [default: 0.01]"
    add("--tolerance", type=float, default=0.01, metavar="FLOAT", help=text)
    add("--keep-duplicates", action="store_true", help="do not look for duplicates")
    add("--shard-rows", type=int, default=10_000, metavar="INT", help="most rows of a file [default: 10,000]")
    add("--num-workers", type=int, default=0, metavar="INT", help="processes that share the work [default: 0, none]")
    add("--cluster", metavar="ADDRESS", help="Dask scheduler whose workers share it instead (tcp://host:8786)")
    add_json(parser, "out and manifest, which is the content of manifest.json")


def _prepare(options: dict[str, Any]) -> None:
    from matgl_ssl.corpora import prepare

    wants_json = options.pop("json")
    result = prepare(**options)
    if wants_json:
        print(as_json({"out": result.out, "manifest": result.manifest}))
        return
    for source in result.manifest["sources"]:
        reasons = "".join(f", {count} {code}" for code, count in source["left_out"].items())
        print(f"{source['kept']} of {source['rows']} crystals of {source['data']}{reasons}")
    print(f"corpus    {result.out}", f"pretrain  mgl-ssl pretrain --data {result.out} --out runs/pre", sep="\n")


def _pretrain_options(parser: Parser) -> None:
    from matgl_ssl.training.config import PretrainConfig

    add_json(parser, "out, encoder, potential (null if there is none)", plans=True)
    add_run(parser, PretrainConfig, resumes=True)


def _pretrain(options: dict[str, Any]) -> None:
    from matgl_ssl.recipes import fine_tuning
    from matgl_ssl.training.pretrain import pretrain
    from matgl_ssl.training.rundir import RunDirectory
    from matgl_ssl.training.team import is_first

    quiet_lightning()
    result, wants_json = run_or_plan(options, pretrain, "matgl_ssl.diagnosis.dry_run:plan_pretrain")
    if result is None or not is_first():
        return
    if wants_json:
        print(as_json(result))
        return
    print(f"encoder    {result.encoder}", *([f"potential  {result.potential}"] if result.potential else []), sep="\n")
    try:
        options = fine_tuning(RunDirectory(result.out).stored_config()["recipe"])
    except ConfigError:  # its file was moved meanwhile, or pretexts were named instead
        options = {}
    flags = "".join(f" --{name.replace('_', '-')} {value}" for name, value in options.items())
    print(f"fine-tune  mgl-ssl finetune --init-from {result.out} --data LABELLED --target COLUMN --out DIR{flags}")


def _finetune_options(parser: Parser) -> None:
    from matgl_ssl.training.config import FinetuneConfig

    add_json(parser, "out, model, metrics (mae, rmse and others in the unit of the target)", plans=True)
    add_run(parser, FinetuneConfig, resumes=True)


def _finetune(options: dict[str, Any]) -> None:
    from matgl_ssl.training.finetune import finetune
    from matgl_ssl.training.team import is_first

    quiet_lightning()
    result, wants_json = run_or_plan(options, finetune, "matgl_ssl.diagnosis.dry_run:plan_finetune")
    if result is None or not is_first():
        return
    if wants_json:
        print(as_json(result))
        return
    target = json.loads((result.model / "model.json").read_text(encoding="utf-8"))["metadata"]["matgl_ssl"]["target"]
    metrics = (result.out / "metrics.json").read_text(encoding="utf-8")
    part = next(name for name in ("test", "val", "train") if name in json.loads(metrics))
    print(f"model     {result.model}")
    print(f"{f'{part} MAE':<8}  {result.metrics['mae']:.4g}  {target['unit'] or '(no unit given)'}")
    print(f"predict   mgl-ssl predict -m {result.model} --data POSCAR")


def _embed_options(parser: Parser) -> None:
    add = parser.add_argument
    add("-m", "--model", required=True, help=f"{MODEL}; or an architecture, with random weights")
    add("--data", required=True, metavar="SOURCE", help=f"crystals ({DATA})")
    add("--out", "-o", "--output", required=True, metavar="FILE", help="Parquet file to write")
    text = "one vector for each crystal or each atom [default: crystal]"
    add("--level", choices=("crystal", "atom"), default="crystal", help=text)
    text = "a crystal's vector is the mean or the sum over its atoms [default: mean]"
    add("--reduce", choices=("mean", "sum"), default="mean", help=text)
    text = "layers (0 is the embedding) or readout; several are concatenated [default: last layer, trained readout]"
    add("--layer", type=number_or_text, nargs="+", metavar="INT|readout", help=text)
    add("--state-attr", type=int, metavar="INT", help=f"{STATE} of all crystals")
    add_inference(parser)
    add_json(parser, "out, n_vectors, dim")


def _embed(options: dict[str, Any]) -> None:
    from matgl_ssl.inference import embed

    wants_json = options.pop("json")
    result = embed(**options)
    if wants_json:
        print(as_json({"out": result.out, "n_vectors": result.n_vectors, "dim": result.dim}))
    else:
        print(f"{result.n_vectors} vectors of {result.dim} numbers in {result.out}")


def _benchmark_options(parser: Parser) -> None:
    from matgl_ssl.evaluation.benchmarking import BenchmarkOptions

    text = "YAML file that names tasks, methods, numbers of labels, and the order of the runs"
    parser.add_argument("config", metavar="CONFIG.yaml", help=text)
    text = "report the number of runs, how many are finished, and the time that is left; run nothing"
    parser.add_argument("--dry-run", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="with --dry-run: print the plan as JSON")
    add_fields(parser, BenchmarkOptions)


def _benchmark(options: dict[str, Any]) -> None:
    from matgl_ssl.evaluation.benchmarking import benchmark, plan_benchmark

    quiet_lightning()
    wants_json, dry_run = options.pop("json"), options.pop("dry_run")
    if dry_run:
        show_plan(plan_benchmark(**options), wants_json)
        return
    result = benchmark(**options)
    for what, name in (("scores", "scores.csv"), ("table", "table.md"), ("figures", "report.html")):
        print(f"{what:<10} {result.out / name}")
    if result.unfinished:
        print(f"unfinished {len(result.unfinished)} runs: the same command continues with them")
        if not options.get("report_only"):
            raise MatGLSSLError("Some runs failed: the messages above say why. The same command tries them again.")


VERBS = {
    "prepare": Verb(
        "join crystals from several sources in one checked folder without duplicates",
        "mgl-ssl prepare --data first.parquet second.jsonl --license CC-BY-4.0 --out corpus",
        _prepare_options, _prepare, ("data", "out", "license", "columns", "num_workers"),
    ),
    "pretrain": Verb(
        "pretrain an encoder on crystals without labels",
        "mgl-ssl pretrain --data crystals.parquet --model MEGNet --recipe textbook --out runs/pre",
        _pretrain_options, _pretrain, ("data", "out", "model", "recipe", "epochs"),
    ),
    "finetune": Verb(
        "fine-tune an encoder on few labels",
        "mgl-ssl finetune --data gaps.parquet --target band_gap --init-from runs/pre --out runs/gap",
        _finetune_options, _finetune, ("data", "target", "out", "init_from", "epochs"),
    ),
    "embed": Verb(
        "write the vectors of crystals or atoms to a file",
        "mgl-ssl embed -m runs/pre --data crystals.parquet --level atom --out embeddings.parquet",
        _embed_options, _embed, ("model", "data", "out", "level", "layer"),
    ),
    "benchmark": Verb(
        "measure on your labels whether pretraining helps",
        "mgl-ssl benchmark gaps.yaml",
        _benchmark_options, _benchmark, ("config", "out", "jobs", "only", "report_only"),
    ),
}  # fmt: skip
