"""python -m levit_benchmarks.loadgen."""

import sys

from levit_benchmarks.loadgen.cli import main

if __name__ == "__main__":
    sys.exit(main())
