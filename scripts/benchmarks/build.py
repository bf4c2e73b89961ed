"""Measures a whole build against the chain of programs that it replaces."""

import os
import shutil
import statistics
import subprocess

from .common import AT_EXIT, CHAIN, CONDENSE, PARTS, SPECS, WORK, note, run, squash, table, venv

# Options of condense and of mksquashfs for each codec.
CODECS = {"zstd": ("zstd:3", ["zstd", "-Xcompression-level", "3"]), "gzip": ("gzip:6", ["gzip"])}
ARCHIVE, HOT = "condense, archives at hand", "condense, blocks at hand"
# The chain starts no program of the environment, so this is the same work.
NO_START = "condense, archives at hand, --no-warm"
COLD_CHAIN, WARM_CHAIN = "chain, from archives", "chain, packages unpacked before"


def build(rounds):
    """Measures five ways to one image, in turn, with the scratch directory of all in memory, as on
    a compute node, and then on the disk, as on most other machines. condense finds either archives
    alone, with and without the start that finds the hot files, or also the blocks and the start of
    an earlier build.

    Some file systems create files slowly for a minute after other files were deleted, and every
    round deletes the files of the round before. On the disk, deletions are therefore completed
    before a command is timed.
    """
    python = venv()
    (WORK / "chain.py").write_text(CHAIN)
    memory, disk = WORK / "memory", WORK / "disk"
    memory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6G", "tmpfs", memory], check=True)
    try:
        for codec in CODECS:
            build_in(memory, "scratch in memory", python, rounds, codec)
    finally:
        subprocess.run(["umount", memory], check=True)
    disk.mkdir(exist_ok=True)
    try:
        for codec in CODECS:
            build_in(disk, "scratch on disk", python, rounds, codec)
    finally:
        shutil.rmtree(disk)


def removed(*paths):
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
    os.sync()


def chain(place, python, cold, env, codec):
    prefix, cache, image = place / "chain", place / "rattler-cache", WORK / "chain.sqfs"
    removed(prefix, *([cache] if cold else []))
    image.unlink(missing_ok=True)
    return (
        run(
            [python, WORK / "chain.py", f"file://{PARTS}/channel-full", prefix, cache, *SPECS],
            AT_EXIT,
            env=env,
        ),
        run([prefix / "bin/python", "-m", "compileall", "-q", prefix / "lib/python3.11"], env=env),
        squash(prefix, image, CODECS[codec][1], env=env),
    )


def condense(place, env, codec, is_hot, *more):
    """Builds once. Without blocks at hand, those of this build are still written to the cache."""
    removed(WORK / "ours", *([] if is_hot else [WORK / "cache/blocks"]))
    words = [CONDENSE, "conda-containerize", "new", "--prefix", WORK / "ours"]
    words += ["--base-image", PARTS / "base.sif", "--compression", CODECS[codec][0], *more]
    with (WORK / "ours.log").open("w") as log:
        measured = run([*words, WORK / "env.yml"], env=env, stdout=log)
    said = (WORK / "ours.log").read_text().splitlines()
    return measured, [line for line in said if "Seconds: " in line or "earlier builds" in line]


def build_in(place, kind, python, rounds, codec):
    kind = f"{codec}, {kind}"
    env = {
        **os.environ,
        "CONDENSE_CACHE_DIR": str(WORK / "cache"),
        "CONDENSE_BLOCK_CACHE_SIZE": "5G",
        "TMPDIR": str(place),
    }
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    figures = {name: ([], [], []) for name in (ARCHIVE, NO_START, HOT, WARM_CHAIN, COLD_CHAIN)}
    steps = {name: [] for name in ("install", "compileall", "mksquashfs")}
    said = {}
    for turn in range(rounds + 1):
        no_start, said[NO_START] = condense(place, env, codec, False, "--no-warm")
        archive, said[ARCHIVE] = condense(place, env, codec, False)
        hot, said[HOT] = condense(place, env, codec, True)
        cold = chain(place, python, True, env, codec)
        warm = chain(place, python, False, env, codec)
        if turn == 0:
            continue  # this round fills the page cache
        for name, parts in zip(figures, ([archive], [no_start], [hot], warm, cold), strict=True):
            walls, cpus, peaks = zip(*parts, strict=True)
            for values, value in zip(
                figures[name], (sum(walls), sum(cpus), max(peaks)), strict=True
            ):
                values.append(value)
        for name, step in zip(steps, cold, strict=True):
            steps[name].append(step[0])
    for title, which, unit in (
        ("wall", 0, "s"),
        ("CPU", 1, "s"),
        ("peak memory of the largest process", 2, "MB"),
    ):
        table(
            f"whole build, {kind}, {title}",
            {name: values[which] for name, values in figures.items()},
            unit,
        )
    table(f"the chain's steps, from archives, {kind}", steps)
    for ours, theirs in (
        (ARCHIVE, COLD_CHAIN),
        (NO_START, COLD_CHAIN),
        (HOT, WARM_CHAIN),
        (HOT, COLD_CHAIN),
    ):
        wall = [statistics.median(figures[name][0]) for name in (ours, theirs)]
        ratio = wall[1] / wall[0]
        note(
            f"{ours}: {ratio:.2f} times as fast as {theirs}",
            **{f"{kind}: {ours} against {theirs}": ratio},
        )
    for name, lines in said.items():
        note(f"{name}, last round: {'; '.join(line.strip() for line in lines)}")
    prefix = place / "chain"
    files = sum(len(names) for _, _, names in os.walk(prefix))
    entries = list((WORK / "ours").rglob("*"))
    inodes = len({(stat.st_dev, stat.st_ino) for stat in (path.lstat() for path in entries)})
    note(
        f"files of the environment {files};"
        f" the installation has {len(entries)} entries with {inodes} inodes"
    )
    note(
        f"image {(WORK / 'ours/img.sqfs').stat().st_size / 1e6:.1f} MB,"
        f" chain's {(WORK / 'chain.sqfs').stat().st_size / 1e6:.1f} MB"
    )
