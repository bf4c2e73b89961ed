"""Measures builds whose packages and blocks an earlier build has left in the cache.

There are three: a large environment, an environment that shares most packages with another one, and
an environment put into a base of 1 GB.
"""

import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from .common import CONDENSE, PARTS, ROOT, SPECS, WORK, note, run, table
from .definition import fill, make_base

sys.path.insert(0, str(ROOT / "scripts/channel"))

import index
from package import write_package

# Sizes in MB: with SPECS, the large environment has 1.6 GB, and the base has 1 GB with the rest.
FILLING, BASE_FILLING = 1150, 950
# Packages of two environments that share the rest of their packages.
ONE, OTHER = ["sympy", "networkx", "pytest"], ["flask", "rich", "tqdm"]
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def hot(rounds):
    channel = filling_channel()
    memory = WORK / "memory"
    memory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6G", "tmpfs", memory], check=True)
    try:
        with tempfile.TemporaryDirectory(prefix="condense-bench-", dir="/var/tmp") as name:
            disk = Path(name)
            for place, kind in ((memory, "memory"), (disk, "disk")):
                large(place, kind, channel, rounds)
            sharing(disk)
            base = make_base(disk, BASE_FILLING, 5)
            for place, kind in ((memory, "memory"), (disk, "disk")):
                into_base(base, place, kind, rounds)
    finally:
        subprocess.run(["umount", memory], check=True)


def filling_channel():
    """Makes a channel with one package whose files a codec about halves."""
    channel = WORK / "filling-channel"
    if not channel.exists():
        # A process of its own: the memory of this one would count for the programs that it starts.
        making = multiprocessing.Process(target=make_channel, args=(channel,))
        making.start()
        making.join()
    return channel


def make_channel(channel):
    stage, making = WORK / "filling", WORK / "filling-channel.making"
    for path in (stage, making):
        shutil.rmtree(path, ignore_errors=True)
    folder = stage / "share/filling"
    folder.mkdir(parents=True)
    for number in range(FILLING):
        fill(folder / f"{number}.bin", 1, number)
    facts = {"name": "filling", "version": "1.0", "build": "0", "subdir": "noarch"}
    index.write(making, [write_package(stage, facts, making)])
    shutil.rmtree(stage)
    making.rename(channel)


def environment(name, specs, *channels):
    places = ", ".join(f"'file://{place}'" for place in (PARTS / "channel-full", *channels))
    lines = "\n".join(f"  - {spec}" for spec in specs)
    path = WORK / f"{name}.yml"
    path.write_text(f"channels: [{places}]\ndependencies:\n{lines}\n")
    return path


def settings(place):
    return {
        **os.environ,
        "CONDENSE_CACHE_DIR": str(WORK / "hot-cache"),
        "CONDENSE_BLOCK_CACHE_SIZE": "8G",
        "TMPDIR": str(place),
    }


def install(spec, place):
    """Builds once. Returns the cost, and what the build has said."""
    shutil.rmtree(WORK / "hot", ignore_errors=True)
    os.sync()
    words = [CONDENSE, "conda-containerize", "new", "--prefix", WORK / "hot"]
    words += ["--base-image", PARTS / "base.sif", "--compression", "zstd:3", spec]
    with (WORK / "hot.log").open("w") as log:
        measured = run(words, env=settings(place), stdout=log)
    return measured, (WORK / "hot.log").read_text()


def large(place, kind, channel, rounds):
    spec = environment("large", [*SPECS, "filling"], channel)
    install(spec, place)
    figures, said = [], ""
    for _ in range(rounds):
        measured, said = install(spec, place)
        figures.append(measured)
    walls, _, peaks = zip(*figures, strict=True)
    table(f"hot build of 1.6 GB, scratch in {kind}", {"condense": walls})
    seconds = [line.strip() for line in said.splitlines() if "Seconds: " in line]
    note(f"memory {max(peaks):.0f} MB; last round: {'; '.join(seconds)}")


def sharing(place):
    shutil.rmtree(WORK / "hot-cache/blocks", ignore_errors=True)
    install(environment("one", SPECS + ONE), place)
    packages = records()
    said = install(environment("other", SPECS + OTHER), place)[1]
    shared = len(packages & records()) / len(records())
    found = re.search(r"of (\S+) (\S+) were compressed by earlier builds, (\S+) (\S+) by", said)
    every, anew = (float(found[at]) * UNITS[found[at + 1]] for at in (1, 3))
    table("another environment", {"share of packages that are shared": [shared * 100]}, "%")
    note(f"{anew / every * 100:.1f} % of its bytes were compressed", compressed=anew / every)


def records():
    """Returns the packages of the installation."""
    listed = run_text([WORK / "hot/bin/list-packages"])
    lines = [line.split() for line in listed.splitlines() if not line.startswith("#")]
    return {tuple(line[:3]) for line in lines if len(line) > 2}


def run_text(words):
    done = subprocess.run([str(word) for word in words], capture_output=True, check=True, text=True)
    return done.stdout


def into_base(base, place, kind, rounds):
    spec, out = environment("sif", SPECS), WORK / "hot.sif"
    words = [CONDENSE, "cotainr", "build", out, "--base-image", base, "--conda-env", spec]
    figures = {"cotainr build": [], "cp of base and environment": []}
    install(spec, place)
    for turn in range(rounds + 1):
        out.unlink(missing_ok=True)
        os.sync()
        mine = run([*words, "--accept-licenses", "--yes"], env=settings(place))[0]
        copy = WORK / "copy"
        os.sync()
        both = f"cp --reflink=never '{base}' '{copy}' && cat '{WORK}/hot/img.sqfs' >> '{copy}'"
        copied = run(["/bin/sh", "-c", both])[0]
        copy.unlink()
        if turn > 0:  # the first round fills the cache
            figures["cotainr build"].append(mine)
            figures["cp of base and environment"].append(copied)
    size = base.stat().st_size / 1e6
    table(f"hot `cotainr build` onto {size:.0f} MB of 1 GB, scratch in {kind}", figures)
    mine, copied = (statistics.median(values) for values in figures.values())
    note(f"{mine / copied:.2f} times cp", ratio=mine / copied)
