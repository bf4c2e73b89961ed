"""Starts the environment's interpreter, and records the files that this start reads.

usage: record_start.py PREFIX BUILD_DIR SECONDS START

BUILD_DIR/start.list has requests with zero bytes between them: `conda NAME` and `pip NAME` for the
modules of a package, or `code TEXT` for Python code. START is the program of the start. It writes
the files into BUILD_DIR/start.found, if it ends by itself: how far a slow start comes depends on
the load of the machine. After SECONDS, it and everything that it has started are ended.

Written for every Python that an environment may have: 2.7, and 3.5 and newer.
"""

from __future__ import print_function

import glob
import json
import os
import re
import signal
import sys
import time

POLL = 0.02
MODULES_OF_A_PACKAGE = 4
NOT_IMPORTED = {"pip", "setuptools", "wheel", "test", "tests", "docs", "examples", "conftest"}


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def libraries(prefix):
    found = glob.glob(os.path.join(prefix, "lib*", "python*", "site-packages"))
    return sorted(path for path in found if os.path.isdir(path))


def read(path):
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "replace")


def module(path):
    """Returns the module that a path below the library is the top of, or None."""
    parts = path.split("/")
    stem, rest = parts[-1].split(".")[0], parts[-1].split(".")[1:]
    if rest[-1:] not in [["py"], ["so"]] or len(parts) > 2:
        return None
    name = stem if len(parts) == 1 else parts[0]
    if len(parts) == 2 and stem != "__init__":
        return None
    is_name = re.match("[A-Za-z][A-Za-z0-9_]*$", name)
    return name if is_name and name not in NOT_IMPORTED else None


def modules(package, paths):
    """Returns the modules of a package, first the one that is named like it."""
    found = {module(path) for path in paths} - {None}
    return sorted(found, key=lambda name: (normalized(name) != normalized(package), name))


def files_of_conda(prefix, package):
    for record in sorted(glob.glob(os.path.join(prefix, "conda-meta", package + "-*.json"))):
        facts = json.loads(read(record))
        if facts.get("name") == package:
            paths = [path.split("site-packages/", 1) for path in facts.get("files", [])]
            return [parts[1] for parts in paths if len(parts) == 2]
    return []


def files_of_pip(prefix, package):
    for library in libraries(prefix):
        for record in sorted(os.listdir(library)):
            name, end = os.path.splitext(record)
            if end == ".dist-info" and normalized(name.split("-")[0]) == normalized(package):
                listed = read(os.path.join(library, record, "RECORD"))
                return [line.split(",")[0] for line in listed.splitlines()]
    return []


def imports(prefix, request):
    kind, _, text = request.partition(" ")
    if kind == "code":
        return [text]
    files = files_of_conda if kind == "conda" else files_of_pip
    try:
        found = modules(text, files(prefix, text))
    except (IOError, OSError, ValueError, AttributeError):
        return []  # The record of the package cannot be read.
    return ["import " + name for name in found[:MODULES_OF_A_PACKAGE]]


def environment(prefix, home):
    """Returns variables that hold nothing of the user, and that do not change from run to run."""
    kept = ["PATH", "TMPDIR", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV"]
    variables = {name: os.environ[name] for name in kept if name in os.environ}
    variables.update(
        HOME=home,
        LANG="C.UTF-8",
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONHASHSEED="0",
        PYTHONNOUSERSITE="1",
    )
    variables.setdefault("PATH", os.path.join(prefix, "bin") + ":/usr/bin:/bin")
    return variables


def become(words, variables, home):
    """Becomes the leader of a session, and then the start."""
    os.setsid()
    os.chdir(home)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.execve(words[0], words, variables)


def has_ended(child, seconds):
    deadline = time.time() + seconds
    while time.time() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(POLL)
    return False


def start(words, variables, home, seconds):
    """Returns whether the start has ended by itself. Nothing of it is left."""
    child = os.fork()
    if child == 0:
        try:
            become(words, variables, home)
        finally:
            os._exit(127)
    in_time = has_ended(child, seconds)
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        in_time = True  # Nothing of it is left.
    if not in_time:
        os.waitpid(child, 0)
    return in_time


def main(prefix, build, seconds, program):
    home = os.path.join(build, "start-home")
    if not os.path.isdir(home):
        os.mkdir(home, 0o700)
    found = os.path.join(build, "start.found")
    results = [os.path.join(build, name) for name in ["start-first.found", "start-again.found"]]
    code = []
    for request in read(os.path.join(build, "start.list")).split("\0"):
        code += [text for text in imports(prefix, request) if text not in code]
    variables = environment(prefix, home)
    for result in results:
        # The first start of all makes caches in the home directory, as of fonts. Only the next one
        # is like those that follow.
        begin = "import sys; exec(open(sys.argv[1]).read())"
        words = [sys.executable, "-c", begin, program, prefix, result]
        if not start(words + code, variables, home, float(seconds)):
            with open(found, "wb") as file:
                file.write(b"failed the time limit\n")
            return
    os.rename(results[1], found)


if __name__ == "__main__":
    main(*sys.argv[1:])
