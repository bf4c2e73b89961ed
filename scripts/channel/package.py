"""Writes conda packages, `.conda` and `.tar.bz2`, and returns their repodata records."""

import bz2
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

# Modification time of every file. The .pyc files contain it, so it must never vary.
MTIME = 1_700_000_000
# A build prefix like conda-build's: 255 bytes, the longest that a
# mount point can have.
PLACEHOLDER = (
    "/home/conda/feedstock_root/build_artifacts/channel_1700000000000/_h_env" + "_placehold" * 40
)[:255]
# Level 3 of 19: downloads are local, and the compression takes most of the time.
ZSTD_LEVEL = 3


def normal_name(name: str) -> str:
    """Returns the spelling of PEP 503 of a project's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def build_string(prefix: str, index: dict) -> str:
    """Returns a build string like conda-build's: a hash of the declarations of the package."""
    digest = hashlib.sha1(json.dumps(index, sort_keys=True).encode()).hexdigest()[:7]
    return f"{prefix}h{digest}_{index['build_number']}"


def write_package(
    stage: Path,
    index: dict,
    channel: Path,
    *,
    tar_bz2: bool = False,
    link: dict | None = None,
    summary: str = "",
    licenses: dict[str, bytes] | None = None,
    placeholder: str = PLACEHOLDER,
    empty_dirs: tuple[str, ...] = (),
) -> tuple[str, dict]:
    """Packs the tree `stage` and returns (file name, repodata record).

    `index` is info/index.json without its constant parts; an info directory is
    made in `stage`. Directories are implied by their files, as conda-build
    does it, but for those in `empty_dirs`.
    """
    index = {
        "build_number": 0,
        "depends": [],
        "license": "CC0-1.0",
        "timestamp": MTIME * 1000,
        **index,
    }
    noarch = index["subdir"] == "noarch"
    paths = _scan(stage, placeholder)
    has_prefix = [
        f'"{e["prefix_placeholder"]}" {e["file_mode"]} "{e["_path"]}"\n'
        for e in paths
        if "file_mode" in e
    ]
    info = {
        "index.json": {
            **index,
            "arch": None if noarch else "x86_64",
            "platform": None if noarch else "linux",
        },
        "paths.json": {"paths": paths, "paths_version": 1},
        "about.json": {"channels": [], "license": index["license"], "summary": summary},
        "hash_input.json": {},
        "files": "".join(e["_path"] + "\n" for e in paths),
        "git": "",
    }
    if has_prefix:
        info["has_prefix"] = "".join(has_prefix)
    if link:
        info["link.json"] = link
    for name, content in info.items():
        _write(
            stage / "info" / name,
            content if isinstance(content, str) else json.dumps(content, indent=1),
        )
    for name, content in (licenses or {}).items():
        _write(stage / "info/licenses" / name, content)

    of_info = sorted(
        p.relative_to(stage).as_posix() for p in (stage / "info").rglob("*") if p.is_file()
    )
    of_prefix = sorted([e["_path"] for e in paths] + list(empty_dirs))
    stem = f"{index['name']}-{index['version']}-{index['build']}"
    out = channel / index["subdir"] / (stem + (".tar.bz2" if tar_bz2 else ".conda"))
    out.parent.mkdir(parents=True, exist_ok=True)
    if tar_bz2:
        with bz2.open(out, "wb", compresslevel=5) as f:
            _write_tar(f, stage, of_info + of_prefix)
    else:
        date = (2023, 11, 14, 0, 0, 0)
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
            z.writestr(zipfile.ZipInfo("metadata.json", date), '{"conda_pkg_format_version": 2}')
            for part, names in (("pkg", of_prefix), ("info", of_info)):
                z.writestr(zipfile.ZipInfo(f"{part}-{stem}.tar.zst", date), _zstd_tar(stage, names))
    data = out.read_bytes()
    record = {
        **index,
        "md5": hashlib.md5(data).hexdigest(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
    }
    return out.name, record


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o644)


def _scan(root: Path, placeholder: str) -> list[dict]:
    entries = []
    for folder, dirs, files in os.walk(root):
        linked_dirs = [d for d in dirs if os.path.islink(os.path.join(folder, d))]
        for name in files + linked_dirs:
            path = Path(folder, name)
            entries.append(_entry(root, path, placeholder.encode()))
    return sorted(entries, key=lambda e: e["_path"])


def _entry(root: Path, path: Path, placeholder: bytes) -> dict:
    rel = path.relative_to(root).as_posix()
    if path.is_symlink():
        # Like conda-build: the file a link leads to, or nothing if that is
        # not a file of the package.
        target = Path(os.path.normpath(path.parent / os.readlink(path)))
        data = target.read_bytes() if target.is_relative_to(root) and target.is_file() else b""
        kind = "softlink"
    else:
        data = path.read_bytes()
        kind = "hardlink"
    entry = {
        "_path": rel,
        "path_type": kind,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(data),
    }
    # Not in .pyc files (conda-build leaves them out, too): a marshalled string
    # has its length in front.
    if kind == "hardlink" and not rel.endswith((".pyc", ".a")) and placeholder in data:
        entry["file_mode"] = "binary" if b"\0" in data else "text"
        entry["prefix_placeholder"] = placeholder.decode()
    return entry


def _zstd_tar(stage: Path, names: list[str]) -> bytes:
    with tempfile.TemporaryFile() as packed:
        zstd = subprocess.Popen(
            ["zstd", "-q", f"-{ZSTD_LEVEL}", "-c"], stdin=subprocess.PIPE, stdout=packed
        )
        with zstd.stdin:
            _write_tar(zstd.stdin, stage, names)
        if zstd.wait() != 0:
            raise RuntimeError("package: zstd failed")
        packed.seek(0)
        return packed.read()


def _write_tar(out, stage: Path, names: list[str]) -> None:
    inodes: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            path = stage / name
            st = path.lstat()
            member = tarfile.TarInfo(name)
            member.uname = member.gname = "root"
            member.mtime = MTIME
            member.mode = stat.S_IMODE(st.st_mode)
            inode = (st.st_dev, st.st_ino)
            if stat.S_ISLNK(st.st_mode):
                member.type, member.linkname, member.mode = (
                    tarfile.SYMTYPE,
                    os.readlink(path),
                    0o777,
                )
                tar.addfile(member)
            elif stat.S_ISDIR(st.st_mode):
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            elif inode in inodes:
                member.type, member.linkname = tarfile.LNKTYPE, inodes[inode]
                tar.addfile(member)
            else:
                if st.st_nlink > 1:
                    inodes[inode] = name
                member.size = st.st_size
                with open(path, "rb") as f:
                    tar.addfile(member, f)


def fresh_dir(path: Path) -> Path:
    """Makes an empty directory at path."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
