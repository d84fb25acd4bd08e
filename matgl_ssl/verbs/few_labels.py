"""``fit``, and what works on the directory that it writes: ``predict``, ``suggest``, ``explain``."""

from __future__ import annotations

from typing import Any

from matgl_ssl.console import quiet_lightning
from matgl_ssl.flags import DATA, MODEL, STATE, add_inference, add_run
from matgl_ssl.help import Parser

from .verb import Verb, add_json, as_json, run_or_plan

_FIT = "directory that mgl-ssl fit wrote"


def _fit_options(parser: Parser) -> None:
    from matgl_ssl.ensemble.config import FitConfig

    add_json(parser, "out, report, finished, and for each target its error, weights and coverage", plans=True)
    add_run(parser, FitConfig)


def _fit(options: dict[str, Any]) -> None:
    from matgl_ssl.ensemble.fit import fit

    quiet_lightning()
    result, wants_json = run_or_plan(options, fit, "matgl_ssl.diagnosis.dry_fit:plan_fit")
    if result is not None:
        print(as_json(result) if wants_json else result)


def _predict_options(parser: Parser) -> None:
    add = parser.add_argument
    add("-m", "--model", required=True, help=f"{MODEL}; or a {_FIT}")
    text = "structure files, folders or tables"
    add("--data", "-i", "--infile", required=True, nargs="+", metavar="FILE", help=text)
    form = parser.add_mutually_exclusive_group()
    keys = "id, name, value, unit, after fit also lower, upper, std, confidence, flag; note where there is no value"
    for name, holds in (("json", f"a list of objects with {keys}"), ("csv", "a line for each crystal")):
        text = f"print {name.upper()}: {holds}"
        form.add_argument(f"--{name}", action="store_const", const=name, dest="form", help=text)
    text = f"{STATE} of all structures, or of each"
    add("--state-attr", type=int, nargs="+", metavar="INT", help=text)
    add_inference(parser)


def _predict(options: dict[str, Any]) -> None:
    from matgl_ssl.ensemble.predict import predict
    from matgl_ssl.inference.files import as_csv, as_json, read_files

    write = {"json": as_json, "csv": as_csv}.get(options.pop("form") or "")
    predictions = predict(data=read_files(options.pop("data")), **options)
    print(write(predictions) if write else "\n".join(map(str, predictions)))


def _suggest_options(parser: Parser) -> None:
    parser.add_argument("-m", "--model", required=True, help=_FIT)
    text = f"crystals without labels to choose from ({DATA})"
    parser.add_argument("--pool", "--data", dest="data", required=True, metavar="SOURCE", help=text)
    parser.add_argument("-n", type=int, default=10, metavar="INT", help="how many to choose [default: 10]")
    add_json(parser, "a list of objects with id, rank, uncertainty, novelty, prediction")


def _suggest(options: dict[str, Any]) -> None:
    from matgl_ssl.ensemble.suggest import suggest

    _print_each(options, suggest)


def _explain_options(parser: Parser) -> None:
    parser.add_argument("-m", "--model", required=True, help=_FIT)
    parser.add_argument("--data", "-i", required=True, metavar="SOURCE", help=f"crystals ({DATA})")
    add_json(parser, "a list of objects with id, name, unit, value, average, parts, share")


def _explain(options: dict[str, Any]) -> None:
    from matgl_ssl.ensemble.explain import explain

    _print_each(options, explain)


def _print_each(options: dict[str, Any], function: Any) -> None:
    wants_json = options.pop("json")
    found = function(**options)
    print(as_json(found) if wants_json else "\n".join(map(str, found)))


VERBS = {
    "fit": Verb(
        "learn a property from a few labelled crystals, with an interval for each prediction",
        "mgl-ssl fit --data gaps.csv --target band_gap --out runs/gap",
        _fit_options, _fit, ("data", "target", "out", "budget", "unlabelled"),
    ),
    "predict": Verb(
        "predict a property of crystals",
        "mgl-ssl predict -m runs/gap --data POSCAR",
        _predict_options, _predict, ("model", "data", "form"),
    ),
    "suggest": Verb(
        "choose the crystals to label next",
        "mgl-ssl suggest -m runs/gap --pool candidates/ -n 20",
        _suggest_options, _suggest,
    ),
    "explain": Verb(
        "show which quantities a prediction comes from",
        "mgl-ssl explain -m runs/gap --data POSCAR",
        _explain_options, _explain,
    ),
}  # fmt: skip
