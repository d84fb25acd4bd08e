"""The command line, ``mgl-ssl``: which verb runs, and how errors and signals end it."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from matgl_ssl.boundary import typed_errors
from matgl_ssl.console import configure_logging
from matgl_ssl.errors import MatGLSSLError, did_you_mean
from matgl_ssl.flags import refuse_empty
from matgl_ssl.help import Parser
from matgl_ssl.verbs import GROUPS, VERBS

ABOUT = "Self-supervised pretraining of MatGL's graph networks for crystals."
HINTS = """\
options of a verb:  mgl-ssl VERB --help
tab completion:     mgl-ssl --print-completion bash > ~/.local/share/bash-completion/completions/mgl-ssl
                    (or zsh, into a folder of $fpath, as _mgl-ssl; or tcsh)
"""


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
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        print(overview(), end="")
        return 0
    parser, verbs = _parsers(wanted=words[:1])
    if words[0] in verbs:
        verbs[words[0]].refuse_unknown(words[1:])
    elif not words[0].startswith("-"):
        parser.error(f"unknown verb {words[0]}.{did_you_mean(words[0], verbs, str)} There are {', '.join(verbs)}.")
    options = vars(parser.parse_args(words))
    if shell := options.pop("print_completion"):
        print(_completion(shell))
        return 0
    if options["verb"] is None:
        parser.error("name a verb")
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


def overview() -> str:
    """What ``mgl-ssl`` shows alone: the verbs in groups, a line each."""
    lines = ["usage: mgl-ssl VERB [options]", "", ABOUT]
    for title, verbs in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:<10} {verb.summary}" for name, verb in verbs.items())]
    return "\n".join([*lines, "", "example:", *(f"  {VERBS[n].example}" for n in ("fit", "predict")), "", HINTS])


class _Top(Parser):
    def help_text(self, *, everything: bool) -> str:
        return overview()


def _parsers(wanted: Sequence[str]) -> tuple[Parser, dict[str, Parser]]:
    """The parser, and those of the verbs; only wanted ones get their options, as some need seconds of imports."""
    from matgl_ssl import __version__

    parser = _Top("mgl-ssl", description=ABOUT)
    parser.add_argument("--version", action="version", version=f"mgl-ssl {__version__}", help="show the version")
    text = "print a script that completes verbs and options"
    parser.add_argument("--print-completion", choices=("bash", "zsh", "tcsh"), help=text)
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    verbs: dict[str, Parser] = {}
    for name, verb in VERBS.items():
        about = f"{verb.summary[0].upper()}{verb.summary[1:]}."
        verbs[name] = subparsers.add_parser(
            name, help=verb.summary, description=about, epilog=f"example:\n  {verb.example}", first=verb.first
        )
        if name in wanted:
            verb.add_options(verbs[name])
            text = "show more messages, and the traceback of an error"
            verbs[name].add_argument("-v", "--verbose", action="store_true", help=text)
    return parser, verbs


def _completion(shell: str) -> str:
    """A script of a shell that completes verbs and options."""
    import shtab

    parser, _ = _parsers(wanted=tuple(VERBS))
    return str(shtab.complete(parser, shell))


if __name__ == "__main__":
    sys.exit(main())
