"""Counts of the ranks of one node, started by one parent or by Slurm."""

import contextlib
import subprocess

from ..common import ROOT
from ..start import ACCOUNT
from .group import Group
from .measure import Meeting, counted, loop_devices, popen
from .peers import as_user

CLUSTER = ROOT / "scripts/slurm-cluster"


def look(meeting, parents, group, before, kept=frozenset()):
    """Counts while all ranks wait, and lets them end."""
    meeting.wait(parents)
    found = meeting.result() | counted(group.processes() - kept)
    found |= {
        "loops": loop_devices(meeting.place.parents[1]),
        "cpu": group.cpu() - before["cpu"],
        "cache": group.cache() - before["cache"],
    }
    found["left"] = meeting.end(parents, group, kept)
    return found


def state(group):
    return {"cpu": group.cpu(), "cache": group.cache()}


def from_one_parent(place, peer, ranks):
    meeting = Meeting(place, ranks)
    with Group("ranks") as group:
        before = state(group)
        words = [
            *as_user("env", *meeting.variables(peer)),
            *("/usr/bin/python3", place / "ranks.py", meeting.place, 0, ranks),
            *("sh", "-c", peer.line),
        ]
        parent = popen(words, group)
        meeting.start()
        return look(meeting, [parent], group, before)


class Cluster:
    """Slurm's four nodes on this machine, started by the ordinary user."""

    def __init__(self, place, group, kept):
        self.place, self.group, self.kept = place, group, kept
        self.configuration = place / "open/slurm/slurm.conf"

    def measure(self, peer, nodes, ranks):
        """Starts `ranks` ranks on each of `nodes` nodes as one step, and counts them together."""
        meeting = Meeting(self.place, nodes * ranks)
        before = state(self.group)
        words = [
            *as_user("env", *meeting.variables(peer), f"SLURM_CONF={self.configuration}"),
            *("srun", "--quiet", "--overcommit", "--nodes", nodes),
            *("--ntasks", nodes * ranks, "--ntasks-per-node", ranks),
            *("--error", meeting.place / "%t.errors", "sh", "-c", peer.line),
        ]
        meeting.start()
        return look(meeting, [popen(words, self.group)], self.group, before, self.kept)


@contextlib.contextmanager
def cluster(place):
    """Starts Slurm in a control group of its own."""
    directory = place / "open/slurm"
    with Group("slurm") as group:
        try:
            started = subprocess.run(
                group.within(as_user(CLUSTER, "start", directory)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=False,
            )
            if started.returncode:
                raise SystemExit(f"{CLUSTER}: ended with {started.returncode} as {ACCOUNT}")
            yield Cluster(place, group, frozenset(group.processes()))
        finally:
            subprocess.run([CLUSTER, "stop", directory], check=False)
