"""Makes conda packages from PyPI's wheels.

A pure wheel becomes a `noarch: python` package, a compiled one becomes a package for each Python.
"""

import configparser
import email
import email.message
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.version import Version

import cpython
import elf
from package import PLACEHOLDER, build_string, fresh_dir, normal_name, write_package

# Manylinux tags of wheels that run with glibc 2.28.
PLATFORMS = ("_2_28", "_2_27", "_2_24", "_2_17", "2014", "_2_12", "_2_5", "2010", "1")
# Names of conda-forge that differ from those of PyPI.
RENAMED = {"tzdata": "python-tzdata"}
# Dependencies on the system that a wheel does not declare.
ALSO_NEEDED = {"mpi4py": ["mpich"]}
ENTRY_POINT = """#!{prefix}/bin/python
# -*- coding: utf-8 -*-
import re
import sys

from {module} import {first}

if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])
    sys.exit({function}())
"""


def fetch(pins: list[str], xy: str, cache: Path) -> list[Path]:
    """Downloads the missing ones of the pinned wheels for Python x.y."""
    into = cache / "wheels"
    into.mkdir(parents=True, exist_ok=True)
    complete = into / f".{hashlib.sha256(repr((pins, xy)).encode()).hexdigest()[:16]}"
    if complete.exists():
        paths = [into / name for name in complete.read_text().split()]
        if all(p.exists() for p in paths):
            return paths
    requirements = into / f"requirements-{xy}.txt"
    requirements.write_text("\n".join(pins) + "\n")
    platforms = [arg for p in PLATFORMS for arg in ("--platform", f"manylinux{p}_x86_64")]
    fresh = fresh_dir(into / f"fetching-{xy}")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:",
               "--implementation", "cp", "--python-version", xy, *platforms, "--dest", str(fresh),
               "--find-links", str(into), "-r", str(requirements)]  # fmt: skip
    subprocess.run(command, check=True)
    paths = sorted(p.rename(into / p.name) for p in fresh.glob("*.whl"))
    fresh.rmdir()
    complete.write_text("\n".join(p.name for p in paths))
    return paths


def convert(
    wheel: Path,
    tree: cpython.Tree,
    owners: dict[str, str],
    channel: Path,
    work: Path,
    tar_bz2: set[str],
):
    """Packs one wheel, compiled for tree's Python; returns [(file name, record)]."""
    if wheel.name.startswith("mpich-"):
        return [_convert_mpich(wheel, owners, channel, work)]
    pure = wheel.stem.endswith("-none-any")
    xy = tree.xy
    root = fresh_dir(work / (wheel.stem if pure else f"{wheel.stem}.{xy}"))
    site = root / ("site-packages" if pure else f"lib/python{xy}/site-packages")
    _unpack(wheel, root, site, "python-scripts" if pure else "bin")
    (info,) = site.glob("*.dist-info")
    meta = email.message_from_bytes((info / "METADATA").read_bytes())
    (info / "INSTALLER").write_text("conda\n")
    name = _conda_name(str(meta["Name"]))
    depends = _requirements(meta, xy) + ALSO_NEEDED.get(name, [])
    index = {
        "name": name,
        "version": str(Version(str(meta["Version"]))),
        "build_number": 0,
        "license": str(meta["License-Expression"] or meta["License"] or "unknown").splitlines()[0][
            :80
        ],
    }
    entry_points = _entry_points(info)
    licenses = {
        p.name: p.read_bytes() for p in info.rglob("*") if p.is_file() and "licen" in p.name.lower()
    }
    link = None
    if pure:
        requires = str(meta["Requires-Python"] or ">=3.8").replace(" ", "").replace(",!=3.*", "")
        index |= {
            "subdir": "noarch",
            "noarch": "python",
            "depends": sorted([*depends, f"python {requires}"]),
        }
        index["build"] = build_string("py", index)
        link = {
            "noarch": {"type": "python", "entry_points": entry_points},
            "package_metadata_version": 1,
        }
    else:
        major, minor = xy.split(".")
        tag = f"cp{major}{minor}"
        needed, glibc, _ = elf.dependencies(root, owners)
        depends += [
            *needed,
            f"python >={xy},<{major}.{int(minor) + 1}.0a0",
            f"python_abi {xy}.* *_{tag}",
        ]
        index |= {"subdir": "linux-64", "depends": sorted(depends + ([glibc] if glibc else []))}
        index["build"] = build_string(f"py{major}{minor}", index)
        for entry in entry_points:
            _write_entry_point(root / "bin", entry)
        cpython.compile_tree(tree, root, site)
    summary = str(meta["Summary"] or "")
    return [
        write_package(
            root,
            index,
            channel,
            tar_bz2=name in tar_bz2,
            link=link,
            summary=summary,
            licenses=licenses,
        )
    ]


def _convert_mpich(
    wheel: Path, owners: dict[str, str], channel: Path, work: Path
) -> tuple[str, dict]:
    """Packs the mpich wheel, which is a prefix with programs and libraries but no Python."""
    root = fresh_dir(work / "mpich")
    _unpack(wheel, root, root / "site", "bin", only_data=True)
    _, glibc, _ = elf.dependencies(root, owners)
    index = {
        "name": "mpich",
        "version": wheel.name.split("-")[1],
        "build": "0",
        "subdir": "linux-64",
        "depends": ["mpi 1.0.* mpich", glibc],
        "license": "mpich2",
    }
    return write_package(root, index, channel, summary="A message passing library")


def _unpack(wheel: Path, root: Path, site: Path, scripts: str, only_data: bool = False) -> None:
    homes = {
        "purelib": site,
        "platlib": site,
        "scripts": root / scripts,
        "headers": root / "include",
        "data": root,
    }
    with zipfile.ZipFile(wheel) as z:
        for member in z.infolist():
            parts = member.filename.split("/")
            is_data = parts[0].endswith(".data")
            if member.is_dir() or (only_data and not (is_data and parts[1] == "data")):
                continue
            path = homes[parts[1]].joinpath(*parts[2:]) if is_data else site / member.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            data = z.read(member)
            if data.startswith(b"#!python"):
                data = f"#!{PLACEHOLDER}/bin/python".encode() + data[data.index(b"\n") :]
            path.write_bytes(data)
            executable = (member.external_attr >> 16) & 0o111 or (is_data and parts[1] == "scripts")
            path.chmod(0o755 if executable else 0o644)


def _conda_name(project: str) -> str:
    name = normal_name(project)
    return RENAMED.get(name, name)


def _requirements(meta: email.message.Message, xy: str) -> list[str]:
    environment = {"extra": "", "python_version": xy, "python_full_version": f"{xy}.0"}
    specs = []
    for text in meta.get_all("Requires-Dist") or []:
        requirement = Requirement(str(text))
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        # conda writes `1.*` for `== 1.*`; the other operators are the same.
        clauses = [
            s.version
            if (s.operator, s.version[-2:]) == ("==", ".*")
            else s.operator.replace("===", "==") + s.version
            for s in requirement.specifier
        ]
        specs.append(f"{_conda_name(requirement.name)} {','.join(sorted(clauses))}".strip())
    return specs


def _entry_points(info: Path) -> list[str]:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str
    parser.read(info / "entry_points.txt")
    if not parser.has_section("console_scripts"):
        return []
    return [
        f"{name} = {target.split('[')[0].strip()}"
        for name, target in parser["console_scripts"].items()
    ]


def _write_entry_point(folder: Path, entry: str) -> None:
    name, _, target = entry.partition(" = ")
    module, _, function = target.partition(":")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    first = function.split(".")[0]
    path.write_text(
        ENTRY_POINT.format(prefix=PLACEHOLDER, module=module, first=first, function=function)
    )
    path.chmod(0o755)
