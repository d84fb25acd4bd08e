"""How fast, how much memory, and against what: the measurements behind every statement about speed.

    MATGL_SSL_DATA=... python benchmarks/speed.py                  # every part, an hour or more
    MATGL_SSL_DATA=... python benchmarks/speed.py step pipeline    # these parts
    MATGL_SSL_DATA=... python benchmarks/speed.py --quick          # every line once, in minutes; numbers mean nothing

Each part writes ``results/speed/<part>.json`` row by row, with the machine described; an interrupted part goes on with
the next row, ``--again`` measures anew. What is compared is measured in turn in one run, and ratios are medians over
pairs, with quartiles. The crystals are 512 rows of ``mp37k/train.parquet`` of at most 20 atoms, drawn with seed 0
(``results/speed/crystals.txt``). The parts' files say what they measure.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from speed_parts.common import RESULTS, Settings

PARTS = {
    "step": "a training step against MatGL's own, and equality",
    "recipes": "each recipe's step against its encoder passes",
    "pipeline": "from the Parquet file to weights against MatGL's supervised loop",
    "sizes": "time and peak memory against cell size and batch",
    "rows": "peak memory of pretraining against the number of rows",
    "inference": "embedding, prediction and molecular dynamics, accelerated against plain",
    "copies": "what equal atoms and edges save",
    "tables": "all of it as tables",
}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="; ".join(f"{k}: {v}" for k, v in PARTS.items()))
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, into runs/speed-quick")
    parser.add_argument("--again", action="store_true", help="measure anew what has a row")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--results", type=Path, help="folder of the result files")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    results = arguments.results or (Path("runs/speed-quick") if arguments.quick else RESULTS)
    settings = Settings(results, arguments.quick, arguments.again, arguments.device)
    for part in arguments.parts or PARTS:
        import_module(f"speed_parts.{part}").run(settings)


if __name__ == "__main__":
    main()
