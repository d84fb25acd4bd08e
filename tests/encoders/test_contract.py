"""Every architecture passes the suite that other packages inherit."""

from __future__ import annotations

import pytest
from small_systems import SMALL

from matgl_ssl.testing import ArchitectureTests


class TestM3GNet(ArchitectureTests):
    architecture = "M3GNet"
    arguments = SMALL["M3GNet"]


class TestMEGNet(ArchitectureTests):
    architecture = "MEGNet"
    arguments = SMALL["MEGNet"]


@pytest.mark.pyg
class TestTensorNet(ArchitectureTests):
    architecture = "TensorNet"
    arguments = SMALL["TensorNet"]
