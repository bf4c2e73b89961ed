"""Measures a whole build against the chain of programs that it replaces."""

import os
import shutil
import statistics
import subprocess

from .common import AT_EXIT, CHAIN, CONDENSE, PARTS, SPECS, WORK, note, run, table, venv


def build(rounds):
    """Measures three ways to one image, in turn, with the scratch directory of all three in memory,
    as on a compute node, and then on the disk, as on most other machines.

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
        build_in(memory, "scratch in memory", python, rounds)
    finally:
        subprocess.run(["umount", memory], check=True)
    disk.mkdir(exist_ok=True)
    try:
        build_in(disk, "scratch on disk", python, rounds)
    finally:
        shutil.rmtree(disk)


def removed(*paths):
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
    os.sync()


def chain(place, python, cold, env):
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
        run(
            [
                "mksquashfs",
                prefix,
                image,
                "-comp",
                "zstd",
                "-Xcompression-level",
                "3",
                "-all-root",
                "-no-xattrs",
                "-no-progress",
                "-quiet",
            ],
            env=env,
        ),
    )


def build_in(place, kind, python, rounds):
    env = {**os.environ, "CONDENSE_CACHE_DIR": str(WORK / "cache"), "TMPDIR": str(place)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    figures = {
        name: ([], [], [])
        for name in (
            "condense",
            "chain, packages unpacked before",
            "chain, from archives as condense",
        )
    }
    steps = {name: [] for name in ("install", "compileall", "mksquashfs")}
    stages = ""
    for turn in range(rounds + 1):
        removed(WORK / "ours")
        words = [
            CONDENSE,
            "conda-containerize",
            "new",
            "--prefix",
            WORK / "ours",
            "--base-image",
            PARTS / "base.sif",
            WORK / "env.yml",
        ]
        with (WORK / "ours.log").open("w") as log:
            ours = run(words, env=env, stdout=log)
        cold = chain(place, python, True, env)
        warm = chain(place, python, False, env)
        if turn == 0:
            continue  # this round fills the page cache
        for name, parts in zip(figures, ([ours], warm, cold), strict=True):
            walls, cpus, peaks = zip(*parts, strict=True)
            for values, value in zip(
                figures[name], (sum(walls), sum(cpus), max(peaks)), strict=True
            ):
                values.append(value)
        for name, step in zip(steps, cold, strict=True):
            steps[name].append(step[0])
        stages = next(
            line for line in (WORK / "ours.log").read_text().splitlines() if "Seconds: " in line
        )
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
    ours = statistics.median(figures["condense"][0])
    for name in list(figures)[1:]:
        ratio = statistics.median(figures[name][0]) / ours
        note(
            f"condense is {ratio:.2f} times as fast as: {name}",
            **{f"times as fast as {name}": ratio},
        )
    note(f"condense's last round: {stages.strip()}")
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
