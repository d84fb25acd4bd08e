"""``doctor`` and ``list``: what is in the data, and what there is to choose from."""

from __future__ import annotations

from typing import Any

from matgl_ssl.errors import DataError
from matgl_ssl.flags import DATA, MODEL, add_trained_with
from matgl_ssl.help import Parser

from .verb import Verb, add_json, as_json


def _doctor_options(parser: Parser) -> None:
    add = parser.add_argument
    add("--data", required=True, metavar="SOURCE", help=f"crystals ({DATA})")
    text = f"model whose elements and cutoff count: an architecture, {MODEL} [default: M3GNet]"
    add("-m", "--model", default="M3GNet", help=text)
    add("--cutoff", type=float, metavar="FLOAT", help="cutoff (Å) [default: that of the model]")
    text = "report crystals with two atoms closer than this (Å) [default: 0.5]"
    add("--min-distance", type=float, default=0.5, metavar="FLOAT", help=text)
    text = "other crystals, for example your test set: report which crystals are in both"
    add("--compare-with", metavar="SOURCE", help=text)
    text = "compare energies, forces and stresses with those of this MatGL potential or ASE calculator (module:class)"
    add("--teacher", metavar="NAME", help=text)
    text = "estimate the time of this recipe [default: masked-atoms]"
    add("--recipe", default="masked-atoms", metavar="NAME|FILE", help=text)
    text = "seconds of real training for each estimate of time and memory; 0 makes none [default: 5]"
    add("--estimate-seconds", type=float, default=5.0, metavar="FLOAT", help=text)
    for label in ("energy", "force", "stress"):
        text = f"unit of the label {label}, as for pretrain"
        add(f"--{label}-unit", metavar="UNIT", help=text)
    add_json(parser, "all that the report says (docs/doctor.md lists the keys)")
    add_trained_with(parser)


def _doctor(options: dict[str, Any]) -> None:
    import json

    from matgl_ssl.diagnosis import doctor

    wants_json = options.pop("json")
    report = doctor(**options)
    print(json.dumps(report.to_dict(), indent=1) if wants_json else report)
    if not report.n_kept:
        raise DataError("No crystal can be used for training: the report above says why.")


def _list_options(parser: Parser) -> None:
    kinds = ("pretexts", "targets", "views", "recipes", "encoders", "models", "teachers")
    parser.add_argument("what", choices=kinds, metavar="KIND", help=f"one of {', '.join(kinds)}")
    add_json(parser, "a list of objects with name, package, summary")


def _list(options: dict[str, Any]) -> None:
    from matgl_ssl.listing import available, listed

    what = options["what"]
    if options["json"]:
        found = available("architectures" if what == "encoders" else what)
        print(
            as_json([{"name": name, "package": each.package, "summary": each.summary} for name, each in found.items()])
        )
    else:
        print(listed(what))


def _report_options(parser: Parser) -> None:
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", help="directory of a run (pretrain, finetune or fit); several are compared")
    text = "HTML file to be written [default: report.html in the directory of the run; comparison.html for several]"
    add("--out", "-o", metavar="FILE", help=text)


def _report(options: dict[str, Any]) -> None:
    from matgl_ssl.reporting import report

    print(f"report  {report(**options)}")


VERBS = {
    "doctor": Verb(
        "check crystals and labels before training, and estimate time and memory",
        "mgl-ssl doctor --data crystals.parquet",
        _doctor_options, _doctor, ("data", "model", "compare_with", "recipe", "teacher"),
    ),
    "list": Verb(
        "list what there is to choose from: recipes, encoders, pretrained models and more",
        "mgl-ssl list recipes",
        _list_options, _list,
    ),
    "report": Verb(
        "draw the report of a run again, or compare several runs",
        "mgl-ssl report runs/gap",
        _report_options, _report,
    ),
}  # fmt: skip
