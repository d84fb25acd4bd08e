"""Crystals: records, readers, checks and storage."""

from __future__ import annotations

from matgl_ssl.crystals.checks import check_dataset, check_structure
from matgl_ssl.crystals.demo import demo_corpus, demo_task, write_demo
from matgl_ssl.crystals.readers import read_crystals
from matgl_ssl.crystals.records import Crystal
from matgl_ssl.crystals.report import CheckReport, Finding
from matgl_ssl.crystals.storage import CrystalDataset

__all__ = [
    "CheckReport",
    "Crystal",
    "CrystalDataset",
    "Finding",
    "check_dataset",
    "check_structure",
    "demo_corpus",
    "demo_task",
    "read_crystals",
    "write_demo",
]
