"""Progress: a bar on a terminal, a line every 30 seconds in a log, nothing for what is quick."""

from __future__ import annotations

import logging
import sys

import pytest

from matgl_ssl import progress
from matgl_ssl.console import configure_logging


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests move."""

    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    moved = Clock()
    monkeypatch.setattr(progress.time, "monotonic", moved)
    monkeypatch.setattr("tqdm.std.time", moved)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    return moved


def lines(caplog, items, clock, seconds, **options):
    """What the log has after items that take some seconds each."""
    with caplog.at_level(logging.INFO, "matgl_ssl"):
        for _ in progress.track(items, "computing targets", **options):
            clock.now += seconds
    return [record.getMessage() for record in caplog.records]


def test_a_log_has_a_line_every_thirty_seconds_with_the_time_left(caplog, clock):
    found = lines(caplog, range(100), clock, 3.0, total=100)
    assert found[:2] == ["computing targets: 10%, about 4 min left", "computing targets: 20%, about 4 min left"]
    assert len(found) == 10


def test_batches_count_as_much_as_they_hold(caplog, clock):
    found = lines(caplog, [range(75), range(25)], clock, 40.0, total=100, size=len)
    assert found == ["computing targets: 75%, about 13 s left", "computing targets: 100%, about 0 s left"]


def test_without_a_total_a_line_has_the_count(caplog, clock):
    assert lines(caplog, iter(range(3)), clock, 31.0)[0] == "computing targets: 1 after 31 s"


def test_what_is_quick_shows_nothing(caplog, clock):
    assert lines(caplog, range(100), clock, 0.1, total=100) == []


def test_messages_and_a_bar_do_not_mix(monkeypatch, capfd):
    ours = logging.getLogger("matgl_ssl")
    before = ours.handlers[:], ours.propagate, ours.level
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "_DELAY", 0.0)
    try:
        configure_logging()
        for i in progress.track(range(3), "work", 3):
            ours.warning("message %d", i)
    finally:
        ours.handlers[:], ours.propagate = before[:2]
        ours.setLevel(before[2])
    shown = capfd.readouterr().err
    assert "message 1\n" in shown
    assert "work:" in shown


def test_the_bar_of_training_leaves_stdout_to_results():
    from matgl_ssl.training.trainer import TrainingBar

    bar = TrainingBar()
    with bar.init_train_tqdm() as shown:
        assert shown.fp.fileno() == sys.stderr.fileno() != sys.stdout.fileno()


@pytest.mark.parametrize(("seconds", "text"), [(8.4, "8 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_have_a_fitting_unit(seconds, text):
    assert progress.duration(seconds) == text
