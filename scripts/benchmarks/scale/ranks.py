"""Starts the ranks of one node at once, and waits for them. Copied and run by measurements.

usage: ranks.py MEETING FIRST COUNT COMMAND [ARGUMENT]...
"""

import os
import pathlib
import subprocess
import sys
import time


def main():
    meeting, first, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    while not (meeting / "start").exists():
        time.sleep(0.005)
    children = []
    for local in range(count):
        names = {"CONDENSE_BENCH_RANK": str(first + local)}
        if "SLURM_JOB_ID" in os.environ:
            names |= {"SLURM_PROCID": str(first + local), "SLURM_LOCALID": str(local)}
        with open(meeting / f"{first + local}.errors", "wb") as errors:
            child = subprocess.Popen(
                sys.argv[4:],
                env=os.environ | names,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        children.append(child)
    statuses = [child.wait() for child in children]
    sys.exit(any(statuses))


if __name__ == "__main__":
    main()
