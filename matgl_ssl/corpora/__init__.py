"""Corpora: from many sources to one checked folder without duplicates."""

from __future__ import annotations

from matgl_ssl.corpora.prepare import Prepared, prepare

__all__ = ["Prepared", "prepare"]
