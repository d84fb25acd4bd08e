"""How a powder of the crystal scatters X-rays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS, WAVELENGTHS
from pymatgen.core import Element

from .primitive import PrimitiveCell
from .target import CellTarget

_WAVELENGTH = WAVELENGTHS["CuKa"]  # Å
_REACH = 6  # widths: how far a Gaussian is seen


@dataclass(frozen=True)
class PowderPattern(CellTarget):
    """Share of the scattered intensity at each angle, smoothed: kinematic, Cu K-alpha, Lorentz and polarisation.

    The reflections, without thermal motion and with atomic form factors as in pymatgen's ``XRDCalculator``, weak ones
    included. Each is spread as a Gaussian of one bin's width, and the shares of the range sum to one.

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

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(n_bins,)``; NaN without tabulated form factors, or where nothing scatters into the range."""
        low, high = self.two_theta
        width = (high - low) / self.n_bins
        elements, element = np.unique(cell.numbers, return_inverse=True)
        known = [ATOMIC_SCATTERING_PARAMS.get(Element.from_Z(int(z)).symbol) for z in elements]
        if None in known:
            return np.full(self.n_bins, np.nan)
        # Reflections beyond the range as far as smoothing carries: half of the 1/d = 2 sin(theta) / wavelength.
        least, most = (
            np.sin(np.radians(np.clip(angle, 1.0, 179.9) / 2)) / _WAVELENGTH
            for angle in (low - _REACH * width, high + _REACH * width)
        )
        counts = np.floor(2 * most * np.linalg.norm(cell.lattice, axis=1)).astype(int)
        planes = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
        planes = planes[len(planes) // 2 + 1 :]  # one of each plane and its back
        half = np.linalg.norm(planes @ np.linalg.inv(cell.lattice).T, axis=1) / 2
        inside = (half >= least) & (half <= most)
        planes, half = planes[inside], half[inside]
        a, b = np.array(known).transpose(2, 0, 1)
        form = elements - 41.78214 * half[:, None] ** 2 * (a * np.exp(-b * half[:, None, None] ** 2)).sum(axis=2)
        amplitude = (form[:, element] * np.exp(2j * np.pi * planes @ cell.frac_coords.T)).sum(axis=1)
        theta = np.arcsin(half * _WAVELENGTH)
        lorentz = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
        centers = low + width * (np.arange(self.n_bins) + 0.5)
        smooth = np.exp(-0.5 * ((centers - np.degrees(2 * theta)[:, None]) / width) ** 2)
        intensity = (np.abs(amplitude) ** 2 * lorentz) @ smooth
        total = intensity.sum()
        return intensity / total if total > 0 else np.full(self.n_bins, np.nan)
