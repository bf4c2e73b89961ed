"""Makes a channel of 200,000 records and no packages, shaped like conda-forge's.

It is for tests of the solver, which needs only the index.
"""

import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import index

# conda-forge has about 25,000 names, some of them with many records. The number of records
# determines the use of memory.
NAMES = 8000
RECORDS = 200_000
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
NOARCH_OF_TEN = 3
# The inputs must not depend on the machine, so that every machine makes the same channel.
SEED = 20_261_121


def make(channel: Path) -> int:
    """Writes repodata.json, its .zst file and shards, and returns the number of records."""
    records = {"linux-64": {}, "noarch": {}}
    count = 0
    for name, own in _packages():
        subdir = own[0]["subdir"]
        records[subdir][name] = own
        count += len(own)
    for subdir, packages in records.items():
        folder = channel / subdir
        folder.mkdir(parents=True)
        _write_whole(folder, subdir, packages)
        _write_shards(folder, subdir, packages)
    return count


def _packages() -> Iterator[tuple[str, list[dict]]]:
    """Yields names with all their records, dependencies first."""
    dice = random.Random(SEED)
    yield (
        "python",
        [
            _record(
                "python",
                f"{xy}.{patch}",
                f"h{patch:07x}_0_cpython",
                "linux-64",
                ["__glibc >=2.17,<3.0.a0"],
                patch,
            )
            for xy in PYTHONS
            for patch in range(12)
        ],
    )
    left = RECORDS - 12 * len(PYTHONS)
    for number in range(1, NAMES + 1):
        name = f"pkg-{number:05d}"
        share = left // (NAMES - number + 1)
        left -= share
        yield name, list(_versions(name, number, share, dice))


def _versions(name: str, number: int, count: int, dice: random.Random) -> Iterator[dict]:
    # The number of dependencies grows with the logarithm, as in real channels: a big application
    # needs some 150 packages.
    below = sorted({number // 2, number // 3, number // 5, number // 7} - {0})
    noarch = number % 10 < NOARCH_OF_TEN
    compiled = not noarch and number % 2 == 0
    for turn in range(count):
        version, build = divmod(turn, len(PYTHONS)) if compiled else (turn, 0)
        depends = [
            f"pkg-{other:05d} >={max(0, version - dice.randint(1, 6))}.0,<{version + 40}.0a0"
            for other in below
        ]
        if compiled:
            xy = PYTHONS[build]
            following = f"3.{int(xy[2:]) + 1}"
            depends += [f"python >={xy},<{following}.0a0", "__glibc >=2.17,<3.0.a0"]
            text = f"py{xy.replace('.', '')}h{dice.getrandbits(28):07x}_{build}"
        elif noarch:
            depends.append("python >=3.10")
            text = f"pyhd8ed1ab_{build}"
        else:
            depends.append("__glibc >=2.17,<3.0.a0")
            text = f"h{dice.getrandbits(28):07x}_{build}"
        yield _record(
            name,
            f"{version}.{number % 7}.{turn % 3}",
            text,
            "noarch" if noarch else "linux-64",
            depends,
            turn,
        )


def _record(
    name: str, version: str, build: str, subdir: str, depends: list[str], turn: int
) -> dict:
    identity = f"{subdir}/{name}-{version}-{build}".encode()
    record = {
        "build": build,
        "build_number": int(build.rsplit("_", 1)[-1]) if build[-1].isdigit() else 0,
        "constrains": [],
        "depends": depends,
        "license": "BSD-3-Clause",
        "license_family": "BSD",
        "md5": hashlib.md5(identity).hexdigest(),
        "name": name,
        "sha256": hashlib.sha256(identity).hexdigest(),
        "size": 100_000 + turn,
        "subdir": subdir,
        "timestamp": 1_700_000_000_000 + turn * 86_400_000,
        "version": version,
    }
    if subdir == "noarch":
        record["noarch"] = "python"
    return record


def _file(record: dict) -> str:
    return f"{record['name']}-{record['version']}-{record['build']}.conda"


def _write_whole(folder: Path, subdir: str, packages: dict[str, list[dict]]) -> None:
    path = folder / "repodata.json"
    with path.open("w") as out:
        out.write(
            f'{{\n "info": {{"subdir": "{subdir}"}},\n "packages": {{}},\n "packages.conda": {{'
        )
        between = "\n  "
        for name in sorted(packages):
            for record in sorted(packages[name], key=_file):
                out.write(f"{between}{json.dumps(_file(record))}: {json.dumps(record)}")
                between = ",\n  "
        out.write('\n },\n "removed": [],\n "repodata_version": 1\n}\n')
    subprocess.run(["zstd", "-q", "-k", "-T0", path], check=True)


def _write_shards(folder: Path, subdir: str, packages: dict[str, list[dict]]) -> None:
    # One process of zstd for all shards; the names of the shards are digests of its output.
    plain = folder / "plain"
    plain.mkdir()
    for name, own in packages.items():
        (plain / name).write_bytes(index.pack_shard([(_file(record), record) for record in own]))
    subprocess.run(["zstd", "-q", "-r", plain], check=True)
    (folder / "shards").mkdir()
    shards = {}
    for name in sorted(packages):
        packed = plain / f"{name}.zst"
        digest = hashlib.sha256(packed.read_bytes())
        packed.rename(folder / "shards" / f"{digest.hexdigest()}.msgpack.zst")
        shards[name] = digest.digest()
    shutil.rmtree(plain)
    index.write_shard_index(folder, subdir, shards)
