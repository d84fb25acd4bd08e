"""The verbs of the command line, in the groups that ``mgl-ssl`` alone shows.

Each calls the Python function of its name and imports it itself, so that help is quick.
"""

from __future__ import annotations

from matgl_ssl.verbs import few_labels, look, share, train
from matgl_ssl.verbs.verb import Verb

GROUPS = {
    "predict from few labels": few_labels.VERBS,
    "pretrain and fine-tune": train.VERBS,
    "look at data and models": look.VERBS,
    "share models": share.VERBS,
}
"""Verbs by what a user wants to do."""
VERBS: dict[str, Verb] = {name: verb for verbs in GROUPS.values() for name, verb in verbs.items()}

__all__ = ["GROUPS", "VERBS", "Verb"]
