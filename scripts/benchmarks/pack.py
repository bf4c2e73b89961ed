"""Measures the packer against mksquashfs, tar2sqfs and conda-pack.

All of them pack the same tree with the same codec, level and block size, in turn. The packer itself
does not read back what it has written, and no other does; `condense image pack` does.
"""

import json
import os
import shutil
import statistics
import subprocess

from . import trees
from .common import CACHE, CONDENSE, EXAMPLES, WORK, note, ours, run, squash, table, venv

# condense's name of the codec, the options of mksquashfs and of tar2sqfs, and whether
# examples/limit can measure the codec's limit.
CODECS = {
    "zstd:3": (["zstd", "-Xcompression-level", "3"], ["-c", "zstd", "-X", "level=3"], True),
    "gzip:6": (["gzip"], ["-c", "gzip"], True),
    "lz4": (["lz4"], ["-c", "lz4"], False),
    "zstd:15": (["zstd"], ["-c", "zstd", "-X", "level=15"], False),
}
# Largest number of rounds of a row: a round of the slow codecs takes minutes.
ROUNDS = {"gzip:6": 5, "zstd:15": 1}
ROWS = [
    ("middle", "zstd:3"),
    ("large", "zstd:3"),
    ("small", "zstd:3"),
    ("middle", "gzip:6"),
    ("middle", "lz4"),
    ("middle", "zstd:15"),
]


def tar2sqfs(tree, image, words):
    image.unlink(missing_ok=True)
    return run(
        [
            "/bin/sh",
            "-c",
            'tree=$1 image=$2; shift 2; tar -C "$tree" -cf - . | tar2sqfs -q "$@" "$image"',
            "sh",
            tree,
            image,
            *words,
        ]
    )


def conda_pack(tree, image):
    image.unlink(missing_ok=True)
    program = CACHE / "bench-venv/bin/conda-pack"
    if not program.exists():
        run([venv(), "-m", "pip", "install", "-q", "conda-pack", "setuptools<81"])
    return run(
        [
            program,
            "-q",
            "-p",
            tree,
            "-o",
            image,
            "--format",
            "squashfs",
            "--compress-level",
            "3",
            "--ignore-missing-files",
            "--ignore-editable-packages",
        ]
    )


def read_back(tree, image, codec):
    image.unlink(missing_ok=True)
    return run([CONDENSE, "image", "pack", tree, image, "--compression", codec])


def limit(tree, codec):
    """Returns the least seconds that any packer needs on the cores of this machine."""
    words = [EXAMPLES / "limit", tree, WORK / "limit.out", codec]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return (found["read_seconds"] + found["codec_seconds"]) / os.cpu_count() + found[
        "write_seconds"
    ]


def pack(rounds):
    if not shutil.which("tar2sqfs"):
        subprocess.run(
            [trees.CONDENSE.parents[2] / "scripts/apt-need", "tar2sqfs=squashfs-tools-ng"],
            check=True,
        )
    lines = []
    for name, codec in ROWS:
        tree = getattr(trees, name)()
        lines.append(row(name, tree, codec, min(rounds, ROUNDS.get(codec, rounds))))
    print("\nmksquashfs = 1: how many times as fast, how large, and the share of the limit")
    print(
        f"  {'tree':<8} {'codec':<8} {'condense':>8} {'read back':>10} {'tar2sqfs':>9}"
        f" {'conda-pack':>11}"
        f" {'size':>7} {'limit':>6} {'memory':>14}"
    )
    for line in lines:
        print("  " + line)


def row(name, tree, codec, rounds):
    theirs, tar, has_limit = CODECS[codec]
    image = {
        who: WORK / f"{who}.sqfs"
        for who in ("condense", "image pack", "mksquashfs", "tar2sqfs", "conda-pack")
    }
    ways = {
        "condense": lambda: ours(tree, image["condense"], "--compression", codec),
        "image pack": lambda: read_back(tree, image["image pack"], codec),
        "mksquashfs": lambda: squash(tree, image["mksquashfs"], theirs),
        "tar2sqfs": lambda: tar2sqfs(tree, image["tar2sqfs"], tar),
    }
    if (tree / "conda-meta").exists() and codec == "zstd:3":
        ways["conda-pack"] = lambda: conda_pack(tree, image["conda-pack"])
    # Programs that only have to be slower take part in the first rounds only.
    few = {"tar2sqfs": 1 if codec in ROUNDS else 3, "conda-pack": 3}
    figures, limits = {who: [] for who in ways}, []
    subprocess.run(
        f"find '{tree}' -type f -print0 | xargs -0 cat > /dev/null", shell=True, check=True
    )
    for turn in range(rounds):
        for who, way in ways.items():
            if turn < few.get(who, rounds):
                figures[who].append(way())
        if has_limit:
            limits.append(limit(tree, codec))
    wall = {who: [figure[0] for figure in values] for who, values in figures.items()}
    if limits:
        wall["limit"] = limits
    table(f"pack {codec}, {name}: {trees.described(tree)}", wall)
    middle = {who: statistics.median(values) for who, values in wall.items()}
    sizes = {who: image[who].stat().st_size for who in ways}
    memory = {who: max(figure[2] for figure in values) for who, values in figures.items()}
    ratios = {who: middle["mksquashfs"] / value for who, value in middle.items()}
    note(
        "sizes "
        + ", ".join(f"{who} {size / 1e6:.2f} MB" for who, size in sizes.items())
        + "; memory "
        + ", ".join(f"{who} {value:.0f} MB" for who, value in memory.items()),
        ratios=ratios,
        sizes=sizes,
        memory_mb=memory,
        cpu={who: [figure[1] for figure in values] for who, values in figures.items()},
    )

    def shown(who):
        return f"{ratios[who]:.2f}" if who in ratios else "-"

    share = f"{100 * middle['limit'] / middle['condense']:.0f} %" if limits else "-"
    return (
        f"{name:<8} {codec:<8}"
        f" {shown('condense'):>8} {shown('image pack'):>10} {shown('tar2sqfs'):>9}"
        f" {shown('conda-pack'):>11}"
        f" {sizes['condense'] / sizes['mksquashfs']:>7.4f} {share:>6}"
        f" {memory['condense']:>5.0f} of {memory['mksquashfs']:>4.0f} MB"
    )
