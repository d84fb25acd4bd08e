"""The parts of ``benchmarks/speed.py``, one a file; each measures its cases one by one into its own result file."""
