"""The command line, ``mgl-ssl``: pretrain and fine-tune MatGL's encoders, and use what came out.

Each verb calls the Python function of its name, and imports it itself, so that ``mgl-ssl --help`` is quick.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from matgl_ssl.boundary import typed_errors
from matgl_ssl.console import configure_logging, quiet_lightning
from matgl_ssl.errors import ConfigError, DataError, MatGLSSLError
from matgl_ssl.flags import (
    add_fields,
    add_inference,
    add_trained_with,
    data_of,
    number_or_text,
    refuse_empty,
    refuse_unknown,
)

Parser = argparse.ArgumentParser

EXAMPLES = """\
examples:
  mgl-ssl pretrain --model M3GNet --recipe masked-atoms --data crystals.parquet --out runs/pre
  mgl-ssl finetune --init-from runs/pre --data labelled.parquet --target band_gap --out runs/gap
  mgl-ssl predict  -m runs/gap --data POSCAR
  mgl-ssl embed    -m runs/pre --data crystals.parquet --level atom --out embeddings.parquet
"""
MODEL = "model directory, run directory, name of a shipped encoder (mgl-ssl list models) or of the hub (OWNER/NAME)"
DATA = "crystals: a file, a folder, a table, or a Hugging Face data set"
STATE = "for a model that was trained with state labels (fidelities, for example), the label"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The exit code: 0, or that of the error (``matgl_ssl.errors``); 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack Å, and a file's name may be no text at all
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _terminable():
            return _main(argv)
    except KeyboardInterrupt:
        print("mgl-ssl: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


@contextmanager
def _terminable() -> Iterator[None]:
    """Let what is under way be tidied up when the process is told to end; training has handlers of its own."""
    ours = []
    if threading.current_thread() is threading.main_thread():
        ours = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]  # not under nohup
    for number in ours:
        signal.signal(number, lambda n, _: sys.exit(128 + n))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser, verbs = _parsers(wanted=arguments[0] if arguments else "")
    if arguments and arguments[0] in verbs:
        refuse_unknown(verbs[arguments[0]], arguments[1:])
    options = vars(parser.parse_args(arguments))
    verb, verbose = VERBS[options.pop("verb")], options.pop("verbose")
    configure_logging(logging.DEBUG if verbose else logging.INFO)
    try:
        with typed_errors():
            refuse_empty(options)
            verb.run(options)
            if sys.stdout:
                sys.stdout.flush()
    except MatGLSSLError as err:
        if verbose:
            traceback.print_exc()
        print(f"mgl-ssl: error: {err}", file=sys.stderr)
        return err.exit_code
    return 0


def _parsers(wanted: str) -> tuple[Parser, dict[str, Parser]]:
    """The parser; only the verb that is wanted gets its options, as knowing them takes seconds of imports."""
    from matgl_ssl import __version__

    about = "Self-supervised pretraining of MatGL's crystal graph networks."
    shape = argparse.RawDescriptionHelpFormatter
    parser = Parser("mgl-ssl", description=about, epilog=EXAMPLES, formatter_class=shape)
    parser.add_argument("--version", action="version", version=f"mgl-ssl {__version__}")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs = {}
    for name, verb in VERBS.items():
        verbs[name] = subparsers.add_parser(
            name, help=verb.summary, description=f"{verb.summary[0].upper()}{verb.summary[1:]}.", allow_abbrev=False
        )
        if name == wanted:
            verb.add_options(verbs[name])
            text = "more messages, and the traceback of an error"
            verbs[name].add_argument("-v", "--verbose", action="store_true", help=text)
    return parser, verbs


def _run_options(config: str) -> Callable[[Parser], None]:
    def add(parser: Parser) -> None:
        room = "ensemble" if config == "FitConfig" else "training"
        configs = import_module(f"matgl_ssl.{room}.config")
        if room == "training":
            parser.add_argument("--resume", action="store_true", help="go on with the run in --out, exactly")
        text = "run directory: new or empty, unless one goes on with it"
        parser.add_argument("--out", required=True, metavar="DIR", help=text)
        parser.add_argument("--config", metavar="FILE", help="YAML file with any of the options of the run")
        add_fields(parser, getattr(configs, config))

    return add


def _pretrain(options: dict[str, Any]) -> None:
    from matgl_ssl.recipes import fine_tuning
    from matgl_ssl.training.pretrain import pretrain
    from matgl_ssl.training.rundir import RunDirectory
    from matgl_ssl.training.team import is_first

    quiet_lightning()
    result = pretrain(data=data_of(options), **options)
    if not is_first():
        return
    print(f"encoder    {result.encoder}", *([f"potential  {result.potential}"] if result.potential else []), sep="\n")
    try:
        options = fine_tuning(RunDirectory(result.out).stored_config()["recipe"])
    except ConfigError:  # its file was moved meanwhile, or pretexts were named instead
        options = {}
    flags = "".join(f" --{name.replace('_', '-')} {value}" for name, value in options.items())
    print(f"fine-tune  mgl-ssl finetune --init-from {result.out} --data LABELLED --target COLUMN --out DIR{flags}")


def _finetune(options: dict[str, Any]) -> None:
    from matgl_ssl.training.finetune import finetune
    from matgl_ssl.training.team import is_first

    quiet_lightning()
    result = finetune(data=data_of(options), **options)
    if not is_first():
        return
    target = json.loads((result.model / "model.json").read_text(encoding="utf-8"))["metadata"]["matgl_ssl"]["target"]
    metrics = (result.out / "metrics.json").read_text(encoding="utf-8")
    part = next(name for name in ("test", "val", "train") if name in json.loads(metrics))
    print(f"model     {result.model}")
    print(f"{f'{part} MAE':<8}  {result.metrics['mae']:.4g}  {target['unit'] or '(no unit given)'}")
    print(f"predict   mgl-ssl predict -m {result.model} --data POSCAR")


def _fit(options: dict[str, Any]) -> None:
    from matgl_ssl.ensemble.fit import fit

    quiet_lightning()
    print(fit(data=data_of(options), **options))


def _predict_options(parser: Parser) -> None:
    parser.add_argument("-m", "--model", required=True, help=MODEL)
    text = "structure files, folders or tables"
    parser.add_argument("--data", "-i", "--infile", required=True, nargs="+", metavar="FILE", help=text)
    form = parser.add_mutually_exclusive_group()
    for name in ("json", "csv"):
        form.add_argument(f"--{name}", action="store_const", const=name, dest="form", help=f"print {name.upper()}")
    text = f"{STATE} of all structures, or of each"
    parser.add_argument("--state-attr", type=int, nargs="+", metavar="INT", help=text)
    add_inference(parser)


def _predict(options: dict[str, Any]) -> None:
    from matgl_ssl.ensemble.predict import predict
    from matgl_ssl.inference.files import as_csv, as_json, read_files

    write = {"json": as_json, "csv": as_csv}.get(options.pop("form") or "")
    predictions = predict(data=read_files(options.pop("data")), **options)
    print(write(predictions) if write else "\n".join(map(str, predictions)))


def _suggest_options(parser: Parser) -> None:
    parser.add_argument("-m", "--model", required=True, help="directory that fit left")
    parser.add_argument("--pool", "--data", dest="data", required=True, help=f"without labels: {DATA}")
    parser.add_argument("-n", type=int, default=10, metavar="INT", help="how many (default: 10)")


def _explain_options(parser: Parser) -> None:
    parser.add_argument("-m", "--model", required=True, help="directory that fit left")
    parser.add_argument("--data", "-i", required=True, help=DATA)


def _each(name: str, options: dict[str, Any]) -> None:
    print(*getattr(import_module("matgl_ssl"), name)(**options), sep="\n")


def _embed_options(parser: Parser) -> None:
    parser.add_argument("-m", "--model", required=True, help=f"{MODEL}, or architecture (random weights)")
    parser.add_argument("--data", required=True, help=DATA)
    parser.add_argument("--out", "-o", "--output", required=True, metavar="FILE", help="Parquet file to be written")
    parser.add_argument("--level", choices=("crystal", "atom"), default="crystal", help="(default: crystal)")
    text = "a crystal's vector: mean or sum over its atoms (default: mean)"
    parser.add_argument("--reduce", choices=("mean", "sum"), default="mean", help=text)
    text = "layers (0: the embedding), or readout; several are concatenated (default: the last, and a trained readout)"
    parser.add_argument("--layer", type=number_or_text, nargs="+", metavar="INT|readout", help=text)
    parser.add_argument("--state-attr", type=int, metavar="INT", help=f"{STATE} of all crystals")
    add_inference(parser)


def _embed(options: dict[str, Any]) -> None:
    from matgl_ssl.inference import embed

    result = embed(**options)
    print(f"{result.n_vectors} vectors of {result.dim} numbers in {result.out}")


def _prepare_options(parser: Parser) -> None:
    from matgl_ssl.crystals.duplicates import TOLERANCE
    from matgl_ssl.training.config import RunConfig

    add = parser.add_argument
    text = f"{DATA}; several are brought together, and of duplicates the first one stays"
    add("--data", required=True, nargs="+", action="extend", metavar="SOURCE", help=text)
    add("--out", required=True, metavar="DIR", help="folder to be written: a source for --data everywhere")
    text = "terms of use, best an SPDX identifier (CC-BY-4.0): one for all sources, or one each"
    add("--license", nargs="+", action="extend", metavar="NAME", help=text)
    add("--columns", nargs="*", metavar="NAME", help="labels to keep (default: all)")
    for name in ("energy_unit", "force_unit", "stress_unit"):
        add(f"--{name.replace('_', '-')}", metavar="UNIT", help=RunConfig.model_fields[name].description)
    add("--recipe", metavar="NAME|FILE", help="compute this recipe's targets, so that pretrain finds them")
    text = "leave out crystals without any neighbour within it (Å) (default: 5.0)"
    add("--cutoff", type=float, default=5.0, metavar="FLOAT", help=text)
    text = "smallest distance of two atoms (Å) (default: 0.5)"
    add("--min-distance", type=float, default=0.5, metavar="FLOAT", help=text)
    text = f"duplicates: no atom is further than this from its place in the other crystal (Å) (default: {TOLERANCE})"
    add("--tolerance", type=float, default=TOLERANCE, metavar="FLOAT", help=text)
    add("--keep-duplicates", action="store_true", help="do not look for duplicates")
    add("--shard-rows", type=int, default=10_000, metavar="INT", help="rows of a file at most (default: 10000)")
    add("--num-workers", type=int, default=0, metavar="INT", help="processes that share the work (default: 0)")
    add("--cluster", metavar="ADDRESS", help="Dask scheduler whose workers share it instead (tcp://host:8786)")


def _prepare(options: dict[str, Any]) -> None:
    from matgl_ssl.corpora import prepare

    result = prepare(**options)
    for source in result.manifest["sources"]:
        reasons = "".join(f", {count} {code}" for code, count in source["left_out"].items())
        print(f"{source['kept']} of {source['rows']} crystals of {source['data']}{reasons}")
    print(f"corpus    {result.out}", f"pretrain  mgl-ssl pretrain --data {result.out} --out runs/pre", sep="\n")


def _benchmark_options(parser: Parser) -> None:
    from matgl_ssl.evaluation.benchmarking import BenchmarkOptions

    parser.add_argument("config", metavar="CONFIG.yaml", help="tasks, arms, budgets, and what to run first")
    add_fields(parser, BenchmarkOptions)


def _benchmark(options: dict[str, Any]) -> None:
    from matgl_ssl.evaluation import benchmark

    quiet_lightning()
    result = benchmark(**options)
    print(f"scores     {result.out / 'scores.csv'}", f"table      {result.out / 'table.md'}", sep="\n")
    if result.unfinished:
        print(f"unfinished {len(result.unfinished)} cells: the same command goes on with them")
        if not options.get("report_only"):
            raise MatGLSSLError("Some cells failed: see the messages above.")


def _list_options(parser: Parser) -> None:
    parser.add_argument("what", choices=("pretexts", "targets", "views", "recipes", "encoders", "models", "teachers"))


def _list(options: dict[str, Any]) -> None:
    from matgl_ssl.listing import listed

    print(listed(options["what"]))


def _doctor_options(parser: Parser) -> None:
    parser.add_argument("--data", required=True, help=DATA)
    text = f"whose elements and cutoff count: architecture, {MODEL} (default: M3GNet)"
    parser.add_argument("-m", "--model", default="M3GNet", help=text)
    parser.add_argument("--cutoff", type=float, metavar="FLOAT", help="another cutoff than the model's (Å)")
    text = "smallest distance of two atoms (Å) (default: 0.5)"
    parser.add_argument("--min-distance", type=float, default=0.5, metavar="FLOAT", help=text)
    text = "other crystals, for example those to test on: which of the data are among them?"
    parser.add_argument("--compare-with", metavar="FILE", help=text)
    text = "MatGL potential or ASE calculator (module:class) to hold energies, forces and stresses against"
    parser.add_argument("--teacher", help=text)
    parser.add_argument("--recipe", default="masked-atoms", help="whose time is estimated (default: masked-atoms)")
    text = "how long to train real batches for each estimate of time and memory; 0: none (default: 5)"
    parser.add_argument("--estimate-seconds", type=float, default=5.0, metavar="FLOAT", help=text)
    for label in ("energy", "force", "stress"):
        parser.add_argument(f"--{label}-unit", metavar="UNIT", help="as for pretrain: kbar-compression, for example")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_trained_with(parser)


def _doctor(options: dict[str, Any]) -> None:
    from matgl_ssl.diagnosis import doctor

    as_json = options.pop("json")
    report = doctor(**options)
    print(json.dumps(report.to_dict(), indent=1) if as_json else report)
    if not report.n_kept:
        raise DataError("No crystal can be trained on.")


def _push_options(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="run directory or model directory")
    parser.add_argument("repo", metavar="OWNER/NAME", help="where on the hub; made if it is not there")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to send to, made if there is none (default: main)")
    parser.add_argument("--message", metavar="TEXT", help="the commit's message")
    parser.add_argument("--license", metavar="NAME", help="the model's licence, as the hub names it (cc-by-4.0)")
    parser.add_argument("--data-license", metavar="NAME", help="the licence of the training data")


def _push(options: dict[str, Any]) -> None:
    from matgl_ssl.hub import push

    print(f"pushed  {push(**options)}")


def _pull_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="OWNER/NAME[@REVISION]", help="a model on the hub")
    parser.add_argument("--out", metavar="DIR", help="folder to copy it to, new or empty (default: the cache alone)")


def _pull(options: dict[str, Any]) -> None:
    from matgl_ssl.hub import pull

    print(f"model  {pull(**options)}")


class Verb(NamedTuple):
    """A verb: its line of help, what adds its options, and what runs it."""

    summary: str
    add_options: Callable[[Parser], None]
    run: Callable[[dict[str, Any]], None]


VERBS = {
    "prepare": Verb("bring crystals together in one checked folder without duplicates", _prepare_options, _prepare),
    "pretrain": Verb("pretrain an encoder on crystals without labels", _run_options("PretrainConfig"), _pretrain),
    "finetune": Verb("fine-tune an encoder on few labels", _run_options("FinetuneConfig"), _finetune),
    "fit": Verb(
        "predict a property from few labels, with an interval, without choosing a recipe",
        _run_options("FitConfig"),
        _fit,
    ),
    "predict": Verb("predict a property of crystals", _predict_options, _predict),
    "suggest": Verb("choose crystals to label next", _suggest_options, partial(_each, "suggest")),
    "explain": Verb("say which quantities predictions come from", _explain_options, partial(_each, "explain")),
    "embed": Verb("write vectors of crystals or atoms", _embed_options, _embed),
    "benchmark": Verb("compare encoders with scratch, paired, on few labels", _benchmark_options, _benchmark),
    "push": Verb("send a model and its card to the Hugging Face hub", _push_options, _push),
    "pull": Verb("fetch a model from the Hugging Face hub", _pull_options, _pull),
    "list": Verb("list pretexts, targets, views, recipes, encoders, models or teachers", _list_options, _list),
    "doctor": Verb(
        "look at crystals and labels before training: what is wrong, and what it would take", _doctor_options, _doctor
    ),
}

if __name__ == "__main__":
    sys.exit(main())
