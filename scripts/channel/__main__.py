"""Makes a real conda channel; see --help and fixtures/README.md."""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent
STAMP = ".made-by-make-channel"
NEEDS = (
    "gcc=gcc",
    "zstd=zstd",
    "patchelf=patchelf",
    "strip=binutils",
    "dpkg-deb=dpkg",
    "/usr/include/stdlib.h=libc6-dev",
    "/usr/lib/python3/dist-packages/pip=python3-pip",
)
ABOUT = """\
Makes a conda channel (linux-64 and noarch) of real packages at DIR: CPython, Debian's libraries,
PyPI's wheels, and hand-made packages for rare cases of the format (fixtures/README.md lists them).
DIR works as file:// and behind any static HTTP server. A CPython in a tree like pyenv's is used if
there is one; else Debian's source is built, which takes minutes, and kept in the cache."""


def main() -> None:
    args = _arguments()
    started = time.monotonic()
    edition = next((name for name in ("scale", "full", "old") if getattr(args, name)), "small")
    stamp = _stamp(edition, args)
    if _is_made(args.dir, stamp):
        print(f"{args.dir}: up to date")
        return
    args.cache.mkdir(parents=True, exist_ok=True)
    args.dir.parent.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(args.dir).encode()).hexdigest()[:16]
    with open(args.cache / f"make-channel-{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_made(args.dir, stamp):
            _refuse_foreign(args.dir)
            needs = ["zstd=zstd"] if args.scale else NEEDS
            subprocess.run([str(SCRIPTS / "apt-need"), *needs], check=True)
            making = args.dir.parent / f".{args.dir.name}.making"
            shutil.rmtree(making, ignore_errors=True)
            try:
                count = _make(making / "channel", making / "work", edition, args)
                (making / "channel" / STAMP).write_text(stamp)
                if args.dir.exists():
                    args.dir.rename(making / "old")
                (making / "channel").rename(args.dir)
            finally:
                shutil.rmtree(making, ignore_errors=True)
            print(f"{args.dir}: {count} packages in {time.monotonic() - started:.0f} s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make-channel", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dir", metavar="DIR", type=Path)
    edition = parser.add_mutually_exclusive_group()
    edition.add_argument(
        "--small", action="store_true", help="two Pythons, NumPy, MPI, a few tools (default)"
    )
    edition.add_argument(
        "--full", action="store_true", help="also scipy, pandas, matplotlib, h5py, hdf5, curl ..."
    )
    edition.add_argument(
        "--scale",
        action="store_true",
        help="200,000 records and no packages, to measure solving with",
    )
    edition.add_argument(
        "--old", action="store_true", help="Python 2.7 and old pips, and nothing else"
    )
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(home, "condense-dev"),
        metavar="DIR",
        help="downloads and built Pythons (default: ${XDG_CACHE_HOME:-~/.cache}/condense-dev)",
    )
    parser.add_argument(
        "--from-source",
        action="store_true",
        help="build the Pythons even where the machine has them",
    )
    args = parser.parse_args()
    args.dir, args.cache = args.dir.resolve(), args.cache.resolve()
    return args


def _stamp(edition: str, args: argparse.Namespace) -> str:
    digest = hashlib.sha256(f"{edition} {args.from_source}".encode())
    for path in sorted(p for p in HERE.iterdir() if p.suffix in (".py", ".toml", ".c")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest() + "\n"


def _is_made(channel: Path, stamp: str) -> bool:
    try:
        return (channel / STAMP).read_text() == stamp
    except OSError:
        return False


def _refuse_foreign(channel: Path) -> None:
    if channel.exists() and not (channel / STAMP).exists() and any(channel.iterdir()):
        sys.exit(f"make-channel: {channel} is there and was not made by make-channel")


def _make(channel: Path, work: Path, edition: str, args: argparse.Namespace) -> int:
    """Fetches, converts and indexes all packages, and returns their number."""
    if edition == "scale":
        import scale

        return scale.make(channel)
    # Not at the top: the modules that these need are installed by now, and an up-to-date
    # channel is found without them.
    import cpython
    import debian
    import edge
    import edge_wheels
    import index
    import wheels

    contents = tomllib.loads((HERE / "contents.toml").read_text())
    if edition == "old":
        import old

        return old.make(channel, work, args.cache, contents["old"])
    editions = ["small", "full"] if edition == "full" else ["small"]
    groups = {name: debs for e in editions for name, debs in contents["debian"][e].items()}
    tar_bz2 = set(contents["format"]["tar_bz2"])
    work.mkdir(parents=True)
    channel.mkdir(parents=True)

    def fetch_debs() -> dict[str, Path]:
        suite = contents["debian"]["suite"]
        view = [str(SCRIPTS / "apt-view"), "--cache", str(args.cache), suite]
        apt_conf = subprocess.run(
            view, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()
        wanted = sorted({d for debs in groups.values() for d in debs} | {"ca-certificates"})
        return debian.fetch(wanted, apt_conf, args.cache / "debs" / suite)

    def fetch_wheels() -> dict[str, list[Path]]:
        # One edition at a time: pip takes one version of a project per call.
        return {
            xy: [
                w
                for e in editions
                for w in wheels.fetch(_pins(contents["wheels"][e], xy), xy, args.cache)
            ]
            for xy in contents["python"]["source"]
        }

    def find_pythons() -> dict[str, cpython.Tree]:
        sources = contents["python"]["source"]
        found = {xy: None if args.from_source else cpython.find(xy) for xy in sources}
        found |= {
            xy: cpython.find_built(xy, sources[xy], args.cache)
            for xy, tree in found.items()
            if tree is None
        }
        missing = [xy for xy, tree in found.items() if tree is None]
        if missing:
            cpython.install_build_needs()
            # At the same time: half of the time is spent in `configure`, which uses one core.
            with ThreadPoolExecutor() as threads:
                built = threads.map(lambda xy: cpython.build(xy, sources[xy], args.cache), missing)
                found |= dict(zip(missing, built, strict=True))
        return found

    with _Timed("fetched"), ThreadPoolExecutor(3) as threads:
        coming = [threads.submit(f) for f in (fetch_debs, fetch_wheels, find_pythons)]
        debs, wheel_files, pythons = (f.result() for f in coming)

    def stage_debs(name: str) -> Path:
        return debian.stage(name, [debs[d] for d in groups[name]], work)

    with _Timed("unpacked Debian's"), ThreadPoolExecutor() as threads:
        stages = dict(zip(groups, threads.map(stage_debs, groups), strict=True))
        versions = dict(
            zip(
                groups,
                threads.map(lambda name: debian.version_of(debs[groups[name][0]]), groups),
                strict=True,
            )
        )
    owners = debian.soname_owners(stages)

    with _Timed("made the packages"), ProcessPoolExecutor() as pool:
        jobs: list[Future] = []

        def add(make: Callable, *args) -> None:
            jobs.append(pool.submit(make, *args))

        for tree in pythons.values():
            add(cpython.convert, tree, owners, channel, work)
        every = {
            (w.name, "" if w.stem.endswith("-none-any") else xy): (w, xy)
            for xy, ws in wheel_files.items()
            for w in ws
        }
        # The big packages first: they take longest.
        for wheel, xy in sorted(every.values(), key=lambda job: -job[0].stat().st_size):
            if wheel.name.startswith("mpich-") and xy != min(pythons):
                continue
            add(wheels.convert, wheel, pythons[xy], owners, channel, work, tar_bz2)
        for recipe in edge.recipes():
            add(edge.make, recipe, channel, work)
        for name, root in stages.items():
            add(debian.convert, name, root, versions, owners, channel, name in tar_bz2)
        add(debian.convert_certificates, debs["ca-certificates"], work, channel)
        records = [record for job in jobs for record in job.result()]

    with _Timed("indexed"):
        records = edge.spoil(records, channel)
        edge_wheels.make(channel / "wheels")
        index.write(channel, records)
    return len(records)


def _pins(wanted: dict[str, list[str]], xy: str) -> list[str]:
    return wanted["any"] + wanted["each"] + wanted.get(xy, [])


class _Timed:
    """Prints the duration of a part of the work."""

    def __init__(self, what: str):
        self.what = what

    def __enter__(self) -> None:
        self.started = time.monotonic()

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            print(f"  {self.what} ({time.monotonic() - self.started:.1f} s)", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"make-channel: {error}")
