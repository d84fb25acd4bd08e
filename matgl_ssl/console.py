"""What our commands show while they run: messages on stderr, without the chatter of the libraries underneath."""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm


class _BesideBars(logging.Handler):
    """Writes messages to stderr, above a progress bar if one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        tqdm.write(self.format(record), file=sys.stderr)


def configure_logging(level: int = logging.INFO) -> None:
    """Show this package's messages on stderr, of Lightning's only the warnings, and no progress bars of datasets."""
    import datasets

    datasets.disable_progress_bars()
    handler = _BesideBars()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("matgl_ssl")
    ours.handlers[:], ours.propagate = [handler], False
    ours.setLevel(level)
    quiet_lightning()


def quiet_lightning() -> None:
    """To be called again after Lightning was imported, which sets its levels."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
