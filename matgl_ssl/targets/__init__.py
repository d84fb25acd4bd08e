"""Targets: what a structure alone determines, computed once and stored beside the crystals, one a file."""

from __future__ import annotations

from .angular_fingerprint import AngularFingerprint
from .bonds import AtomBonds, CrystalBonds
from .composition_statistics import CompositionStatistics
from .compute import with_targets
from .coordination import Coordination
from .density import Density
from .descriptors import AtomStatistics, Descriptors, Estimates
from .dispersion import AtomDispersion, CrystalDispersion
from .elasticity import Elasticity
from .ewald_energy import EwaldEnergy
from .powder_pattern import PowderPattern
from .promolecular_density import PromolecularDensity
from .radial_fingerprint import RadialFingerprint
from .slab import Slab, slab
from .space_group import CRYSTAL_SYSTEMS, N_SPACE_GROUPS, SpaceGroup
from .target import Target
from .tight_binding import AtomTightBinding, CrystalTightBinding
from .vibrations import AtomVibrations, CrystalVibrations, VibrationalSpectrum

__all__ = [
    "CRYSTAL_SYSTEMS",
    "N_SPACE_GROUPS",
    "AngularFingerprint",
    "AtomBonds",
    "AtomDispersion",
    "AtomStatistics",
    "AtomTightBinding",
    "AtomVibrations",
    "CompositionStatistics",
    "Coordination",
    "CrystalBonds",
    "CrystalDispersion",
    "CrystalTightBinding",
    "CrystalVibrations",
    "Density",
    "Descriptors",
    "Elasticity",
    "Estimates",
    "EwaldEnergy",
    "PowderPattern",
    "PromolecularDensity",
    "RadialFingerprint",
    "Slab",
    "SpaceGroup",
    "Target",
    "VibrationalSpectrum",
    "slab",
    "with_targets",
]
