"""Measures starts at scale: many ranks of one node, and many nodes of a slow file system."""

import os
import pathlib
import shutil
import statistics
import sys
import tempfile

from ..common import RECORD
from . import nodes
from .counts import cluster, from_one_parent
from .measure import clean_memory
from .peers import IMPORTS, TYKKY, Images

HERE = pathlib.Path(__file__).resolve().parent
# Ranks of which one round has to do; their counts repeat closely.
MANY = 64
OF_NODE = {
    "seconds": ("s", 2),
    "ratio": ("ratio", 2),
    "mounts": ("mounts", 0),
    "squashfuse": ("squashfuse", 0),
    "loops": ("loops", 0),
    "requests": ("reads", 0),
    "mb": ("MB read", 1),
    "cache": ("MB cache", 0),
    "cpu": ("CPU s", 2),
}
OF_NODES = {
    "seconds": ("s", 2),
    "ratio": ("ratio", 2),
    "requests": ("reads", 0),
    "metadata": ("other", 0),
    "mb": ("MB read", 1),
    "pieces": ("1 MiB", 0),
    "jumps": ("jumps", 0),
    "cpu": ("CPU s", 2),
}


def say(text):
    print(f"scale: {text}", file=sys.stderr, flush=True)


def print_table(title, columns, peers, found):
    """Prints medians of the rounds with ratios to Tykky's shape, and records every figure."""
    print(f"\n{title}")
    print(f"  {'':<36}" + "".join(f"{heading:>11}" for heading, _ in columns.values()))
    rows, usual = [], None
    for peer in peers:
        rounds = found.get(peer.name)
        if not rounds:
            print(f"  {peer.name:<36} not measured: {peer.lacks}")
            rows.append({"name": peer.name, "lacks": peer.lacks})
            continue
        medians = {
            name: statistics.median(values[name] for values in rounds)
            for name in rounds[0]
            if name != "error"
        }
        failed = any(values["failed"] for values in rounds)
        if peer.name == TYKKY and not failed:
            usual = medians["seconds"]
        medians["ratio"] = usual / medians["seconds"] if usual and not failed else None
        rows.append({"name": peer.name, "medians": medians, "rounds": rounds})
        cells = [
            f"{'-' if medians[name] is None else format(medians[name], f'.{digits}f'):>11}"
            for name, (_, digits) in columns.items()
        ]
        print(f"  {peer.name:<36}" + "".join(cells), flush=True)
        for name, text in (("failed", "ranks failed"), ("left", "processes stayed")):
            most = max(values[name] for values in rounds)
            if most:
                error = next((values["error"] for values in rounds if values["error"]), "")
                print(f"    {most} {text}{': ' if error else ''}{error}", flush=True)
    RECORD.append({"title": title, "columns": list(columns), "rows": rows})


def measured(title, columns, peers, rounds, measure):
    """Measures all peers in turn, round by round."""
    found = {}
    for turn in range(rounds):
        for peer in peers:
            if not peer.lacks:
                say(f"{title}: {peer.name} ({turn + 1} of {rounds})")
                found.setdefault(peer.name, []).append(measure(peer))
    print_table(title, columns, peers, found)


def warm(place):
    """Reads all images once, so that the counts of caches are those of mounts only."""
    for path in sorted((place / "shared").rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                while file.read(1 << 20):
                    pass


def need(*programs):
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    for program in programs:
        if not shutil.which(program, path=path):
            sys.exit(f"bench: scale needs {program}: run scripts/setup-tests")


def scale(rounds, is_quick):
    need("mksquashfs", "setpriv", "unshare", "slurmctld", "slurmd", "srun", "ss")
    place = pathlib.Path(tempfile.mkdtemp(prefix="condense-scale-", dir="/tmp"))
    try:
        place.chmod(0o755)
        for name in ("open", "open/mpl"):
            (place / name).mkdir()
            (place / name).chmod(0o1777)
        (place / "shared").mkdir()
        for name in ("ranks.py", "workload.py"):
            shutil.copyfile(HERE / name, place / name)
        say("building slow-fs and the images")
        nodes.build()
        peers = Images(place).peers()
        warm(place)
        print(f"\n`{IMPORTS}` of an ordinary user; `ratio` is the time of a {TYKKY} to the row's")
        of_one_node(place, peers, rounds, is_quick)
        of_slow_nodes(place, peers, rounds, is_quick)
    finally:
        clean_memory()
        shutil.rmtree(place, ignore_errors=True)


def ranks_of(count):
    return "1 rank" if count == 1 else f"{count} ranks"


def of_one_node(place, peers, rounds, is_quick):
    for ranks in (1, 8) if is_quick else (1, 8, 64):
        measured(
            f"{ranks_of(ranks)} from one parent",
            OF_NODE,
            peers,
            rounds if ranks < MANY else 1,
            lambda peer, ranks=ranks: from_one_parent(place, peer, ranks),
        )
    with cluster(place) as slurm:
        for count, ranks in ((4, 2),) if is_quick else ((1, 1), (1, 8), (1, 64), (4, 8)):
            where = "1 node of Slurm" if count == 1 else f"{count} nodes of Slurm, together"
            measured(
                f"{ranks_of(ranks)} on {'' if count == 1 else 'each of '}{where}",
                OF_NODE,
                peers,
                rounds if count * ranks < MANY else 1,
                lambda peer, count=count, ranks=ranks: slurm.measure(peer, count, ranks),
            )


def of_slow_nodes(place, peers, rounds, is_quick):
    limits = [(5, 1000)] if is_quick else [(0, 0), (1, 1000), (1, 100), (5, 1000), (5, 100)]
    for count, ranks in ((4, 1),) if is_quick else ((4, 2), (16, 1)):
        for latency, bandwidth in limits:
            limit = f"{latency} ms and {bandwidth} MB/s" if bandwidth else "no limits"
            measured(
                f"slow files ({limit}), {ranks_of(ranks)} on each of {count} nodes, together",
                OF_NODES,
                peers,
                rounds,
                lambda peer, words=(count, ranks, latency, bandwidth): nodes.measure(
                    place, peer, *words
                ),
            )
