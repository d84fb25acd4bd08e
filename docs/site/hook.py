"""What MkDocs is told beside ``mkdocs.yml``: where pages lie, and how notebooks and equations become HTML.

The site has the repository's own folders, so that one relative link serves the site and readers of the repository.
"""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**/*.md", "benchmarks/**/*.md")
LINK = re.compile(r"\]\(([^)#\s]+)")
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config: MkDocsConfig) -> None:
    """Replaces each pattern in the navigation by the files that it matches and that no other entry names."""
    config.nav = _expanded(config.nav, set(re.findall(r"[\w./-]+\.md\b", str(config.nav))))


def _expanded(entries: list[Any], named: set[str]) -> list[Any]:
    expanded: list[Any] = []
    for entry in entries:
        (title, value) = next(iter(entry.items())) if isinstance(entry, dict) else (None, entry)
        if isinstance(value, list):
            expanded.append({title: _expanded(value, named)})
        elif "*" in value:
            found = [_page(path) for path in sorted(ROOT.glob(value)) if _page(path) not in named]
            expanded += [{title: found}] if title else found
        else:
            expanded.append(entry)
    return expanded


def _page(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix(".md").as_posix()


@event_priority(100)  # before plugins that look at the files
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Takes pages, notebooks and what they link to from the repository."""
    pages = {path for pattern in PAGES for path in ROOT.glob(pattern)}
    linked = {(page.parent / link).resolve() for page in pages for link in LINK.findall(page.read_text())}
    names = sorted(path.relative_to(ROOT).as_posix() for path in pages | linked if _of_repository(path))
    found = [File(name, str(ROOT), config.site_dir, config.use_directory_urls) for name in names]
    books = [file for path in sorted(ROOT.glob("notebooks/*.ipynb")) for file in _notebook(path, config)]
    theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*theme, *found, *books])


def _of_repository(path: Path) -> bool:
    return path.is_file() and path.suffix != ".ipynb" and path.is_relative_to(ROOT)


def _notebook(path: Path, config: MkDocsConfig) -> list[File]:
    """A notebook as a page, and the pictures among its outputs."""
    text, resources = MarkdownExporter().from_filename(str(path), resources={"output_files_dir": path.stem})
    pictures = resources["outputs"].items()
    return [
        File.generated(config, _page(path), content=text),
        *(File.generated(config, f"notebooks/{name}", content=data) for name, data in pictures),
    ]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lets links to notebooks lead to their pages, and shows the name of the file that a block of code is."""
    named = re.sub(r"^```(\w+) ([\w./-]+)$", r'```\1 title="\2"', markdown, flags=re.MULTILINE)
    return re.sub(r"(\]\([^)\s]*)\.ipynb\)", r"\1.md)", named)


def on_page_content(html: str, **_: Any) -> str:
    """Turns equations into MathML, which browsers draw without a script."""
    return EQUATION.sub(_mathml, html)


def _mathml(match: re.Match[str]) -> str:
    return convert(unescape(match[2]), display="block" if match[1] == "div" else "inline")
