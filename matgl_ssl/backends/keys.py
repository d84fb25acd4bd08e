"""Names under which views write down what they did, in ``atom``, ``edge`` and ``labels`` of graphs and batches.

The encoder reads ``MASK``, ``HIDDEN``, ``EDGE_VECTOR`` and ``REPRESENTATION``; the others are for pretexts.
"""

from __future__ import annotations

MASK = "mask"
"""In ``atom``: the atoms whose element is hidden, ``(N,)`` bool."""

HIDDEN = "hidden"
"""In ``edge``: the edges whose length and direction are hidden, ``(E,)`` bool."""

EDGE_VECTOR = "vector"
"""In ``edge``: vectors in Å, ``(E, 3)``, that the encoder sees instead of those of the crystal."""

REPRESENTATION = "representation"
"""In ``atom``: a NEGNN's frozen vectors where they were computed beforehand, ``(N, d)``."""

NOISE = "noise"
"""In ``atom``: Cartesian displacements in Å, ``(N, 3)``."""

NORMAL = "standard_normal"
"""In ``atom`` and ``labels``: independent standard normal numbers, ``(N, n)`` and ``(B, n)``."""

STRAIN = "applied_strain"
"""In ``labels``: the logarithmic strain of the lattice, symmetric, ``(B, 3, 3)``."""
