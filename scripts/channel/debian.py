"""Makes conda packages with conda-forge's names from Debian's binary packages."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import elf
from package import build_string, fresh_dir, write_package

ARCHIVE_DIRS = (
    ("usr/lib/x86_64-linux-gnu/", "lib/"),
    ("lib/x86_64-linux-gnu/", "lib/"),
    ("usr/sbin/", "bin/"),
    ("sbin/", "bin/"),
    ("usr/", ""),
)
UNWANTED = re.compile(r"share/(doc|man|lintian|bug|doc-base|locale|zoneinfo/right)/|var/|etc/init")


def fetch(packages: list[str], apt_conf: str, into: Path) -> dict[str, Path]:
    """Downloads missing .deb files and returns {package: file}."""
    into.mkdir(parents=True, exist_ok=True)
    command = ["apt-get", "-qq", "download", *packages]
    subprocess.run(command, cwd=into, env={**os.environ, "APT_CONFIG": apt_conf}, check=True)
    debs: dict[str, Path] = {}
    for deb in sorted(into.glob("*.deb"), key=lambda p: p.stat().st_mtime):
        debs[deb.name.split("_")[0]] = deb
    return {package: debs[package] for package in packages}


def stage(name: str, debs: list[Path], work: Path) -> Path:
    """Arranges the contents of .deb files as a prefix."""
    root = fresh_dir(work / f"debian-{name}")
    raw = fresh_dir(work / f"debian-{name}.raw")
    for deb in debs:
        subprocess.run(["dpkg-deb", "-x", str(deb), str(raw)], check=True)
    for path in sorted(raw.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        rel = path.relative_to(raw).as_posix()
        to = _in_prefix(rel)
        if to is None:
            continue
        destination = root / to
        destination.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_symlink():
            destination.unlink(missing_ok=True)
            shutil.move(path, destination)
        elif (target := _link_in_prefix(rel, to, os.readlink(path))) and not os.path.lexists(
            destination
        ):
            destination.symlink_to(target)
    shutil.rmtree(raw)
    return root


def soname_owners(stages: dict[str, Path]) -> dict[str, str]:
    """Returns {file name of a shared library: the package that has it}."""
    return {p.name: name for name, root in stages.items() for p in (root / "lib").glob("*.so*")}


def version_of(deb: Path) -> str:
    """Returns the upstream version of a .deb file in conda's spelling."""
    v = subprocess.run(
        ["dpkg-deb", "-f", str(deb), "Version"], capture_output=True, text=True, check=True
    ).stdout
    v = v.strip().split(":")[-1].rsplit("-", 1)[0]
    return re.sub(r"[+.~](dfsg|repack|git|really|ds).*$", "", v).replace("+", ".").replace("~", "")


def convert(
    name: str,
    root: Path,
    versions: dict[str, str],
    owners: dict[str, str],
    channel: Path,
    tar_bz2: bool,
):
    """Packs one staged package and returns [(file name, record)]."""
    version = versions[name]
    needed, glibc, unknown = elf.dependencies(root, owners)
    if unknown:
        raise RuntimeError(
            f"debian: `{name}` needs {sorted(unknown)}, which no package of the channel has"
        )
    elf.relocate(root)
    noarch = glibc is None
    index = {
        "name": name,
        "version": version,
        "build_number": 0,
        "subdir": "noarch" if noarch else "linux-64",
        "depends": sorted(f"{n} >={versions[n]}" for n in needed) + ([] if noarch else [glibc]),
    }
    if noarch:
        index["noarch"] = "generic"
    if name == "openssl":
        index["depends"].append("ca-certificates")
    index["build"] = build_string("", index)
    return [write_package(root, index, channel, tar_bz2=tar_bz2, summary=f"Debian's {name}")]


def convert_certificates(deb: Path, work: Path, channel: Path):
    """Packs Debian's ca-certificates in conda's layout; returns [(file name, record)]."""
    raw = fresh_dir(work / "ca-certificates.raw")
    root = fresh_dir(work / "ca-certificates")
    subprocess.run(["dpkg-deb", "-x", str(deb), str(raw)], check=True)
    (root / "ssl").mkdir()
    bundle = b"".join(p.read_bytes() for p in sorted(raw.rglob("*.crt")))
    (root / "ssl/cacert.pem").write_bytes(bundle)
    (root / "ssl/cert.pem").symlink_to("cacert.pem")
    version = re.sub(r"(\d{4})(\d\d)(\d\d).*", r"\1.\2.\3", version_of(deb))
    index = {
        "name": "ca-certificates",
        "version": version,
        "build": "0",
        "subdir": "noarch",
        "noarch": "generic",
        "depends": ["__unix"],
    }
    return [write_package(root, index, channel, summary="Debian's ca-certificates")]


def _in_prefix(rel: str) -> str | None:
    for archive, prefix in ARCHIVE_DIRS:
        if rel.startswith(archive):
            rel = prefix + rel[len(archive) :]
            break
    return None if UNWANTED.match(rel) else rel


def _link_in_prefix(rel: str, to: str, target: str) -> str | None:
    absolute = os.path.normpath(
        target if target.startswith("/") else f"/{os.path.dirname(rel)}/{target}"
    )
    mapped = _in_prefix(absolute[1:])
    return None if mapped is None else os.path.relpath(mapped, os.path.dirname(to))
