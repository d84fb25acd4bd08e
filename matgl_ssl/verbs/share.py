"""``push`` and ``pull``: models to and from the Hugging Face hub."""

from __future__ import annotations

from typing import Any

from matgl_ssl.help import Parser

from .verb import Verb


def _push_options(parser: Parser) -> None:
    add = parser.add_argument
    add("run", metavar="RUN", help="run directory or model directory")
    add("repo", metavar="OWNER/NAME", help="repository on the hub; it is created if it does not exist")
    add("--license", metavar="NAME", help="licence of the model, as the hub names it (cc-by-4.0)")
    add("--data-license", metavar="NAME", help="licence of the training data")
    add("--private", action="store_true", help="make a new repository private")
    text = "branch to send to; it is created if it does not exist [default: main]"
    add("--revision", metavar="BRANCH", help=text)
    add("--message", metavar="TEXT", help="message of the commit")


def _push(options: dict[str, Any]) -> None:
    from matgl_ssl.hub import push

    print(f"pushed  {push(**options)}")


def _pull_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="OWNER/NAME[@REVISION]", help="model on the hub")
    parser.add_argument("--out", metavar="DIR", help="also copy it to this new or empty folder [default: cache only]")


def _pull(options: dict[str, Any]) -> None:
    from matgl_ssl.hub import pull

    print(f"model  {pull(**options)}")


VERBS = {
    "push": Verb(
        "send a model and its card to the Hugging Face hub",
        "mgl-ssl push runs/gap OWNER/gaps --license cc-by-4.0",
        _push_options, _push,
    ),
    "pull": Verb(
        "fetch a model from the Hugging Face hub",
        "mgl-ssl pull OWNER/gaps --out gaps",
        _pull_options, _pull,
    ),
}  # fmt: skip
