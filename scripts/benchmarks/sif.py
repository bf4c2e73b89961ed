"""Measures `cotainr build` against a copy of the base, and against the work by hand.

The work by hand is to unpack the base, to copy the environment in, and `apptainer build`.
"""

import os
import shutil
import statistics
import subprocess

from . import trees
from .common import CONDENSE, PARTS, SPECS, WORK, note, run, table


def sif(rounds):
    memory = WORK / "memory"
    memory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8G", "tmpfs", memory], check=True)
    try:
        for name, words in (("zstd", "-comp zstd -Xcompression-level 3"), ("gzip", "")):
            base = WORK / f"base-{name}.sif"
            if not base.exists():
                more = ["--mksquashfs-args", words] if words else []
                run(["apptainer", "-q", "build", "-F", *more, base, trees.base_root()])
            measure(name, base, words, memory, rounds)
    finally:
        subprocess.run(["umount", memory], check=True)


def by_hand(base, environment, out, words):
    """Makes a sandbox of the base, copies the environment in, and packs the sandbox."""
    root = WORK / "sandbox"
    run(["/bin/sh", "-c", f"chmod -R u+w '{root}' 2>/dev/null; rm -rf '{root}'"])
    out.unlink(missing_ok=True)
    seconds = run(["apptainer", "-q", "build", "-F", "--sandbox", root, base])[0]
    place = root / "opt/cotainr/conda/envs"
    place.mkdir(parents=True)
    seconds += run(["cp", "-a", environment, place / "conda_container_env"])[0]
    more = ["--mksquashfs-args", words] if words else []
    return seconds + run(["apptainer", "-q", "build", "-F", *more, out, root])[0]


def measure(name, base, words, memory, rounds):
    spec = WORK / "sif-env.yml"
    lines = "\n".join(f"  - {package}" for package in SPECS + trees.MORE)
    spec.write_text(f"channels: ['file://{PARTS}/channel-full']\ndependencies:\n{lines}\n")
    env = {**os.environ, "CONDENSE_CACHE_DIR": str(WORK / "cache"), "TMPDIR": str(memory)}
    environment, out = trees.middle(), WORK / "out.sif"
    figures = {
        way: []
        for way in (
            "cotainr build",
            "cp of the base",
            "the same environment packed alone",
            "cotainr build --copy of one that is there",
            "sandbox + cp + apptainer build",
        )
    }
    peaks = []
    for turn in range(rounds + 1):
        out.unlink(missing_ok=True)
        mine = run(
            [
                CONDENSE,
                "cotainr",
                "build",
                out,
                "--base-image",
                base,
                "--conda-env",
                spec,
                "--accept-licenses",
                "--yes",
            ],
            env=env,
        )
        size = out.stat().st_size
        copied = run(["cp", "--reflink=never", base, WORK / "copy.sif"])[0]
        (WORK / "copy.sif").unlink()
        shutil.rmtree(WORK / "alone", ignore_errors=True)
        alone = run(
            [
                CONDENSE,
                "conda-containerize",
                "new",
                "--prefix",
                WORK / "alone",
                "--base-image",
                base,
                spec,
            ],
            env=env,
        )[0]
        # The work by hand starts with a finished environment, so this command does the same work.
        out.unlink()
        copied_in = run(
            [
                CONDENSE,
                "cotainr",
                "build",
                out,
                "--base-image",
                base,
                "--yes",
                "--copy",
                f"{environment}:/opt/cotainr/conda/envs/conda_container_env",
            ],
            env=env,
        )[0]
        if turn == 0:
            continue  # this round fills the caches
        peaks.append(mine[2])
        hand = by_hand(base, environment, WORK / "hand.sif", words)
        for values, value in zip(
            figures.values(), (mine[0], copied, alone, copied_in, hand), strict=True
        ):
            values.append(value)
    table(
        f"{trees.described(environment)} into a {name} base of {base.stat().st_size / 1e6:.0f} MB",
        figures,
    )
    mine, copied, alone, copied_in, hand = (
        statistics.median(values) for values in figures.values()
    )
    note(
        f"{mine / (copied + alone):.2f} times copying and packing;"
        f" {hand / copied_in:.1f} times as fast as by hand,"
        f" {hand / mine:.1f} times with the making of the environment;"
        f" sizes {size / 1e6:.2f} and {(WORK / 'hand.sif').stat().st_size / 1e6:.2f} MB;"
        f" memory {max(peaks):.0f} MB",
        share=mine / (copied + alone),
        ratio=hand / copied_in,
        ratio_with_making=hand / mine,
        memory_mb=max(peaks),
    )
