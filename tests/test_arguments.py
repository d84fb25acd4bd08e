"""Arguments that do not fit their annotations, in every pretext and view, however it is made."""

from __future__ import annotations

import pytest
from small_systems import small_encoder

from matgl_ssl.errors import ConfigError
from matgl_ssl.pretexts import Pretext
from matgl_ssl.pretexts.contrast import Contrast
from matgl_ssl.pretexts.crystal_targets import CrystalTargets
from matgl_ssl.pretexts.deep_infomax import DeepInfoMax
from matgl_ssl.pretexts.derivative_denoising import DerivativeDenoising
from matgl_ssl.pretexts.edge_denoising import EdgeDenoising
from matgl_ssl.pretexts.energy_force_stress import EnergyForceStress
from matgl_ssl.pretexts.masked_atoms import MaskedAtoms
from matgl_ssl.pretexts.masked_edges import MaskedEdges
from matgl_ssl.pretexts.micro_property import MicroProperty
from matgl_ssl.pretexts.property_labels import PropertyLabels
from matgl_ssl.views import (
    Compose,
    DisplaceAtoms,
    DrawNormal,
    DropEdges,
    HideEdges,
    MaskAtoms,
    Perturb,
    ReplaceElements,
    StrainLattice,
    Supercell,
    View,
)

PRETEXTS = [
    (Contrast, "loss", "triplet", "'cosine', 'barlow-twins', .* not 'triplet'"),
    (Contrast, "loss", "vicregg", "Did you mean 'vicreg'"),
    (Contrast, "resample", "daily", "'epoch' or 'never'"),
    (Contrast, "temperature", 0.0, "must be greater than 0"),
    (Contrast, "denominator", "positives", "'all' or 'negatives'"),
    (Contrast, "mask_atoms", 1.5, "MaskAtoms: fraction must be less than 1"),
    (Contrast, "drop_edges", -0.1, "DropEdges: fraction must be greater than 0"),
    (CrystalTargets, "loss", "l7", "'mae', 'mse' or 'huber'"),
    (CrystalTargets, "vector", "last", "'mean' or 'readout'"),
    (DeepInfoMax, "training", "stages", "'greedy', 'joint' or 'local'"),
    (DeepInfoMax, "negatives", (), "at least 1 item"),
    (DeepInfoMax, "negatives", ("fake",), "negatives.0 must be 'roll'"),
    (DeepInfoMax, "fakes", ("roll",), "fakes.0 must be 'species'"),
    (DerivativeDenoising, "loss", "l3", "'mae', 'mse' or 'huber'"),
    (DerivativeDenoising, "sign", "attractive", "'restoring' or 'published'"),
    (DerivativeDenoising, "scale", "sigma3", "Did you mean 'sigma2'|Did you mean 'sigma'"),
    (DerivativeDenoising, "topology", "same", "'rebuild' or 'clean'"),
    (DerivativeDenoising, "sigma", "wide", "valid number.*not 'wide'"),
    (DerivativeDenoising, "remove_com", "perhaps", "valid boolean"),
    (EdgeDenoising, "target", "length", "'expansion' or 'distance', not 'length'"),
    (EdgeDenoising, "predict", "residual", "'change' or 'whole', not 'residual'"),
    (EnergyForceStress, "energy", "per-cell", "'per-atom' or 'total'"),
    (EnergyForceStress, "force_weight", -1.0, "greater than or equal to 0"),
    (MaskedAtoms, "target", "colour", "'element' or 'group-period', not 'colour'"),
    (MaskedAtoms, "fraction", [0.1], "valid number"),
    (MaskedEdges, "distances", "seen", "'visible' or 'hidden', not 'seen'"),
    (MicroProperty, "table", "colour", "must be 'atomic-stiffness'"),
    (MicroProperty, "missing", "mean", "'ignore' or 'zero'"),
    (PropertyLabels, "columns", {}, "at least 1 item"),
    (PropertyLabels, "columns", {"energy": "square"}, "columns.energy must be 'value', 'log10' or 'per-atom'"),
]
VIEWS = [
    (DisplaceAtoms, "sigma", 0.0, "greater than 0"),
    (DisplaceAtoms, "sigma", float("nan"), "finite number"),
    (DisplaceAtoms, "topology", "same", "'rebuild' or 'clean', not 'same'"),
    (DrawNormal, "per_atom", -1, "greater than or equal to 0"),
    (DropEdges, "fraction", 1.0, "less than 1"),
    (HideEdges, "fraction", 0.0, "greater than 0"),
    (MaskAtoms, "fraction", float("nan"), "not nan"),
    (MaskAtoms, "fraction", "some", "valid number"),
    (MaskAtoms, "count", "half", "'dssl', 'crystal-twins' or 'unbiased'"),
    (Perturb, "distance", 0.0, "greater than 0"),
    (Perturb, "min_distance", -0.1, "greater than or equal to 0"),
    (ReplaceElements, "n_elements", 1, "greater than or equal to 2"),
    (StrainLattice, "sigma", 0, "greater than 0"),
    (Supercell, "max_atoms", 0, "greater than 0"),
    (Compose, "views", ("mask-atoms",), "views.0"),
]


@pytest.mark.parametrize(("cls", "argument", "value", "message"), PRETEXTS)
def test_a_pretext_refuses_what_does_not_fit(cls, argument, value, message):
    with pytest.raises(ConfigError, match=message) as error:
        cls(small_encoder("MEGNet"), **{argument: value})
    assert ": " in str(error.value)


@pytest.mark.parametrize(("cls", "argument", "value", "message"), VIEWS)
def test_a_view_refuses_what_does_not_fit(cls, argument, value, message):
    with pytest.raises(ConfigError, match=f"{cls.__name__}: {argument}.*{message}|{message}"):
        cls(**{argument: value})


def test_what_fits_is_converted():
    """YAML 1.1 reads 1e-1 as text, and has no tuples."""
    assert Compose(views=[DisplaceAtoms(sigma="1e-1")]) == Compose(views=(DisplaceAtoms(sigma=0.1),))
    assert MaskedAtoms(small_encoder("MEGNet"), fraction="3e-1").views["masked"].fraction == 0.3


class ShowTwice(Pretext):
    """A pretext of somebody else, with an annotation that is no plain type."""

    def __init__(self, encoder, *, view: View, factor: float = 1.0) -> None:
        super().__init__(encoder)
        self.views = {"seen": view}
        self.factor = factor


def test_somebody_elses_pretext_is_held_to_its_annotations():
    encoder, view = small_encoder("MEGNet"), MaskAtoms()
    assert ShowTwice(encoder, view=view).views["seen"] is view
    for arguments, message in (({"view": "mask-atoms"}, "ShowTwice: view"), ({"view": view, "factor": "x"}, "factor")):
        with pytest.raises(ConfigError, match=message):
            ShowTwice(encoder, **arguments)
