"""Tree of files of condense below a PREFIX, which all packages are made of."""

import os
import re
import shutil
import subprocess

import licences

MODULES = "share/modulefiles/condense"
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE")


def said_by(program, *words):
    """Returns the standard output of the program."""
    # Only the variables that a program needs, so that no setting of the user changes its output.
    variables = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    command = [program, *words]
    done = subprocess.run(command, env=variables, check=True, text=True, capture_output=True)
    return done.stdout


def names_of(program):
    """Returns the names of the program besides `condense`."""
    names = re.findall(r"see `condense ([a-z-]+) --help`", said_by(program, "--help"))
    if not names:
        raise SystemExit("scripts/packages: the help of the program shows no other names")
    return names


def version_of(program):
    """Returns the version of the program."""
    return said_by(program, "--version").split()[1]


def newest_glibc(program):
    """Returns the newest version of glibc that the program asks for, as a pair of numbers."""
    command = ["objdump", "-T", program]
    symbols = subprocess.run(command, check=True, text=True, capture_output=True).stdout
    versions = re.findall(r"GLIBC_(\d+)\.(\d+)", symbols)
    return max((int(major), int(minor)) for major, minor in versions)


def write(path, text, mode=0o644):
    """Writes a file and its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def copy(source, target, mode=0o644):
    """Copies a file, and makes its directory."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def make(root, program, tree, machine):
    """Makes the tree in an empty directory."""
    parts = root / "scripts/packages"
    version = version_of(program)
    copy(program, tree / "bin/condense", 0o755)
    for name in names_of(program):
        (tree / "bin" / name).symlink_to("condense")
    said_by(tree / "bin/condense", "pages", tree / "share")
    for suffix, module in ((".lua", "module.lua"), ("", "module.tcl")):
        text = (parts / module).read_text(encoding="utf-8").replace("@VERSION@", version)
        write(tree / MODULES / f"{version}{suffix}", text)
    for name in ("site-example.toml", "config-example.toml"):
        copy(parts / name, tree / "share/condense" / name)
    text = licences.document(root, machine, version)
    write(tree / "share/condense/licences/linked.txt", text)
    copy(root / "LICENSE", tree / "share/condense/licences/condense.txt")
    documents = tree / "share/doc/condense"
    for name in DOCUMENTS:
        copy(root / name, documents / name)
    for page in sorted((root / "docs").rglob("*.md")):
        copy(page, documents / page.relative_to(root))
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent == tree / "bin" else 0o644)
