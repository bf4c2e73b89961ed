"""Archive and wheel, whose bytes depend on the files in them and the date alone."""

import base64
import gzip
import hashlib
import io
import tarfile
import time
import zipfile

import tree as trees


def archive(root, tree, output, name, date, level):
    """Writes a .tar.gz of the tree and install.sh, in which everything is below NAME/."""
    members = [(path.relative_to(tree).as_posix(), path) for path in tree.rglob("*")]
    members += [
        ("LICENSE", root / "LICENSE"),
        ("README.md", root / "README.md"),
        ("install.sh", root / "scripts/packages/install.sh"),
    ]
    with output.open("wb") as file:
        packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=level)
        with packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
            tar.addfile(entry(tar, name, tree, date))
            for inner, path in sorted(members):
                info = entry(tar, f"{name}/{inner}", path, date)
                if inner == "install.sh":
                    info.mode = 0o755
                content = path.open("rb") if info.isreg() else io.BytesIO()
                with content:
                    tar.addfile(info, content)


def entry(tar, name, path, date):
    """Returns the header of a file: no owner, no time of its own, and one of two modes."""
    info = tar.gettarinfo(path, name)
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = date
    if info.islnk():
        info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
    info.mode = 0o777 if info.issym() else 0o755 if info.mode & 0o100 else 0o644
    return info


METADATA = """\
Metadata-Version: 2.1
Name: condense
Version: {version}
Summary: {summary}
License: MIT
Classifier: Environment :: Console
Classifier: Operating System :: POSIX :: Linux
Description-Content-Type: text/markdown

{description}"""
WHEEL = """\
Wheel-Version: 1.0
Generator: condense
Root-Is-Purelib: false
Tag: {tag}
"""


def wheel(root, tree, directory, machine, glibc, date, level):
    """Writes a wheel that brings the program; returns its path. The other names are launchers."""
    program = tree / "bin/condense"
    version = trees.version_of(program)
    tag = f"py3-none-manylinux_{glibc[0]}_{glibc[1]}_{machine}"
    information, data = f"condense-{version}.dist-info", f"condense-{version}.data"
    summary = trees.said_by(program, "--help").splitlines()[0]
    readme = (root / "README.md").read_text(encoding="utf-8")
    metadata = METADATA.format(version=version, summary=summary, description=readme)
    files = {f"{data}/scripts/condense": program.read_bytes()}
    launcher = (root / "scripts/packages/launcher.sh").read_text(encoding="utf-8")
    for name in trees.names_of(program):
        files[f"{data}/scripts/{name}"] = launcher.replace("@NAME@", name).encode()
    for part in ("man", "bash-completion", "zsh", "fish", "condense"):
        for path in (tree / "share" / part).rglob("*"):
            if path.is_file() and path.parent.name != "licences":
                files[f"{data}/data/{path.relative_to(tree)}"] = path.read_bytes()
    for path in (tree / "share/condense/licences").iterdir():
        files[f"{information}/licenses/{path.name}"] = path.read_bytes()
    files[f"{information}/METADATA"] = metadata.encode()
    files[f"{information}/WHEEL"] = WHEEL.format(tag=tag).encode()
    record = f"{information}/RECORD"
    rows = [row(name, content) for name, content in sorted(files.items())]
    files[record] = "".join([*rows, f"{record},,\n"]).encode()

    output = directory / f"condense-{version}-{tag}.whl"
    moment = time.gmtime(max(date, 315532800))[:6]  # ZIP has no times before 1980
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as packed:
        for name in sorted(files, key=lambda name: (name.startswith(information), name)):
            info = zipfile.ZipInfo(name, moment)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, so that the mode counts
            info.external_attr = (0o100755 if "/scripts/" in name else 0o100644) << 16
            packed.writestr(info, files[name])
    return output


def row(name, content):
    """Returns the line of a file in RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"
