"""``fit`` in scikit-learn's shape: a regressor and a classifier of structures."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from matgl_ssl.crystals import CrystalDataset, check_dataset, read_crystals
from matgl_ssl.crystals.tables import in_order
from matgl_ssl.errors import DataError

from .fit import fit
from .predict import load_predictor
from .predictor import Said

_TARGET, _WEIGHT = "target", "weight"


class _CrystalEstimator(BaseEstimator):
    """What both share; see there."""

    _task: Literal["regression", "classification"]

    def __init__(
        self,
        *,
        encoders: Sequence[str] | None = None,
        fine_tunings: int = 3,
        budget: float = 5.0,
        n_folds: int = 5,
        random_state: int = 0,
        out: str | Path | None = None,
        accelerator: str = "auto",
    ) -> None:
        self.encoders = encoders
        self.fine_tunings = fine_tunings
        self.budget = budget
        self.n_folds = n_folds
        self.random_state = random_state
        self.out = out
        self.accelerator = accelerator

    def _options(self) -> dict[str, Any]:
        """Further options of ``fit``."""
        return {}

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to labels.

        Args:
            X: Structures: pymatgen's, ASE's, ``Crystal``, ``CrystalDataset``, or a path.
            y: A label for each, ``(n,)``.
            sample_weight: How much each label counts, ``(n,)``.

        Raises:
            DataError: If there are too few labels, or as many structures as labels there are not.
            BadStructureError: For the first structure that cannot be read.
        """
        crystals = read_crystals(X, columns=[], policy="raise")
        labels = np.asarray(y)
        if labels.shape != (len(crystals),):
            raise DataError(
                f"y has shape {labels.shape}, and there are {len(crystals)} structures: one label for each."
            )
        table = in_order(crystals.table).add_column(_TARGET, labels.tolist())
        options = self._options()
        if sample_weight is not None:
            table = table.add_column(_WEIGHT, np.asarray(sample_weight, dtype=float).tolist())
            options["weight_column"] = _WEIGHT
        if self.encoders is not None:
            options["encoders"] = list(self.encoders)
        self._folder = None if self.out else tempfile.TemporaryDirectory(prefix="matgl_ssl-fit-")
        self.path_ = Path(self.out or Path(self._folder.name) / "fit")  # type: ignore[union-attr]
        self.result_ = fit(
            data=CrystalDataset(table, source=crystals.source), target=[_TARGET], out=self.path_, task=self._task,
            fine_tunings=self.fine_tunings, budget=self.budget, n_folds=self.n_folds, seed=self.random_state,
            accelerator=self.accelerator, **options,
        )  # fmt: skip
        return self

    def _say(self, X: Any) -> Said:
        """What is said of structures.

        Raises:
            BadStructureError: For the first structure that cannot be trusted.
        """
        check_is_fitted(self)
        predictor = load_predictor(self.path_)
        crystals, _ = check_dataset(read_crystals(X, columns=[], policy="raise"), policy="raise")
        return predictor.targets[0](predictor.inputs(crystals))

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and copies: what was fitted travels along."""
        state = dict(super().__getstate__())
        if "path_" in state:
            state["_folder"], state["_files"] = None, _packed(self.path_)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Put what was fitted into a folder of its own."""
        files = state.pop("_files", None)
        super().__setstate__(state)
        if files is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="matgl_ssl-fit-")
            self.path_ = Path(self._folder.name) / "fit"
            zipfile.ZipFile(io.BytesIO(files)).extractall(self.path_)


class CrystalRegressor(RegressorMixin, _CrystalEstimator):
    """Predicts a number from structures, by all learners that ``fit`` tries.

    It goes where scikit-learn's regressors go (``cross_val_score``, ``GridSearchCV``, the end of a ``Pipeline``), with
    lists of structures as ``X``.

    Args:
        encoders: Pretrained encoders; by default those of the package. An empty list: none.
        fine_tunings: Fine-tunings of each encoder, with other seeds.
        budget: Minutes after which no other learner is started.
        loss: ``"mae"`` or ``"mse"``: the error that the combination makes small.
        coverage: Share of crystals whose value must lie in its interval.
        lower_bound: No value is below this.
        upper_bound: No value is above this.
        n_folds: Folds that errors are estimated on.
        random_state: Seed of all that is random.
        out: Where to keep what is fitted; by default in a temporary folder.
        accelerator: Where encoders are fine-tuned.

    Attributes:
        result_: What ``fit`` returned.
        path_: The directory.
    """

    _task: Literal["regression", "classification"] = "regression"

    def __init__(
        self,
        *,
        encoders: Sequence[str] | None = None,
        fine_tunings: int = 3,
        budget: float = 5.0,
        loss: str = "mae",
        coverage: float = 0.9,
        lower_bound: float | None = None,
        upper_bound: float | None = None,
        n_folds: int = 5,
        random_state: int = 0,
        out: str | Path | None = None,
        accelerator: str = "auto",
    ) -> None:
        super().__init__(
            encoders=encoders, fine_tunings=fine_tunings, budget=budget, n_folds=n_folds, random_state=random_state,
            out=out, accelerator=accelerator,
        )  # fmt: skip
        self.loss = loss
        self.coverage = coverage
        self.lower_bound = lower_bound
        self.upper_bound = upper_bound

    def _options(self) -> dict[str, Any]:
        names = ("loss", "coverage", "lower_bound", "upper_bound")
        return {name: getattr(self, name) for name in names}

    def predict(
        self, X: Any, return_std: bool = False, return_interval: bool = False
    ) -> np.ndarray | tuple[np.ndarray, ...]:
        """Predict structures.

        Args:
            X: The structures.
            return_std: Also give the standard deviation of the error that is to be expected.
            return_interval: Also give the lower and the upper end of the interval.

        Returns:
            Values ``(n,)``, and what else was asked for, each ``(n,)``, in the order of the arguments.
        """
        said = self._say(X)
        more = [*([said.std] if return_std else []), *([said.lower, said.upper] if return_interval else [])]
        value = said.values
        return (value, *more) if more else value


class CrystalClassifier(ClassifierMixin, _CrystalEstimator):
    """Predicts the class of structures, by all learners that ``fit`` tries; arguments as for ``CrystalRegressor``.

    Attributes:
        classes_: The classes.
        result_: What ``fit`` returned.
        path_: The directory.
    """

    _task: Literal["regression", "classification"] = "classification"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to classes; see ``CrystalRegressor.fit``."""
        super().fit(X, y, sample_weight)
        self.classes_ = np.unique(np.asarray(y))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, ``(n, n_classes)``."""
        said = self._say(X).values
        names = load_predictor(self.path_).targets[0].classes
        return said[:, [names.index(str(each)) for each in self.classes_.tolist()]]

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each structure, ``(n,)``."""
        return self.classes_[self.predict_proba(X).argmax(1)]


def _packed(folder: Path) -> bytes:
    """What predictions need, as a zip."""
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"):
            archive.write(path, path.relative_to(folder))
    return text.getvalue()
