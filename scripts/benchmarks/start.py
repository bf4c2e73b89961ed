"""Measures the start of a program: bare, through a wrapper, and through a wrapper like Tykky's.

Tykky's manual documents the steps of its wrappers.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

from .common import CONDENSE, PARTS, WORK, note, run, table

ACCOUNT = "condense-test"
AT_ONCE = 64

# Steps of Tykky's wrappers of a conda environment, written anew: find the wrapper's own path, put
# the binds together in bash, start the container, and inside it run conda for its hook and for the
# activation. CONDENSE_BENCH_CONDA names a conda for these two runs. Without it each of them is a
# start of a bare Python, and the result is less than the cost of Tykky.
CONDA = os.environ.get("CONDENSE_BENCH_CONDA")
ACTIVATION = (
    f'eval \\"\\$({CONDA} shell.bash hook)\\" && conda activate @ENV@ &>/dev/null'
    if CONDA
    else r"""eval \"\$(@ENV@/bin/python -c 'print(\":\")')\" """
    r"""&& eval \"\$(@ENV@/bin/python -c 'print(\":\")')\" &>/dev/null"""
)
SHAPE = r"""#!/bin/bash
OLD_PATH=$PATH
export PATH=/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/bin
SOURCE=${BASH_SOURCE[0]}
while [ -h "$SOURCE" ]; do
    DIR=$(cd -P "$(dirname "$SOURCE")" && pwd)
    SOURCE=$(readlink "$SOURCE")
    [[ $SOURCE != /* ]] && SOURCE=$DIR/$SOURCE
done
DIR=$(cd -P "$(dirname "$SOURCE")" && pwd)
ROOT=$DIR/..
BINDS=
for d in $(ls -1 / | awk '!/dev/' | sed 's/^/\//'); do
    if [[ -d $d && -r $d ]]; then BINDS=$BINDS,$d; fi
done
export SINGULARITY_BIND="${BINDS#,},$ROOT/img.sqfs:@MOUNT@:image-src=/"
export SINGULARITYENV_PATH=$(echo "@ENV@/bin:$OLD_PATH" | tr ':' '\n' | awk NF | tr '\n' ':')
ARGUMENTS=$(printf '%q ' "$@")
singularity --silent exec "$ROOT/container.sif" bash -c "
    @ACTIVATION@ &&
    exec @ENV@/bin/python $ARGUMENTS"
"""


def start(rounds):
    # A directory that another account can enter as well.
    place = pathlib.Path(tempfile.mkdtemp(prefix="condense-start-", dir="/tmp"))
    try:
        place.chmod(0o755)
        measure(place, rounds)
    finally:
        shutil.rmtree(place)


def measure(place, rounds):
    ours = place / "ours"
    run(
        [
            CONDENSE,
            "conda-containerize",
            "new",
            "--copy-base",
            "--prefix",
            ours,
            "--base-image",
            PARTS / "base.sif",
            WORK / "env.yml",
        ]
    )
    explain = subprocess.run(
        [ours / "bin/_debug_exec", "--explain", "/bin/true"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    line = next(line for line in explain.splitlines() if " exec " in line)
    mounted = subprocess.run(
        [CONDENSE, "info", "--json", ours], capture_output=True, text=True, check=True
    ).stdout
    mounted = json.loads(mounted)["receipt"]["mount_point"]
    env = (ours / "_bin/python").readlink().parent.parent
    shape = place / "shape"
    (shape / "bin").mkdir(parents=True)
    for name in ("img.sqfs", "container.sif"):
        os.symlink((ours / name).resolve(), shape / name)
    wrapper = shape / "bin/python"
    wrapper.write_text(
        SHAPE.replace("@ACTIVATION@", ACTIVATION)
        .replace("@MOUNT@", mounted)
        .replace("@ENV@", str(env))
    )
    wrapper.chmod(0o755)
    python = line.removesuffix("/bin/true") + f"{env}/bin/python -c pass"
    for account, before in (
        ("root", []),
        (
            "an ordinary user",
            ["setpriv", "--reuid", ACCOUNT, "--regid", ACCOUNT, "--init-groups", "--reset-env"],
        ),
    ):
        ways = {
            "bare exec with the same binds": [*before, "/bin/sh", "-c", f"cd / && exec {python}"],
            "through our wrapper": [*before, ours / "bin/python", "-c", "pass"],
            f"through a wrapper of Tykky's shape{', with conda' if CONDA else ''}": [
                *before,
                wrapper,
                "-c",
                "pass",
            ],
        }
        wall, cpu = {way: [] for way in ways}, {way: [] for way in ways}
        for turn in range(rounds + 1):
            for way, words in ways.items():
                figures = run(words, cwd="/")
                if turn:
                    wall[way].append(figures[0] * 1000)
                    cpu[way].append(figures[1] * 1000)
        for what, figures in (("wall", wall), ("CPU", cpu)):
            table(f"`python -c pass` as {account}, {what} time", figures, "ms")
            bare, mine, shaped = (statistics.median(values) for values in figures.values())
            note(
                f"ours adds {mine - bare:.1f} ms, Tykky's shape {shaped - bare:.1f} ms:"
                f" {shaped / mine:.1f} times as much in all",
                ours=mine - bare,
                shape=shaped - bare,
            )
        began = time.perf_counter()
        children = [
            subprocess.Popen([*before, str(ours / "bin/python"), "-c", "pass"], cwd="/")
            for _ in range(AT_ONCE)
        ]
        failed = sum(child.wait() != 0 for child in children)
        note(
            f"{AT_ONCE} at once as {account}: {failed} failed, {time.perf_counter() - began:.1f} s",
            failed=failed,
        )
