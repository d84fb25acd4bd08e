"""Diagnosis: what to know of crystals and labels before anything is trained on them."""

from __future__ import annotations

from matgl_ssl.crystals.physics import Remark
from matgl_ssl.diagnosis.counts import Spread, Summary
from matgl_ssl.diagnosis.diagnose import doctor
from matgl_ssl.diagnosis.duplicates import Duplicates
from matgl_ssl.diagnosis.estimate import Estimate
from matgl_ssl.diagnosis.labels import Column
from matgl_ssl.diagnosis.overlap import Overlap
from matgl_ssl.diagnosis.report import DoctorReport

__all__ = ["Column", "DoctorReport", "Duplicates", "Estimate", "Overlap", "Remark", "Spread", "Summary", "doctor"]
