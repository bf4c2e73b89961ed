"""Nodes with a slow file system, each a name space of mounts on this machine."""

import contextlib
import json
import subprocess

from ..common import ROOT, run
from .group import Group
from .measure import Meeting, popen, stop
from .peers import as_user

CRATE = ROOT / "scripts/slow-fs"
TARGET = ROOT / "target/slow-fs"
SERVER = TARGET / "debug/slow-fs"
AT_ONCE = 16

# Gives a node /tmp and /dev/shm of its own, in memory, and the shared directory through its mount.
NODE = """
set -e
place=$1 node=$2 memory=$1/nodes/$2/memory; shift 2
mount -t tmpfs -o mode=1777 tmpfs "$memory"
mkdir "$memory/${place##*/}"
mount --rbind "$place" "$memory/${place##*/}"
mount --rbind "$memory" /tmp
mount --bind "$place/nodes/$node/mount" "$place/shared"
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
hostname "$node"
exec "$@"
"""


def build():
    run(
        [
            *("cargo", "build", "--quiet", "--locked", "--manifest-path", CRATE / "Cargo.toml"),
            *("--target-dir", TARGET),
        ]
    )


@contextlib.contextmanager
def served(place, nodes, latency, bandwidth):
    """Serves the shared directory to the nodes, and yields a dictionary for the counts."""
    points = []
    for node in nodes:
        for name in ("mount", "memory"):
            (place / "nodes" / node / name).mkdir(parents=True, exist_ok=True)
        points.append(place / "nodes" / node / "mount")
    words = [SERVER, "--latency", latency, "--at-once", AT_ONCE]
    words += ["--bandwidth", bandwidth] if bandwidth else []
    server = subprocess.Popen(
        [str(word) for word in [*words, place / "shared", *points]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    counts = {}
    try:
        if "ready" not in (server.stdout.readline() or ""):
            raise SystemExit("slow-fs did not start")
        yield counts
    finally:
        said = stop(server).strip()
        if said:
            counts |= json.loads(said.splitlines()[-1])


def measure(place, peer, how_many, ranks, latency, bandwidth):
    """Starts `ranks` ranks on each node, as one job step would, and returns the counts."""
    nodes = [f"node{number:02}" for number in range(1, how_many + 1)]
    meeting = Meeting(place, how_many * ranks)
    step = {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": how_many * ranks,
        "SLURM_STEP_NUM_TASKS": how_many * ranks,
        "SLURM_NNODES": how_many,
        "SLURM_STEP_NUM_NODES": how_many,
        "SLURM_TASKS_PER_NODE": f"{ranks}(x{how_many})",
        "SLURM_STEP_TASKS_PER_NODE": f"{ranks}(x{how_many})",
    }
    with served(place, nodes, latency, bandwidth) as counts, Group("nodes") as group:
        parents = []
        for number, node in enumerate(nodes):
            names = step | {"SLURM_NODEID": number, "SLURMD_NODENAME": node}
            parents.append(
                popen(
                    [
                        *("unshare", "--mount", "--uts", "--propagation", "private"),
                        *("sh", "-c", NODE, "node", place, node),
                        *as_user("env", *meeting.variables(peer)),
                        *(f"{name}={value}" for name, value in names.items()),
                        *("/usr/bin/python3", place / "ranks.py", meeting.place),
                        *(number * ranks, ranks, "sh", "-c", peer.line),
                    ],
                    group,
                )
            )
        meeting.start()
        meeting.wait(parents)
        found = meeting.result() | {"cpu": group.cpu()}
        found["left"] = meeting.end(parents, group)
    return found | {
        "requests": counts["requests"],
        "metadata": counts["metadata"],
        "mb": counts["bytes"] / 1e6,
        "pieces": counts["pieces"],
        "jumps": counts["jumps"],
    }
