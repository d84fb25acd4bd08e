"""MatGL's converter from structures to graphs, without the objects that are only taken apart again.

MatGL packs the neighbours it finds into a PyG or DGL graph, and reads them from a pymatgen ``Structure``: here crystals
are arrays already, and batches plain tensors.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import matgl
import numpy as np
import torch
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.converters import GraphConverter
from pymatgen.core import Element

from .batch import Graph

if TYPE_CHECKING:
    from matgl_ssl.crystals.records import Crystal


class _Neighbours(GraphConverter):
    """Stands behind ``Structure2Graph`` in ``GraphConverter``'s place and hands through what it found."""

    def get_graph_from_processed_structure(
        self, structure: Any, src_id: Any, dst_id: Any, images: Any, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any, Any]:
        """Sources, destinations and periodic images of the edges."""
        return src_id, dst_id, images


class Converter(Structure2Graph, _Neighbours):
    """MatGL's neighbours as a ``Graph``.

    Args:
        element_types: Element symbols in the model's order.
        cutoff: Neighbour cutoff in Å.
    """

    def __init__(self, element_types: tuple[str, ...], cutoff: float) -> None:
        super().__init__(element_types, cutoff)
        self._node_type = {Element(symbol).Z: index for index, symbol in enumerate(element_types)}

    def __call__(self, crystal: Crystal) -> Graph:
        """Build a crystal's graph."""
        structure = SimpleNamespace(  # what MatGL reads of a Structure
            lattice=SimpleNamespace(matrix=np.ascontiguousarray(crystal.lattice)),
            frac_coords=crystal.frac_coords,
            cart_coords=np.ascontiguousarray(crystal.cart_coords),
        )
        sources, destinations, images = self.get_graph(structure)
        return Graph(
            node_type=torch.tensor([self._node_type[z] for z in crystal.numbers.tolist()], dtype=torch.long),
            frac_coords=_real(crystal.frac_coords),
            lattice=_real(crystal.lattice),
            edge_index=torch.from_numpy(np.stack([sources, destinations]).astype(np.int64, copy=False)),
            pbc_offset=_real(images),
            id=crystal.id,
            labels=crystal.labels,
        )


def _real(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(matgl.float_np))
