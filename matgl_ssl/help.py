"""Help of the command line: a verb's first options and an example, and by ``--help-all`` every option in its group."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from matgl_ssl.errors import did_you_mean

_WIDEST = 100
"""Columns. Longer lines are hard to read."""
_LAST = ("json", "dry_run", "verbose", "help", "help_all")
"""Options of most verbs, which come after a verb's own."""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal, up to a limit; examples keep their lines."""

    def __init__(self, prog: str, **kwargs: Any) -> None:
        super().__init__(prog, max_help_position=30, **kwargs)
        self._width = min(self._width, _WIDEST)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """``-m, --model MODEL``; argparse repeats the value after each name."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


class _Help(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, *, everything: bool, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)
        self.everything = everything

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        assert isinstance(parser, Parser)  # noqa: S101 - only Parser adds this action
        parser._print_message(parser.help_text(everything=self.everything), sys.stdout)
        parser.exit(0)


class Parser(argparse.ArgumentParser):
    """A parser with a short help and a whole one, and short errors.

    Args:
        prog: The command, as the help shows it.
        first: Names of the options that the short help shows, in this order; None to show all of them.
        description: What the command does.
        epilog: What the help ends with.
    """

    def __init__(
        self, prog: str | None = None, *, first: Sequence[str] | None = None, description: str = "", epilog: str = ""
    ) -> None:
        super().__init__(
            prog, description=description, epilog=epilog, add_help=False, allow_abbrev=False, formatter_class=Formatter
        )
        self.first = first
        self.add_argument("-h", "--help", action=_Help, everything=False, help="show this help")
        if first is not None:
            self.add_argument("--help-all", action=_Help, everything=True, help="show all options")

    def help_text(self, *, everything: bool) -> str:
        """The help of all options in their groups, or of the first ones."""
        groups = [(group.title, list(group._group_actions)) for group in self._action_groups]
        rest = 0
        if self.first is not None and not everything:
            order = [*self.first, *_LAST]
            shown = sorted((a for a in self._actions if a.dest in order), key=lambda a: order.index(a.dest))
            visible = [a for a in self._actions if a.help is not argparse.SUPPRESS]
            groups, rest = [("options", shown)], len(visible) - len(shown)
        formatter = self._get_formatter()
        required = [action for action in self._actions if action.required]
        formatter.add_usage(None, required, [], "usage: ")
        formatter.add_text(self.description)
        for title, actions in groups:
            formatter.start_section(title)
            formatter.add_arguments(actions)
            formatter.end_section()
        formatter.add_text(f"{rest} further options: {self.prog} --help-all" if rest else None)
        formatter.add_text(self.epilog)
        text = formatter.format_help()
        usage, _, others = text.partition("\n\n")
        return f"{usage} [options]\n\n{others}"

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to see the options, without a list of all of them."""
        self.exit(2, f"{self.prog}: error: {message}\nTo see the options: {self.prog} --help\n")

    def refuse_unknown(self, words: Sequence[str]) -> None:
        """Stop at an unknown option and name the nearest one. argparse would first say what is missing."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for word in words:
            option = word.partition("=")[0]
            if option.startswith("--") and option != "--" and option not in known:
                self.error(f"unknown option {option}.{did_you_mean(option, known, str)}")
