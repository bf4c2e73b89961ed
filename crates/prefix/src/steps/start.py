"""Runs Python code, and writes down the files of the environment that this start reads.

It is run by record_start.py with `python -c`, so that the start is like any other.
arguments: this file, PREFIX, FOUND, and the code: one argument for each part of it

FOUND gets lines `file PATH`, relative to PREFIX, in the order of their first use: the interpreter
and what it has loaded, then what each part of the code has imported, mapped and opened. What has no
order of its own is sorted. A part of the code that fails gives a line `failed CODE: REASON`. A line
`begin NUMBER` comes before each part, and `end` after the last one: a part may end the process. A
part that has changed the home directory or that of temporary files, as by a cache that is made
once, ends with a line `changed`.

The start cannot write into PREFIX, which is read-only where programs run.
"""

import os
import sys

PREFIX = os.path.join(sys.argv[2], "")
PREFIXES = sorted({PREFIX, os.path.join(os.path.realpath(PREFIX), "")})
FOUND = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = {
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir",
    "os.setxattr", "os.symlink", "os.truncate", "os.utime",
}  # fmt: skip
READ_ONLY = 30
opened = []
known = set()
# The home directory, and that of temporary files if it is one of the steps.
STEPS = os.path.join(os.path.dirname(os.environ["HOME"]), "")
KEPT = [os.environ["HOME"]]
KEPT += [path for path in [os.environ.get("TMPDIR", "")] if path.startswith(STEPS)]


def write(line):
    if not isinstance(line, bytes):
        line = line.encode("utf-8", "surrogateescape")
    os.write(FOUND, line + b"\n")


def below(path):
    """Returns the path relative to PREFIX, or None for any other path."""
    if isinstance(path, bytes) and not isinstance(path, str):
        path = os.fsdecode(path)
    if isinstance(path, str):
        for prefix in PREFIXES:
            if path.startswith(prefix):
                return os.path.normpath(path[len(prefix) :])
    return None


def note(path):
    name = below(path)
    if name and name not in known and "\n" not in name and os.path.isfile(path):
        known.add(name)
        write("file " + name)


def mapped():
    with open("/proc/self/maps", "rb") as maps:
        fields = [line.split(None, 5) for line in maps.read().split(b"\n")]
    paths = sorted({words[5] for words in fields if len(words) == 6})
    return [path if isinstance(path, str) else os.fsdecode(path) for path in paths]


def imported():
    """Yields the file of each module: its byte code, or else its source or library."""
    names = list(sys.modules)
    for name in names if sys.version_info >= (3, 7) else sorted(names):
        # A module may compute its attributes by importing others.
        try:
            facts = getattr(sys.modules.get(name), "__dict__", {})
        except Exception:  # A module may be any object.
            continue
        spec = facts.get("__spec__")
        if getattr(spec, "origin", None) in ["built-in", "frozen"]:
            continue  # The interpreter has the code of this module in itself.
        paths = [getattr(spec, "cached", None), getattr(spec, "origin", None)]
        paths += [facts.get("__cached__"), facts.get("__file__")]
        for path in paths:
            if isinstance(path, str) and os.path.isfile(path):
                yield path
                break


def read_by_site():
    """Yields the files that `site` reads before any code can watch."""
    yield os.path.join(PREFIX, "pyvenv.cfg")
    for folder in sys.path:
        if folder.endswith("-packages") and os.path.isdir(folder):
            for name in sorted(os.listdir(folder)):
                if name.endswith(".pth"):
                    yield os.path.join(folder, name)


def watch(event, arguments):
    """Remembers what is opened, and refuses changes of the environment."""
    if event == "open":
        path, _, flags = arguments
        if below(path) is not None:
            if isinstance(flags, int) and flags & WRITES:
                raise OSError(READ_ONLY, "Read-only file system", path)
            opened.append(path if isinstance(path, str) else os.fsdecode(path))
    elif event in CHANGES and any(below(path) is not None for path in arguments[:2]):
        raise OSError(READ_ONLY, "Read-only file system")


def record():
    modules = list(imported())
    named = set(modules)
    for path in [path for path in opened if path in named] + modules + mapped():
        note(path)
    # Packages open other files in the order in which a file system lists them.
    for path in sorted(opened):
        note(path)
    del opened[:]


def kept():
    """Returns what is in the home directory and in that of temporary files of the steps."""
    found = []
    for top in KEPT:
        for folder, _, names in os.walk(top):
            found.append(folder)
            for path in [os.path.join(folder, name) for name in names]:
                try:
                    facts = os.lstat(path)
                except OSError:
                    continue
                found.append((path, facts.st_size, facts.st_mtime))
    return found


def run(code):
    try:
        exec(code, {"__name__": "__main__"})
    except BaseException as error:  # A package may do anything, such as exit.
        try:
            reason = " ".join(str(error).split())[:200]
        except Exception:  # The error's own code may fail.
            reason = ""
        shown = " ".join(code.split())
        write("failed %s: %s: %s" % (shown, type(error).__name__, reason))


def main():
    note(os.path.realpath(sys.executable))
    for path in mapped():
        note(path)
    for path in list(imported()) + list(read_by_site()):
        note(path)
    if hasattr(sys, "addaudithook"):
        sys.addaudithook(watch)
    for number, code in enumerate(sys.argv[4:]):
        write("begin %d" % number)
        before = kept()
        run(code)
        record()
        if kept() != before:
            write("changed")
    write("end")


if __name__ == "__main__":
    try:
        main()
    finally:
        os._exit(0)  # Whatever packages do at the end does not belong to a start.
