"""Paths, cost of a command, tables, and the JSON record, which all measurements use."""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PARTS = ROOT / "target/test-parts"
WORK = ROOT / "target/bench"
# CONDENSE_BENCH_PROGRAM names a program that is measured instead of building one.
GIVEN = os.environ.get("CONDENSE_BENCH_PROGRAM")
CONDENSE = pathlib.Path(GIVEN or ROOT / "target/release/condense")
EXAMPLES = ROOT / "target/release/examples"
PACK = EXAMPLES / "pack"
CACHE = (
    pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    / "condense-dev"
)
SPECS = ["python =3.11", "numpy <2", "scipy", "pandas", "matplotlib", "h5py"]
RESULTS = ROOT / "target/bench-results.json"

# Exit statuses that count as success: py-rattler's interpreter sometimes crashes at its exit, after
# its work is done.
AT_EXIT = (0, -11, -6)

CHAIN = """
import asyncio, sys
from rattler import Channel, MatchSpec, Platform, VirtualPackage, install, solve
async def main(channel, prefix, cache, *specs):
    records = await solve(
        [Channel(channel)], [MatchSpec(spec) for spec in specs],
        platforms=[Platform("linux-64"), Platform("noarch")],
        virtual_packages=[p.into_generic() for p in VirtualPackage.detect()])
    await install(records, target_prefix=prefix, cache_dir=cache, show_progress=False)
asyncio.run(main(*sys.argv[1:]))
"""


def run(words, accepted=(0,), **options):
    """Runs a command to its end.

    Returns the seconds of wall time and of CPU time, and the peak memory in MB of its largest
    process.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    options.setdefault("stdout", subprocess.DEVNULL)
    child = subprocess.Popen([str(word) for word in words], stderr=subprocess.PIPE, **options)
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if child.returncode not in accepted:
        sys.exit(
            f"{' '.join(map(str, words))} ended with {child.returncode}:\n"
            f"{errors.decode(errors='replace')}"
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, usage.ru_maxrss / 1024


RECORD = []


def table(title, rows, unit="s"):
    """Prints medians with their spread, and records every figure."""
    print(f"\n{title}")
    for name, values in rows.items():
        print(
            f"  {name:<44} {statistics.median(values):8.3f} {unit}"
            f"  (min {min(values):.3f}, max {max(values):.3f}, n {len(values)})",
            flush=True,
        )
    RECORD.append({"title": title, "unit": unit, "rows": rows})


def note(text, **figures):
    """Prints a line below the previous table, and records its figures."""
    print(f"  {text}", flush=True)
    if RECORD and figures:
        RECORD[-1].setdefault("figures", {}).update(figures)


def write_record():
    load = os.getloadavg()
    RESULTS.write_text(
        json.dumps({"cores": os.cpu_count(), "load": load, "measurements": RECORD}, indent=1) + "\n"
    )
    print(f"\nall figures: {RESULTS}")


def venv():
    """Returns the Python of a virtual environment with py-rattler, which uses the same crates."""
    place = CACHE / "bench-venv"
    if (
        not (place / "bin/python").exists()
        or subprocess.run(
            [place / "bin/python", "-c", "import rattler"], capture_output=True, check=False
        ).returncode
    ):
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", place], check=True)
        subprocess.run(
            [place / "bin/python", "-m", "pip", "install", "-q", "py-rattler"], check=True
        )
    return place / "bin/python"


def environment(place, specs=SPECS):
    """Makes a conda environment at `place` with py-rattler and compileall, and returns `place`."""
    if not place.exists():
        python = venv()
        (WORK / "chain.py").write_text(CHAIN)
        run(
            [
                python,
                WORK / "chain.py",
                f"file://{PARTS}/channel-full",
                place,
                WORK / "rattler-cache",
                *specs,
            ],
            AT_EXIT,
        )
        run([place / "bin/python", "-m", "compileall", "-q", place / "lib/python3.11"], (0, 1))
    return place


def squash(tree, image, words, **options):
    """Packs `tree` with mksquashfs and the options that are usual for an environment."""
    image.unlink(missing_ok=True)
    return run(
        [
            "mksquashfs",
            tree,
            image,
            "-comp",
            *words,
            "-all-root",
            "-no-xattrs",
            "-no-progress",
            "-quiet",
        ],
        **options,
    )


def ours(tree, image, *words):
    image.unlink(missing_ok=True)
    return run([PACK, tree, image, *words])
