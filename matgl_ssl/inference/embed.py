"""Embeddings: vectors of crystals or atoms out of any layer of an encoder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from matgl_ssl._files import atomic_path
from matgl_ssl.acceleration import Mode, use, using
from matgl_ssl.backends import collate
from matgl_ssl.boundary import verb
from matgl_ssl.crystals import CheckReport, Crystal, CrystalDataset, check_dataset, read_crystals
from matgl_ssl.crystals.batching import consecutive_batches
from matgl_ssl.devices import inference_device
from matgl_ssl.encoders import Encoder
from matgl_ssl.encoders.state import check_batch_size, state_labels
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.hub import evaluating, load_with_stamp
from matgl_ssl.hub.elements import warn_of_elements
from matgl_ssl.hub.stamp import OUTPUT, VECTOR
from matgl_ssl.progress import track
from matgl_ssl.renamed import renamed_keywords

Layer = int | Literal["readout"]
Level = Literal["crystal", "atom"]
Reduce = Literal["mean", "sum"]

_ROWS_PER_GROUP = 16384


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors, or where they were written.

    Attributes:
        layers: The layers they come from, concatenated in this order.
        skipped: Which crystals were left out, and why.
        n_vectors: How many vectors there are.
        dim: Their length.
        ids: Names of the crystals; None if written to a file.
        vectors: ``(n_crystals, dim)`` or ``(n_atoms, dim)``, float32; None if written to a file.
        crystal_index: At atom level, the crystal (in ``ids``) of each vector, ``(n_atoms,)``.
        atom_index: At atom level, the atom of the crystal, ``(n_atoms,)``.
        numbers: At atom level, its atomic number, ``(n_atoms,)``.
        output: The file, if there is one.
    """

    layers: tuple[Layer, ...]
    skipped: CheckReport
    n_vectors: int
    dim: int
    ids: tuple[str, ...] | None = None
    vectors: np.ndarray | None = None
    crystal_index: np.ndarray | None = None
    atom_index: np.ndarray | None = None
    numbers: np.ndarray | None = None
    out: Path | None = None


@verb
@renamed_keywords(output="out")
@using
def embed(
    *,
    model: str | Path | nn.Module,
    data: Any,
    level: Level = "crystal",
    layer: Layer | Sequence[Layer] | None = None,
    reduce: Reduce = "mean",
    out: str | Path | None = None,
    trained_with: str | None = None,
    batch_size: int = 64,
    state_attr: int | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    acceleration: Mode | None = None,
) -> Embeddings:
    """Embed crystals.

    Layer 0 is the embedding before any message passing. In M3GNet layer k sees k cutoffs; in MEGNet the state mixes the
    whole cell from layer 2 on. A crystal's vector at a layer is the mean over its atoms, or their sum.

    Args:
        model: A MatGL model (not changed), a model or run directory, a shipped encoder's name (``list_models``), a hub
            name, or an architecture's name (random weights).
        data: Crystals: pymatgen structures, ASE atoms, a path (see ``read_crystals``). Bad ones are left out.
        level: A vector a crystal, or one an atom.
        layer: Layer 0 to the number of blocks, ``"readout"`` for the vector that the model's readout makes of a
            crystal, or several of them, which are concatenated. By default the last layer, and with it, for crystals,
            the readout's vector if it was trained (by fine-tuning, or in pretraining, as recipe ``textbook`` does).
        reduce: ``"mean"`` over the atoms of a crystal, or ``"sum"``, which grows with the cell (as Kong et al. have it,
            arXiv 2211.03563). The readout's vector is what it is.
        out: Parquet file to be written (``material_id``; at atom level ``atom`` and ``number``; ``embedding``),
            with what was left out beside it in ``<out>.skipped.json``. The vectors are then not returned: memory
            does not grow with the data.
        trained_with: ``"pyg"`` or ``"dgl"``, for a model without a matgl_ssl stamp.
        batch_size: Largest number of crystals in a batch; batches with unusually large crystals are smaller.
        state_attr: The state label of all crystals, for models that take one.
        accelerator: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps`` (see ``matgl_ssl.devices``). An instance stays
            where it lies.
        devices: ``1``, or the name of a device (``"cuda:1"``).
        acceleration: ``"native"``, ``"torch"`` or ``"off"`` (see ``accelerate``).

    Raises:
        ConfigError: If an option has a wrong value, there is no such device, or the file exists.
        ModelError: If the model cannot be loaded, or its readout makes no crystal vector.
        BackendError: If it belongs to the other graph library.
        DataError: If nothing is left of the data.
    """
    check_batch_size(batch_size)
    use(acceleration)
    check_choices(level, reduce)
    target = None if out is None else _unused(Path(out))
    device = inference_device(model, accelerator, devices)
    loaded, stamp = load_with_stamp(
        model, trained_with=trained_with, prefer=("encoder", "potential", "model"), device=device
    )
    encoder = Encoder(loaded)
    layers = chosen_layers(encoder, stamp, layer, level)
    state = state_labels(encoder.model, state_attr, 1)
    crystals, skipped = check_dataset(
        read_crystals(data, columns=[]), element_types=encoder.element_types, cutoff=encoder.cutoff
    )
    skipped.tell("Embeddings.skipped" if target is None else _report_of(target))
    warn_of_elements(stamp, crystals)
    with evaluating(encoder):
        parts = encode(encoder, crystals, layers, level, reduce, state, batch_size)
        if target is None:
            return _gather(parts, level, Embeddings(layers, skipped, 0, 0))
        about = json.dumps({"model": str(model), "level": level, "layers": layers, "reduce": reduce})
        with atomic_path(target) as temporary:
            n_vectors, dim = _write(temporary, (_table(*part, level=level, about=about) for part in parts))
            skipped.write(_report_of(target))  # before the vectors get their name, which says that all is done
    return Embeddings(layers, skipped, n_vectors, dim, out=target)


def _unused(output: Path) -> Path:
    if output.suffix.lower() not in (".parquet", ".pq"):
        raise ConfigError(
            f"--out (out=) {output}: embeddings are written as Parquet. Call it {output.with_suffix('.parquet').name}; "
            "pandas.read_parquet reads it."
        )
    if output.exists():
        raise ConfigError(f"{output} exists and is not overwritten. Remove it, or give another --out (out=).")
    return output


def _report_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.skipped.json")


def check_choices(level: str, reduce: str) -> None:
    """Refuse what is neither.

    Raises:
        ConfigError: Naming what there is.
    """
    if level not in get_args(Level):
        raise ConfigError(f"--level (level=) is crystal or atom, not {level!r}.")
    if reduce not in get_args(Reduce):
        raise ConfigError(f"--reduce (reduce=) is mean or sum, not {reduce!r}.")


def chosen_layers(
    encoder: Encoder, stamp: Mapping[str, Any], layer: Layer | Sequence[Layer] | None, level: str
) -> tuple[Layer, ...]:
    """The layers asked for; for None the last layer, and the readout's vector of a crystal if it was trained.

    Raises:
        ConfigError: If there is no such layer, or not at this level.
        ModelError: If the readout is asked for and makes no vector.
    """
    makes_vector = encoder.architecture.readout_head(encoder.model) is not None
    if layer is None:
        with_readout = level == "crystal" and makes_vector and stamp.get("readout") in (VECTOR, OUTPUT, "trained")
        return (encoder.n_layers, "readout") if with_readout else (encoder.n_layers,)
    given = (layer,) if isinstance(layer, str) or np.ndim(layer) == 0 else tuple(cast("Sequence[Layer]", layer))
    layers: tuple[Any, ...] = tuple(int(each) if isinstance(each, Integral) else each for each in given)  # numpy's, too
    known = range(encoder.n_layers + 1)
    for wanted in layers or ("nothing",):
        if wanted != "readout" and not (isinstance(wanted, int) and wanted in known):
            raise ConfigError(f"No layer {wanted!r}: --layer (layer=) takes {', '.join(map(str, known))} or readout.")
    if "readout" in layers:
        if level == "atom":
            raise ConfigError("The readout makes a vector of a crystal, not of an atom: use --level crystal with it.")
        if not makes_vector:
            raise ModelError(
                "This model's output is a sum over atoms: its readout makes no vector of a crystal. "
                f"Use --layer {encoder.n_layers}, the mean over atoms."
            )
    return layers


def encode(
    encoder: Encoder,
    crystals: CrystalDataset,
    layers: Sequence[Layer],
    level: str,
    reduce: str,
    state: Tensor | None,
    batch_size: int,
) -> Iterator[tuple[list[Crystal], np.ndarray]]:
    """Crystals and their vectors, or those of their atoms, ``(n, d)`` float32, batch by batch."""
    build = encoder.graph_builder()
    batches = consecutive_batches(crystals, batch_size, encoder.cutoff)
    for batch in track(batches, "computing vectors", len(crystals), len):
        rows = crystals.rows(batch)
        yield rows, _vectors(encoder, [build(crystal) for crystal in rows], layers, level, reduce, state)


@torch.no_grad()
def _vectors(
    encoder: Encoder, graphs: list[Any], layers: Sequence[Layer], level: str, reduce: str, state: Tensor | None
) -> np.ndarray:
    batch = collate(graphs).to(encoder.mask_token.device)
    features = encoder(batch, state=None if state is None else state.expand(len(batch)))

    def of(layer: Layer) -> Tensor:
        if not isinstance(layer, int):
            assert features.readout is not None  # noqa: S101 - chosen_layers saw to it
            return features.readout
        node = features.node[layer]
        if level == "atom":
            return node
        mean = batch.mean_over_atoms(node)
        return mean if reduce == "mean" else mean * batch.n_atoms.to(mean)[:, None]

    return torch.cat([of(layer) for layer in layers], dim=1).float().cpu().numpy()


def _atoms(rows: list[Crystal]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crystal, position in it, and atomic number of each atom."""
    sizes = [len(crystal) for crystal in rows]
    which = np.repeat(np.arange(len(rows)), sizes)
    position = np.concatenate([np.arange(size) for size in sizes])
    return which, position, np.concatenate([crystal.numbers for crystal in rows])


def _gather(parts: Iterator[tuple[list[Crystal], np.ndarray]], level: str, empty: Embeddings) -> Embeddings:
    rows: list[Crystal] = []
    blocks: list[np.ndarray] = []
    for crystals, vectors in parts:
        rows += crystals
        blocks.append(vectors)
    joined = np.concatenate(blocks)
    result = replace(
        empty, ids=tuple(crystal.id for crystal in rows), vectors=joined, n_vectors=len(joined), dim=joined.shape[1]
    )
    if level == "crystal":
        return result
    which, position, numbers = _atoms(rows)
    return replace(result, crystal_index=which, atom_index=position, numbers=numbers)


def _table(rows: list[Crystal], vectors: np.ndarray, *, level: str, about: str) -> pa.Table:
    ids = np.array([crystal.id for crystal in rows], dtype=object)
    columns: dict[str, pa.Array] = {}
    if level == "atom":
        which, position, numbers = _atoms(rows)
        ids = ids[which]
        columns = {"atom": pa.array(position, pa.int32()), "number": pa.array(numbers, pa.int16())}
    flat = pa.array(np.ascontiguousarray(vectors).ravel(), pa.float32())
    embedding = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    table = pa.table({"material_id": pa.array(ids, pa.string()), **columns, "embedding": embedding})
    return table.replace_schema_metadata({"matgl_ssl": about})


def _write(path: Path, tables: Iterator[pa.Table]) -> tuple[int, int]:
    """Write tables as they come, in row groups of a reasonable size. Returns the number of vectors and their length."""
    first = next(tables)
    n_vectors = 0
    options: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
    with pq.ParquetWriter(path, first.schema, **options) as writer:
        pending = [first]
        for table in tables:
            if sum(map(len, pending)) >= _ROWS_PER_GROUP:
                writer.write_table(pa.concat_tables(pending))
                n_vectors += sum(map(len, pending))
                pending = []
            pending.append(table)
        writer.write_table(pa.concat_tables(pending))
        n_vectors += sum(map(len, pending))
    return n_vectors, first.schema.field("embedding").type.list_size
