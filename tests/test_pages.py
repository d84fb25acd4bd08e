"""Every block of code in the README and on the pages of ``docs`` runs as it stands (``tests/pages.py`` says how)."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import pages
import pytest

import matgl_ssl
from matgl_ssl.config import Config

pytest.importorskip("markdown_it", reason="pages are tested in the default backend, whose environment reads Markdown")

ELSEWHERE = {
    "docs/benchmark.md": "evaluation/test_documentation.py", "docs/data.md": "crystals/test_data_page.py",
    "docs/extending.md": "test_extending.py", "docs/models.md": "hub/test_documentation.py",
}  # fmt: skip
"""Pages that tests of their own run, with other files."""
PAGES = ["README.md", *sorted(path.relative_to(pages.ROOT).as_posix() for path in pages.ROOT.glob("docs/**/*.md"))]
RUN = [name for name in PAGES if name not in ELSEWHERE]


def blocks(name: str) -> list[pages.Block]:
    return list(pages.blocks((pages.ROOT / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> tuple[Path, set[str]]:
    """The folder with the examples, and the commands that ran in it: pages that share a command run it once."""
    folder = tmp_path_factory.mktemp("pages")
    runpy.run_path(str(pages.ROOT / "examples" / "alloys.py"))["main"](folder)
    labels = folder / "moduli.csv"
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[:51]))  # the first 50, for the time it takes
    return folder, {"python examples/alloys.py"}


@pytest.fixture
def shorter(monkeypatch) -> None:
    build = Config.build.__func__

    def shortened(cls: type[Config], *layers: dict[str, Any]) -> Config:
        return build(cls, *layers, pages.SHORTER.get(cls.__name__, {}))

    monkeypatch.setattr(Config, "build", classmethod(shortened))
    monkeypatch.setenv("MATGL_SSL_ACCELERATION", "torch")  # compiling the kernel takes longer than these runs


@pytest.mark.usefixtures("shorter")
@pytest.mark.parametrize("name", [name for name in RUN if any(b.info in ("bash", "python") for b in blocks(name))])
def test_its_code_runs(name, place, monkeypatch):
    folder, done = place
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(name):
        language, _, file = block.info.partition(" ")
        if file:
            (folder / file).write_text(block.text, encoding="utf-8")
        elif language == "python" and not block.skipped:
            exec(compile(block.text, f"{name}, line {block.line}", "exec"), names)
        for command in block.commands if language == "bash" and not file else ():
            known = " ".join(command.partition(" # ")[0].split())
            if block.skipped:
                pages.parsed(command, monkeypatch)
            elif known not in done:
                _make_room(known, folder)
                pages.run(command)
                done.add(known)


def _make_room(command: str, folder: Path) -> None:
    """Another page's run may lie where this command writes its own."""
    _, _, rest = command.partition("--out ")
    if rest and "--resume" not in command and (out := folder / rest.split()[0]).exists():
        shutil.rmtree(out) if out.is_dir() else out.unlink()


@pytest.mark.parametrize("name", PAGES)
def test_commands_are_shown_as_what_they_are(name):
    """A block without a language would be run by nobody."""
    unknown = [b.line for b in blocks(name) if not b.info and "mgl-ssl " in b.text and name not in ELSEWHERE]
    assert not unknown


def test_pages_that_other_tests_run_are_run_by_them():
    for name, test in ELSEWHERE.items():
        assert Path(name).name in (pages.ROOT / "tests" / test).read_text(encoding="utf-8")


def test_a_line_that_the_parser_refuses_is_seen(monkeypatch):
    pages.parsed("srun mgl-ssl pretrain --devices 4 --out runs/pre", monkeypatch)
    with pytest.raises((SystemExit, matgl_ssl.errors.ConfigError)):
        pages.parsed("srun mgl-ssl pretrain --gpus 4 --out runs/pre", monkeypatch)


def test_marks_are_of_the_next_block_alone():
    found = [*pages.blocks('<!-- skip: next "needs a GPU" -->\n```bash\na \\\n  b\n# c\n```\n\n```python\nd\n```\n')]
    assert [(b.info, b.skipped) for b in found] == [("bash", "needs a GPU"), ("python", None)]
    assert found[0].commands == ["a    b"]
