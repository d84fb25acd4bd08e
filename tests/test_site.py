"""The documentation site, as it is built: nothing is missing from it, and nothing comes from the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import matgl_ssl

ROOT = Path(__file__).parents[1]


class Page(HTMLParser):
    """Where a page's links lead, what it loads, and what can be linked to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.loads, self.anchors = set(), set(), {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := found.get(key))}
        if tag == "a" and (target := found.get("href")):
            self.links.add(target)
        elif target := found.get("src") or (found.get("href") if tag == "link" else None):
            self.loads.add(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocs")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_links_lead_somewhere(pages):
    lost = []
    for path, page in pages.items():
        for link in page.links | page.loads:
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if parts.scheme or parts.netloc:
                continue
            if not target.is_file() or (target in pages and unquote(parts.fragment) not in pages[target].anchors):
                lost.append(f"{path.name}: {link}")
    assert not lost


def test_nothing_is_loaded_from_the_network(site, pages):
    assert len(pages) > 20
    assert not {load for page in pages.values() for load in page.loads if urlsplit(load).netloc}
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert "url(http" not in styles
    assert "@import" not in styles


def test_ten_questions_are_two_clicks_away():
    assert "(docs/questions.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    _, *answers = re.split(r"^\*\*\d+\. ", (ROOT / "docs" / "questions.md").read_text(encoding="utf-8"), flags=re.M)
    assert len(answers) == 10
    assert all(re.search(r"\]\([\w-]+\.md(#[\w-]+)?\)", answer) for answer in answers)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == matgl_ssl.__version__
