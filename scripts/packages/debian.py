"""Debian package, made by dpkg-deb."""

import gzip
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import tree as trees

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64el"}
MAINTAINER = "The condense authors <condense@localhost.localdomain>"
CONTROL = """\
Package: condense
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {kibibytes}
Depends: libc6 (>= {glibc})
Recommends: apptainer | singularity-container
Section: utils
Priority: optional
Description: pack a conda environment into one file with wrappers
 condense packs a conda environment or a pip requirements file into one
 SquashFS file with wrappers that run its programs in a container, or into a
 finished SIF image. It understands the command lines of Tykky
 (conda-containerize, pip-containerize, wrap-container, wrap-install) and of
 cotainr.
 .
 A container runtime, apptainer or SingularityCE, runs the programs.
"""
CHANGELOG = """\
condense ({version}) unstable; urgency=medium

  * Version {version}. The changes are in CHANGELOG.md.

 -- {maintainer}  {date}
"""
# Findings of lintian that are meant.
OVERRIDES = """\
# The project has no mail address.
condense: bogus-mail-host *
condense: bogus-mail-host-in-debian-changelog *
# The copyright file has the text of each component, as its authors wrote it.
condense: copyright-file-contains-full-apache-2-license
# The parser of YAML is a translation of libyaml to Rust.
condense: embedded-library libyaml *
"""
# Directories of a PREFIX, and where Debian has them.
PLACES = (
    ("bin", "usr/bin"),
    ("share/man", "usr/share/man"),
    ("share/bash-completion", "usr/share/bash-completion"),
    ("share/zsh/site-functions", "usr/share/zsh/vendor-completions"),
    ("share/fish", "usr/share/fish"),
    ("share/doc/condense", "usr/share/doc/condense"),
)
# Documents that the package has in another form.
OTHER_FORM = ("LICENSE",)


def package(tree, directory, machine, glibc, date, compression):
    """Writes the package and returns its path."""
    program = tree / "bin/condense"
    version = trees.version_of(program)
    architecture = ARCHITECTURES.get(machine, machine)
    output = directory / f"condense_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory() as scratch:
        stage = pathlib.Path(scratch) / "condense"
        fill(tree, stage, version, date)
        files = sorted(path for path in stage.rglob("*") if path.is_file())
        files = [path for path in files if not path.is_symlink()]
        control = CONTROL.format(
            version=version,
            architecture=architecture,
            maintainer=MAINTAINER,
            kibibytes=sum(-(-path.stat().st_size // 1024) for path in files),
            glibc=f"{glibc[0]}.{glibc[1]}",
        )
        sums = [f"{digest(path)}  {path.relative_to(stage)}\n" for path in files]
        trees.write(stage / "DEBIAN/control", control)
        trees.write(stage / "DEBIAN/md5sums", "".join(sums))
        for path in [stage, *stage.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
            os.utime(path, (date, date), follow_symlinks=False)
        command = ["dpkg-deb", "--root-owner-group", *compression, "--build", stage, output]
        variables = {**os.environ, "SOURCE_DATE_EPOCH": str(date)}
        subprocess.run(command, check=True, env=variables, stdout=subprocess.DEVNULL)
    return output


def fill(tree, stage, version, date):
    """Fills the directory with the files of the package, where Debian has them."""
    for source, target in PLACES:
        shutil.copytree(tree / source, stage / target, symlinks=True)
    documents = stage / "usr/share/doc/condense"
    for name in OTHER_FORM:
        (documents / name).unlink()
    trees.write(stage / "usr/share/lintian/overrides/condense", OVERRIDES)
    pages = [*(stage / "usr/share/man").rglob("*.1")]
    for page in pages:
        compress(page.with_name(page.name + ".gz"), page.read_bytes())
        page.unlink()
    for example in (tree / "share/condense").glob("*-example.toml"):
        trees.copy(example, documents / "examples" / example.name)
    licences = [tree / "share/condense/licences" / name for name in ("condense.txt", "linked.txt")]
    texts = [path.read_text(encoding="utf-8") for path in licences]
    trees.write(documents / "copyright", "\n".join(texts))
    compress(
        documents / "changelog.gz",
        CHANGELOG.format(
            version=version,
            maintainer=MAINTAINER,
            date=time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(date)),
        ).encode(),
    )


def compress(path, content):
    """Writes a .gz file without name and time."""
    path.write_bytes(gzip.compress(content, 9, mtime=0))


def digest(path):
    """Returns the MD5 digest that dpkg compares installed files with."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
