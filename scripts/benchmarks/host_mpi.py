"""Measures how much later a program starts with the host's MPI."""

import os
import pathlib
import shutil
import statistics

from .common import CONDENSE, PARTS, WORK, note, run, table

USER = "condense-bench"
LINKS = pathlib.Path("/tmp") / f"condense-mpi-{USER}"


def host_mpi(rounds):
    place = WORK / "host-mpi"
    tree = WORK / "host-mpi-tree"
    (tree / "bin").mkdir(parents=True, exist_ok=True)
    code = WORK / "host-mpi.c"
    code.write_text("#include <mpi.h>\nint main(void) { return MPI_Init(0, 0); }\n")
    run(["mpicc.mpich", "-o", tree / "bin/init", code])
    words = [CONDENSE, "wrap-install", "--force", "--prefix", place, "-w", "bin", "--mpi", "host"]
    run([*words, "--base-image", PARTS / "base.sif", tree])
    # The runtime is replaced, so that only the wrapper's own work is measured.
    common = (place / "common.sh").resolve()
    lines = common.read_text().splitlines()
    old = next(line.split()[0] for line in lines if line.startswith("runtime="))
    common.write_text(common.read_text().replace(old, "runtime=/bin/true", 1))
    rows = {"the image's MPI": [], "the host's MPI": [], "the first start with the host's MPI": []}
    library = PARTS / "mpi/wheel/libmpi.so.12"
    for _ in range(rounds):
        for name, source, is_first in (
            ("the image's MPI", "image", False),
            ("the first start with the host's MPI", "host", True),
            ("the host's MPI", "host", False),
        ):
            if is_first:
                shutil.rmtree(LINKS, ignore_errors=True)
            settings = {"CONDENSE_MPI": source, "CONDENSE_MPI_LIBRARY": str(library), "USER": USER}
            seconds = run([place / "bin/init"], env={**os.environ, **settings})[0]
            rows[name].append(seconds * 1000)
    shutil.rmtree(LINKS, ignore_errors=True)
    table("wrapper with the runtime replaced by /bin/true", rows, "ms")
    medians = {name: statistics.median(values) for name, values in rows.items()}
    added = medians["the host's MPI"] - medians["the image's MPI"]
    note(f"the host's MPI adds {added:.2f} ms")
