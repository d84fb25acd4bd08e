"""From crystals to graphs, as MatGL's converters make them, and always on the CPU.

The neighbours are those of MatGL's ``Structure2Graph``, found by the same function with the same arguments. It is not
called itself: it packs them into a PyG or DGL graph, and with the extra ``matgl[alchmtk]`` it looks for them on a GPU,
where the processes that build graphs must not go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matgl
import numpy as np
import torch
from pymatgen.core import Element
from pymatgen.optimization.neighbors import find_points_in_spheres

from .batch import Graph

if TYPE_CHECKING:
    from matgl_ssl.crystals.records import Crystal

_TOLERANCE = 1e-8
_PERIODIC = np.ones(3, dtype=np.int64)


class Converter:
    """Finds a crystal's neighbours.

    Args:
        element_types: Element symbols in the model's order.
        cutoff: Neighbour cutoff in Å.
    """

    def __init__(self, element_types: tuple[str, ...], cutoff: float) -> None:
        self.cutoff = cutoff
        self._node_type = {Element(symbol).Z: index for index, symbol in enumerate(element_types)}

    def __call__(self, crystal: Crystal) -> Graph:
        """Build a crystal's graph."""
        positions = np.ascontiguousarray(crystal.cart_coords)
        lattice = np.ascontiguousarray(crystal.lattice)
        sources, destinations, images, distances = find_points_in_spheres(
            positions, positions, r=self.cutoff, pbc=_PERIODIC, lattice=lattice, tol=_TOLERANCE
        )
        edges = (sources != destinations) | (distances > _TOLERANCE)
        ends = np.stack([sources[edges], destinations[edges]])
        node_type = np.array([self._node_type[z] for z in crystal.numbers.tolist()], dtype=np.int64)
        return Graph(
            node_type=torch.from_numpy(node_type),
            frac_coords=_real(crystal.frac_coords),
            lattice=_real(crystal.lattice),
            edge_index=torch.from_numpy(ends.astype(np.int64, copy=False)),
            pbc_offset=_real(images[edges]),
            id=crystal.id,
            labels=crystal.labels,
        )


def _real(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(matgl.float_np))
