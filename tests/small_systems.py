"""Crystals and models small enough for every test: those that the package's own suites use."""

from __future__ import annotations

from matgl_ssl.testing.systems import *  # noqa: F403 - all of them
