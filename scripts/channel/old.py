"""Makes a channel for old environments: Python 2.7, and old versions of pip.

Its sources are Debian's last Python 2 and the wheels of PyPI. Neither has a Python 3.6.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import debian
import edge_wheels
import elf
import index
from package import build_string, fresh_dir, write_package

SCRIPTS = Path(__file__).resolve().parent.parent
# Debian alone keeps its own packages apart from others.
OF_DEBIAN = (
    ("dist-packages", "site-packages"),
    *((f"{base}/local", base) for base in ("$base", "$platbase", "{base}", "{platbase}")),
)
CHANGED = ("site.py", "sysconfig.py", "distutils/sysconfig.py", "distutils/command/install.py")
LEFT_OUT = re.compile(r"(test|idlelib|lib2to3|lib-tk|config-[^/]*|[a-z0-9]+/tests?)$|.*\\.pyc$")


def make(channel: Path, work: Path, cache: Path, contents: dict) -> int:
    """Fetches, converts and indexes all packages, and returns their number."""
    work.mkdir(parents=True)
    channel.mkdir(parents=True)
    view = [str(SCRIPTS / "apt-view"), "--cache", str(cache), contents["suite"]]
    apt_conf = subprocess.run(view, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    libraries = contents["libraries"]
    debs = debian.fetch(
        contents["python"] + libraries, apt_conf, cache / "debs" / contents["suite"]
    )
    records = [_python(contents["version"], debs, libraries, channel, work)]
    records += [_pip(version, channel, work, cache) for version in contents["pips"]]
    index.write(channel, records)
    edge_wheels.make_old(channel / "wheels")
    return len(records)


def _python(
    xy: str, debs: dict[str, Path], libraries: list[str], channel: Path, work: Path
) -> tuple[str, dict]:
    """Packs Debian's interpreter with all that it needs, and returns (file name, record).

    The interpreter finds its library beside its `bin`.
    """
    raw = debian.stage("python", [deb for name, deb in debs.items() if name not in libraries], work)
    shared = debian.stage("libraries", [debs[name] for name in libraries], work)
    root = fresh_dir(work / f"python-{xy}")
    library = root / f"lib/python{xy}"

    def ignore(folder: str, names: list[str]) -> list[str]:
        rel = Path(folder).relative_to(raw / f"lib/python{xy}")
        return [name for name in names if LEFT_OUT.match((rel / name).as_posix())]

    shutil.copytree(raw / f"lib/python{xy}", library, symlinks=True, ignore=ignore)
    for path in [*library.rglob("*")]:
        if path.is_symlink() and not path.exists():
            path.unlink()
    (root / "bin").mkdir()
    shutil.copy2(raw / f"bin/python{xy}", root / f"bin/python{xy}")
    for name in ("python", f"python{xy[0]}"):
        (root / "bin" / name).symlink_to(f"python{xy}")
    for path in (shared / "lib").glob("*.so*"):
        shutil.copy2(path, root / "lib" / path.name, follow_symlinks=False)
    here = {path.name for path in (root / "lib").glob("*.so*")}
    for module in library.glob("lib-dynload/*.so"):
        if not all(name in here or elf.SYSTEM_LIBRARY.match(name) for name in elf.needs(module)[0]):
            module.unlink()
    elf.relocate(root)
    for name in CHANGED:
        path = library / name
        text = path.read_text()
        for old, new in OF_DEBIAN:
            text = text.replace(old, new)
        path.write_text(text)
    (library / "site-packages").mkdir()
    (library / "site-packages/README.txt").write_text("Installed packages lie here.\n")
    version = subprocess.run(
        [
            str(root / f"bin/python{xy}"),
            "-E",
            "-c",
            "import hashlib, ctypes, zlib, platform; print(platform.python_version())",
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    compiled = [
        str(root / f"bin/python{xy}"),
        "-E",
        "-m",
        "compileall",
        "-q",
        "-d",
        "/",
        str(library),
    ]
    for source in library.rglob("*.py"):
        os.utime(source, (1_700_000_000, 1_700_000_000))
    subprocess.run(compiled, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    _, glibc, unknown = elf.dependencies(root, {})
    if unknown:
        raise RuntimeError(f"old: Python {xy} needs {sorted(unknown)}")
    record = {
        "name": "python",
        "version": version,
        "build_number": 0,
        "subdir": "linux-64",
        "depends": [glibc],
    }
    record["build"] = build_string("", record) + "_cpython"
    return write_package(root, record, channel, summary="General purpose programming language")


def _pip(version: str, channel: Path, work: Path, cache: Path) -> tuple[str, dict]:
    """Packs a wheel of pip and returns (file name, record)."""
    into = cache / "wheels"
    into.mkdir(parents=True, exist_ok=True)
    if not (found := [*into.glob(f"pip-{version}-*.whl")]):
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        download += ["--only-binary", ":all:", "--dest", str(into), f"pip=={version}"]
        subprocess.run(download, check=True)
        found = [*into.glob(f"pip-{version}-*.whl")]
    # The wheels that ensurepip contains as well.
    (channel / "pips").mkdir(exist_ok=True)
    shutil.copy(found[0], channel / "pips")
    root = fresh_dir(work / f"pip-{version}")
    shutil.unpack_archive(found[0], root / "site-packages", "zip")
    (root / f"site-packages/pip-{version}.dist-info/INSTALLER").write_text("conda\n")
    # Older versions of pip have the same function in a module of another name.
    new = tuple(map(int, version.split(".")[:2])) >= (19, 3)
    entry = "pip = pip._internal.cli.main:main" if new else "pip = pip._internal:main"
    link = {"noarch": {"type": "python", "entry_points": [entry]}, "package_metadata_version": 1}
    record = {
        "name": "pip",
        "version": version,
        "build": "pyhd8ed1ab_0",
        "subdir": "noarch",
        "noarch": "python",
    }
    record["depends"] = ["python"]
    return write_package(root, record, channel, link=link, summary="Installs Python packages")
