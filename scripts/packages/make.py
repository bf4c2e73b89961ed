"""Makes the packages of a built program: an archive, a wheel and a Debian package.

usage: make.py [--quick] PROGRAM OUTPUT
  --quick   compresses less

OUTPUT is a directory. The date in the packages is SOURCE_DATE_EPOCH, else that of the last commit.
"""

import argparse
import hashlib
import os
import pathlib
import subprocess
import tempfile

import debian
import formats
import tree

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Oldest C library that the program is linked against, and the manylinux tag of the wheel.
OLDEST = (2, 28)


def date():
    """Returns the date of the packages, in seconds since 1970."""
    if value := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(value)
    command = ["git", "-C", ROOT, "log", "-1", "--format=%ct"]
    said = subprocess.run(command, text=True, capture_output=True, check=False).stdout
    # Without a repository the packages have the oldest date that a ZIP file knows.
    return int(said or 315532800)


def main():
    """Makes the packages and prints their names and sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="compress less")
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()
    program, output = options.program.resolve(), options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)

    machine, moment = os.uname().machine, date()
    needed = tree.newest_glibc(program)
    glibc = max(needed, OLDEST)
    name = f"condense-{tree.version_of(program)}-{machine}-linux"
    level = 1 if options.quick else 9
    compression = ("-Zgzip", "-z1") if options.quick else ("-Zxz",)
    with tempfile.TemporaryDirectory() as scratch:
        files = pathlib.Path(scratch) / name
        tree.make(ROOT, program, files, machine)
        archive = output / f"{name}.tar.gz"
        formats.archive(ROOT, files, archive, name, moment, level)
        wheel = formats.wheel(ROOT, files, output, machine, glibc, moment, level)
        package = debian.package(files, output, machine, glibc, moment, compression)
    sums = []
    for path in (archive, wheel, package):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        sums.append(f"{digest}  {path.name}\n")
        print(f"{path.stat().st_size / 2**20:8.1f} MiB  {path.name}")
    (output / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    print(f"for glibc {needed[0]}.{needed[1]} and newer")


if __name__ == "__main__":
    main()
