"""The project's style for pages: short sentences, few numbers, and the field's words.

    python tests/prose.py [PAGE ...]

prints what a page would have to change. Headings, tables, code, formulas and what a link points to are not looked at.
``CONTRIBUTING.md`` has the rules and examples. Why none of the linters of prose: vale's wheel fetches its program at
first use, proselint takes no words of a project, and textstat reads no Markdown.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS = 30  # aim at 25
NUMBERS = 2
INSTEAD = {
    r"arms?": "method, baseline, run",
    r"lanes?": "backend",
    r"depths?": "layer",
    r"rooms?(?! temperature)": "package, module",
    r"kin": "related",
    r"fakes?": "negatives",
    r"of nothing": "no, none",
    r"said|told": "reported, stated, distinguished",
    r"(?:go|goes|going|went|gone) on": "continue, resume",
    r"anew|begun": "again, reinitialised, started",
    r"shall": "must",
    r"taught": "trained on",
    r"whoever": "anyone who, users who",
    r"read off": "predicted from",
    r"stands? (?:in|below|above|beside)": "is in, is below",
    r"uncommonly": "unusually",
    r"(?:numbers?|rows?|lines?|layers?|passes|file|panel) an? (?:atom|crystal|element|epoch|edge|task|backend)": "per",
}
"""What a reader of the field would not know or not say, and what to write."""

NUMBER = re.compile(r"(?<![\w./-])[-+]?\d[\d,]*(?:\.\d+)?(?![\w/])")
PRIVATE = {re.compile(rf"\b(?:{word})\b", re.IGNORECASE): instead for word, instead in INSTEAD.items()}
CODE = "`code`"


def pages() -> list[str]:
    """All pages that are written by hand, relative to the repository."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def problems(page: str) -> list[str]:
    """What is against the style in a page's text, each with the line where its paragraph starts."""
    found = []
    for line, sentence in sentences(page):
        words, numbers = len(re.findall(r"\S*\w\S*", sentence)), NUMBER.findall(sentence)
        if words > WORDS:
            found.append(f"line {line}: {words} words, at most {WORDS}: {sentence}")
        if len(numbers) > NUMBERS:
            found.append(f"line {line}: numbers {', '.join(numbers)}, at most {NUMBERS}: {sentence}")
        for private, instead in PRIVATE.items():
            if word := private.search(sentence):
                found.append(f"line {line}: {word[0]!r}; better: {instead}: {sentence}")
    return found


def sentences(page: str) -> Iterator[tuple[int, str]]:
    """A page's sentences, with the line where the paragraph of each starts. Code is one word."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    inside: list[str] = []
    for token in tokens:
        if token.nesting:
            inside = inside[:-1] if token.nesting < 0 else [*inside, token.tag]
        elif token.type == "inline" and inside[-1] == "p":
            parts = {"text": str, "softbreak": lambda _: " ", "hardbreak": lambda _: " ", "code_inline": lambda _: CODE}
            text = "".join(parts[c.type](c.content) for c in token.children or () if c.type in parts)
            text = re.sub(r"\$\$?[^$]+\$\$?", CODE, text)
            for sentence in re.split(r"(?<=[.:!?])[)”\"]?\s+(?=[^a-z\d\s])", text):
                yield token.map[0] + 1 if token.map else 0, sentence


if __name__ == "__main__":
    for name in sys.argv[1:] or pages():
        for problem in problems(Path(ROOT / name).read_text(encoding="utf-8")):
            print(f"{name}: {problem}")
