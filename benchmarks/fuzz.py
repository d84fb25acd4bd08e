"""Readers under damaged and absurd files: 10,000 inputs, and what came of them.

    python benchmarks/fuzz.py                # about ten minutes
    python benchmarks/fuzz.py --n 1000

The inputs are those of ``tests/crystals/fuzzing.py``, drawn by hypothesis from numbered seeds. They are read in
processes with 20 seconds for an input and 1 GiB beside what the program itself takes. ``results/fuzz.json`` counts
crystals, typed errors, exceptions of other libraries, hangs and crashes, by layout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from crystals.fuzzing import MEMORY, SECONDS, outcomes

from matgl_ssl import __version__

RESULTS = Path(__file__).with_name("results") / "fuzz.json"


def main() -> None:
    """Read, count, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000)
    n = parser.parse_args().n
    folder = Path(tempfile.mkdtemp(prefix="matgl_ssl-fuzz-"))
    found = outcomes(n, folder, at_once=1000)
    names = sorted({row["name"] for row in found})
    table = {
        "version": __version__,
        "inputs": len(found),
        "seeds": max(row["seed"] for row in found),
        "seconds_for_an_input": SECONDS,
        "bytes_beside_the_program": MEMORY,
        "came": Counter(row["came"] for row in found),
        "by_layout": {name: Counter(row["came"] for row in found if row["name"] == name) for name in names},
        "errors": Counter(row["text"].partition(":")[0] for row in found if row["came"] == "typed"),
        "others": [row for row in found if row["came"] not in ("result", "typed")],
    }
    RESULTS.write_text(json.dumps(table, indent=1) + "\n")
    print(json.dumps({k: table[k] for k in ("inputs", "came", "others")}, indent=1))
    print(f"Inputs of which something foreign came are in {folder}.")


if __name__ == "__main__":
    main()
