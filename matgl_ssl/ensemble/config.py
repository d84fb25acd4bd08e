"""The configuration of ``fit``: each field is written once, with its default, its meaning and its unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from matgl_ssl.config import Config


def _names(given: Any) -> Any:
    """One name, or several with commas between them, or a list of them."""
    return [name.strip() for name in given.split(",") if name.strip()] if isinstance(given, str) else given


def _shipped() -> list[str]:
    from matgl_ssl.hub.shipped import shipped_names  # seconds of imports that help does not need

    return shipped_names()


Names = Annotated[list[str], BeforeValidator(_names)]


class FitConfig(Config):
    """Options of ``fit``."""

    SECTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "target": ("target", "unit", "task", "per_atom", "lower_bound", "upper_bound", "weight_column"),
        "data": ("data", "unlabelled"),
        "learners": ("encoders", "fine_tunings", "finetune", "budget"),
        "errors and intervals": ("loss", "coverage", "n_folds", "seed"),
        "devices and processes": ("accelerator", "num_workers"),
    }
    DEFAULTS: ClassVar[Mapping[str, str]] = {
        "unit": "known for common columns, else none",
        "encoders": "all shipped encoders (mgl-ssl list models)",
        "finetune": "those that suit the encoder",
        "unlabelled": "crystals of the package, and variants of the labelled ones",
        "lower_bound": "none",
        "upper_bound": "none",
        "weight_column": "none, all count the same",
        "accelerator": "auto, CUDA if there is any, else the CPU",
        "num_workers": "the number of CPU cores, for fine-tuning",
    }

    data: str = Field("", description="labelled crystals: a file, a folder, a table, or a Hugging Face data set")
    target: Names = Field(min_length=1, description="label column to predict, or several with commas")
    unit: str | None = Field(None, description="unit of the target, for reports")
    task: Literal["regression", "classification"] = Field(
        "regression", description="predict a number, or the probability of each class"
    )
    encoders: Names = Field(
        default_factory=_shipped,
        description="pretrained encoders: run directories, saved models, hub names, or shipped ones",
    )
    fine_tunings: int = Field(
        3, ge=0, description="number of times that each encoder is fine-tuned, each with its own seed; 0 for none"
    )
    finetune: dict[str, Any] = Field(default_factory=dict, description="options of finetune for these fine-tunings")
    unlabelled: str = Field(
        "",
        description="crystals without labels, like those to be predicted, that the exported MatGL model learns from",
    )
    budget: float = Field(5.0, gt=0, description="minutes after which no other learner is started")
    loss: Literal["mae", "mse"] = Field("mae", description="error that the combination of learners minimises")
    coverage: float = Field(0.9, gt=0, lt=1, description="share of crystals whose value must lie in its interval")
    per_atom: bool = Field(False, description="the target is a sum over atoms; learn it per atom")
    lower_bound: float | None = Field(None, description="smallest possible value of the target")
    upper_bound: float | None = Field(None, description="largest possible value of the target")
    weight_column: str | None = Field(None, description="column with the weight of each label")
    n_folds: int = Field(5, ge=2, description="number of folds for cross-validation; no formula is in two of them")
    seed: int = Field(0, ge=0, description="seed of folds, trees, weights and order")
    num_workers: int | None = Field(
        None, ge=0, description="processes that compute descriptors and fine-tune on the CPU, one thread each"
    )
    accelerator: str = Field("auto", description="where encoders are fine-tuned: auto, cpu, gpu, cuda or mps")

    @model_validator(mode="after")
    def _one_meaning(self) -> FitConfig:
        bounds = (self.lower_bound, self.upper_bound)
        if self.task == "classification" and (self.per_atom or bounds != (None, None)):
            raise ValueError("A class is no number: leave out per_atom, lower_bound and upper_bound.")
        if None not in bounds and bounds[0] >= bounds[1]:  # type: ignore[operator]
            raise ValueError(f"lower_bound {bounds[0]:g} is not below upper_bound {bounds[1]:g}.")
        if self.unit is not None and len(self.target) > 1:
            raise ValueError("One unit cannot be that of several targets: leave it out, or fit them one by one.")
        return self
