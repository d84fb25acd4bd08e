"""The configuration of ``fit``: each field is written once, with its default, its meaning and its unit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from matgl_ssl.config import Config
from matgl_ssl.hub.shipped import shipped_names


def _names(given: Any) -> Any:
    """One name, or several with commas between them, or a list of them."""
    return [name.strip() for name in given.split(",") if name.strip()] if isinstance(given, str) else given


Names = Annotated[list[str], BeforeValidator(_names)]


class FitConfig(Config):
    """Options of ``fit``."""

    data: str = Field("", description="labelled crystals: a file, a folder, a table, or a Hugging Face data set")
    target: Names = Field(min_length=1, description="label column to predict; several with commas between them")
    unit: str | None = Field(None, description="unit of the target, for reports")
    task: Literal["regression", "classification"] = Field(
        "regression", description="predict a number, or the probability of each of a few classes"
    )
    encoders: Names = Field(
        default_factory=shipped_names,
        description="pretrained encoders: run directories, saved models, hub names, or those of the package",
    )
    fine_tunings: int = Field(3, ge=0, description="fine-tunings of each encoder, with other seeds; 0: none")
    finetune: dict[str, Any] = Field(default_factory=dict, description="options of finetune for these")
    unlabelled: str = Field(
        "",
        description="crystals without labels, like those to be predicted, for the plain model to learn from; by "
        "default they are made from the labelled ones",
    )
    budget: float = Field(10.0, gt=0, description="minutes after which no other learner is begun")
    loss: Literal["mae", "mse"] = Field("mae", description="error that the combination of learners makes small")
    coverage: float = Field(0.9, gt=0, lt=1, description="share of crystals whose value shall lie in its interval")
    per_atom: bool = Field(False, description="the target is a sum over atoms: learn it per atom")
    lower_bound: float | None = Field(None, description="no value of the target is below this")
    upper_bound: float | None = Field(None, description="no value of the target is above this")
    weight_column: str | None = Field(None, description="column that says how much each label counts")
    n_folds: int = Field(5, ge=2, description="folds that errors are estimated on; no formula is in two of them")
    seed: int = Field(0, ge=0, description="seed of folds, trees, weights and order")
    num_workers: int = Field(0, ge=0, description="processes that compute descriptors")
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
