"""Pages are written in the project's style (``CONTRIBUTING.md``, Style), and the check sees what is not."""

from __future__ import annotations

import prose
import pytest


@pytest.mark.parametrize("page", prose.pages())
def test_a_page_is_in_the_style(page):
    assert not prose.problems((prose.ROOT / page).read_text(encoding="utf-8")), f"python tests/prose.py {page}"


def test_pages_are_found():
    assert {"README.md", "CONTRIBUTING.md", "docs/systems/dssl.md", "benchmarks/gain.md"} < set(prose.pages())


def test_sentences_are_those_of_paragraphs_and_lists():
    page = "# One. Two.\n\nThree `a. B`\nfour. [Five](x)!\n\n- Six\n- Seven. 8\n\n| a. B |\n|---|\n\n```\nx. Y\n```\n"
    found = [(3, "Three `code` four."), (3, "Five!"), (6, "Six"), (7, "Seven. 8")]
    assert list(prose.sentences(page)) == found


def test_a_formula_is_one_word():
    assert list(prose.sentences("It is $a_1 + b_2 * 3$ here.\n\n$$\nx_1 = 2. Y\n$$")) == [
        (1, "It is `code` here."), (3, "`code`")
    ]  # fmt: skip


def test_a_long_sentence_is_seen():
    assert not prose.problems("word " * prose.WORDS)
    (problem,) = prose.problems("Short.\n\n" + "word " * (prose.WORDS + 1))
    assert problem.startswith(f"line 3: {prose.WORDS + 1} words, at most {prose.WORDS}: word")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Of 5 tasks 4 fell by `3`, see [table](t-1.md), in fold-1 of v2.", None),
        ("It fell by 1.5 %\nof 2,000 and [3](x1).", "1.5, 2,000, 3"),
        ("From -1 to +1: 2.", "-1, +1, 2"),
    ],
)
def test_a_crowded_sentence_is_seen(text, numbers):
    expected = [f"line 1: numbers {numbers}, at most {prose.NUMBERS}"] if numbers else []
    assert [problem.rpartition(": ")[0][: len(expected[0])] for problem in prose.problems(text)] == expected


@pytest.mark.parametrize(
    "text",
    ["Three arms ran.", "The DGL lane.", "Labels of nothing.", "One row an atom is made.", "It goes on.", "Rooms."],
)
def test_a_private_word_is_seen(text):
    (problem,) = prose.problems(text)
    assert "; better: " in problem


@pytest.mark.parametrize("text", ["Harmful `arms`.", "Alarms are at room temperature.", "An atom a day.", "Kinetics."])
def test_other_words_are_not(text):
    assert not prose.problems(text)
