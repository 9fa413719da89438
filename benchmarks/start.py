"""What starting the program costs: ``python -m benchmarks.start [--rounds 7]``.

CPU seconds of user and system together, the least of the rounds, in which the programs take turns;
beside them an empty Python, which is none of ours. Byte code is kept, as pip leaves it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys

PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "import em_impute": ["-c", "import em_impute"],
    "from em_impute import EMImputer": ["-c", "from em_impute import EMImputer"],
    "em-impute --version": ["-m", "em_impute", "--version"],
    "em-impute --help": ["-m", "em_impute", "--help"],
    "em-impute run --help": ["-m", "em_impute", "run", "--help"],
}


def cpu_seconds(arguments: list[str]) -> float:
    """What a program costs from its start to its end."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *arguments]
    subprocess.run(command, env=kept, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the least CPU seconds of each program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for arguments in PROGRAMS.values():
        cpu_seconds(arguments)  # leaves byte code
    seen = [[cpu_seconds(a) for a in PROGRAMS.values()] for _ in range(rounds)]
    for name, seconds in zip(PROGRAMS, map(min, zip(*seen, strict=True)), strict=True):
        print(f"{name:<32} {seconds:5.2f} s")


if __name__ == "__main__":
    main()
