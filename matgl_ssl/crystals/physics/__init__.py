"""Labels against physics: what units, signs and extents the crystals themselves tell of."""

from __future__ import annotations

from matgl_ssl.crystals.physics.extent import Extent, extent, named_extent, says_per_atom, trained_extent
from matgl_ssl.crystals.physics.remark import Remark
from matgl_ssl.crystals.physics.verdicts import physics

__all__ = ["Extent", "Remark", "extent", "named_extent", "physics", "says_per_atom", "trained_extent"]
