"""How a powder of the crystal scatters X-rays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np

from matgl_ssl.crystals.records import Crystal

from .target import Target


@dataclass(frozen=True)
class PowderPattern(Target):
    """Share of the scattered intensity at each angle, smoothed: kinematic, Cu K-alpha, Lorentz and polarisation.

    Peaks are those of pymatgen's ``XRDCalculator``. Each is spread as a Gaussian of one bin's width, and the shares
    of the range sum to one.

    Attributes:
        two_theta: Range in degrees.
        n_bins: Bins of the range.
    """

    name: ClassVar[str] = "powder-pattern"
    level: ClassVar[Literal["crystal"]] = "crystal"

    two_theta: tuple[float, float] = (10.0, 90.0)
    n_bins: int = 40

    @property
    def size(self) -> int:
        """One a bin."""
        return self.n_bins

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """Compute it, ``(n_bins,)``; NaN without tabulated form factors, or where nothing scatters into the range."""
        low, high = self.two_theta
        width = (high - low) / self.n_bins
        try:  # beyond the range as far as smoothing carries
            pattern = _calculator().get_pattern(
                crystal.to_structure(), scaled=False, two_theta_range=(max(low - 4 * width, 1.0), high + 4 * width)
            )
        except ValueError:
            return np.full(self.n_bins, np.nan)
        centers = low + width * (np.arange(self.n_bins) + 0.5)
        smooth = np.exp(-0.5 * ((centers - np.asarray(pattern.x)[:, None]) / width) ** 2)
        intensity = np.asarray(pattern.y) @ smooth
        total = intensity.sum()
        return intensity / total if total > 0 else np.full(self.n_bins, np.nan)


@lru_cache(maxsize=1)
def _calculator() -> Any:
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    return XRDCalculator(wavelength="CuKa")
