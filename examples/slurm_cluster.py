"""Compute targets and benchmark cells on a Slurm cluster, whose nodes start and stop with the work.

    pip install 'matgl_ssl[cluster]' dask-jobqueue
    python examples/slurm_cluster.py pretrain --data corpus.parquet --recipe textbook --out runs/textbook
    python examples/slurm_cluster.py benchmark study.yaml --runs /shared/runs

Run it on the login node, or in a small job of its own. Every job is a Dask worker of one thread a process. Training
itself stays in this process: for that, ask Slurm for devices and give ``pretrain`` and ``finetune`` ``--devices``.
The cache of targets is written here; a benchmark's ``--runs`` must lie on a file system that all nodes see.
"""

from __future__ import annotations

import sys

from dask_jobqueue import SLURMCluster

from matgl_ssl.cli import main

if __name__ == "__main__":
    cluster = SLURMCluster(
        queue="cpu",
        walltime="04:00:00",
        cores=16,
        processes=16,
        memory="64GB",
        worker_extra_args=["--lifetime", "230m", "--lifetime-stagger", "5m"],  # leave before Slurm ends the job
    )
    cluster.adapt(maximum_jobs=8)
    with cluster:
        sys.exit(main([*sys.argv[1:], "--cluster", cluster.scheduler_address]))
