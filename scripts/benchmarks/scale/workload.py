"""Program of each rank: imports, says when it was done, and stays until all are counted.

It runs under the environment's Python. CONDENSE_BENCH_PROFILE names a file for the paths that the
imports have loaded, in their order.
"""

import os
import sys
import time

import matplotlib.pyplot  # noqa: F401
import numpy  # noqa: F401
import pandas  # noqa: F401


def loaded():
    with open("/proc/self/maps") as maps:
        libraries = [line.split(None, 5)[5].strip() for line in maps if "/" in line]
    paths = [os.path.realpath(sys.executable)]
    # The table lists what was mapped last first.
    paths += [path for path in reversed(libraries) if ".cpython-" not in path]
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        paths += [getattr(spec, "cached", None), getattr(spec, "origin", None)]
    found = [path for path in dict.fromkeys(paths) if path and os.path.isfile(path)]
    # Sources are not read where there is byte code.
    return [path for path in found if not path.endswith(".py")]


if "CONDENSE_BENCH_PROFILE" in os.environ:
    with open(os.environ["CONDENSE_BENCH_PROFILE"], "w") as profile:
        profile.write("".join(f"{path}\n" for path in loaded()))
else:
    meeting = os.environ["CONDENSE_BENCH_MEETING"]
    rank = os.environ.get("CONDENSE_BENCH_RANK") or os.environ["SLURM_PROCID"]
    # Renamed, so that nobody reads a half-written time.
    with open(f"{meeting}/{rank}.writing", "w") as file:
        file.write(repr(time.time()))
    os.rename(f"{meeting}/{rank}.writing", f"{meeting}/{rank}.ready")
    while not os.path.exists(f"{meeting}/end"):
        time.sleep(0.2)
