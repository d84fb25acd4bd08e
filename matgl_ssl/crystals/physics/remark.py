"""What was noticed about the data: right, wrong, or unknown; and the way out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remark:
    """One observation.

    Attributes:
        code: What kind it is, for programs: ``stress-unit``, ``energy-extent``, ...
        subject: The column or file it is about.
        ok: Whether that is as it should be; None where the data do not tell.
        message: The observation, with its numbers.
        advice: The way out, where there is something to do.
    """

    code: str
    subject: str
    ok: bool | None
    message: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.subject}: {self.message}{f' {self.advice}' if self.advice else ''}"
