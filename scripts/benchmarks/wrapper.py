"""Measures the cost of a wrapper."""

import shutil
import statistics
import subprocess

from .common import CONDENSE, PARTS, WORK, note, run, table


def wrapper(rounds):
    place = WORK / "wrapper"
    if not (place / "bin/python").exists():
        run(
            [
                CONDENSE,
                "conda-containerize",
                "new",
                "--force",
                "--prefix",
                place,
                "--base-image",
                PARTS / "base.sif",
                WORK / "env.yml",
            ]
        )
    common = place / "common.sh"
    text = common.read_text()
    lines = [line for line in text.splitlines() if line.startswith("runtime=")]
    real = lines[0].split()[0].partition("=")[2]
    fake = WORK / "fake"
    shutil.rmtree(fake, ignore_errors=True)
    shutil.copytree(place, fake, symlinks=True)
    (fake / "common.sh").resolve().write_text(
        text.replace(f"runtime={real}", "runtime=/bin/true", 1)
    )
    alone, bare = [], []
    for _ in range(rounds):
        alone.append(run([fake / "bin/python", "-c", "pass"])[0] * 1000)
        bare.append(run(["/bin/true"])[0] * 1000)
    table(
        "wrapper with the runtime replaced by /bin/true",
        {"wrapper": alone, "/bin/true": bare},
        "ms",
    )
    note(f"the wrapper adds {statistics.median(alone) - statistics.median(bare):.2f} ms")
    trace = (
        subprocess.run(
            [
                "strace",
                "-f",
                "-c",
                "-e",
                "trace=clone,clone3,fork,vfork",
                fake / "bin/python",
                "-c",
                "pass",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if shutil.which("strace")
        else None
    )
    if trace:
        print("  " + (trace.stderr.strip().splitlines() or ["no fork"])[-1])
    explain = subprocess.run(
        [place / "bin/_debug_exec", "--explain", "/bin/true"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    print("  what runs:\n    " + "\n    ".join(explain.strip().splitlines()))
    line = next(line for line in explain.splitlines() if " exec " in line)
    through, direct = [], []
    for _ in range(max(5, rounds // 7)):
        through.append(run([place / "bin/_debug_exec", "/bin/true"])[0] * 1000)
        direct.append(run(["/bin/sh", "-c", f"cd / && exec {line}"])[0] * 1000)
    table(
        "through the wrapper, and a bare exec with the same binds",
        {"wrapper": through, "bare": direct},
        "ms",
    )
    note(f"the wrapper adds {statistics.median(through) - statistics.median(direct):.2f} ms")
