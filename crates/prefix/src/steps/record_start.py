"""Starts the environment's interpreter, and records the files that this start reads.

usage: record_start.py PREFIX BUILD_DIR SECONDS START

BUILD_DIR/start.list has requests with zero bytes between them: `conda NAME` and `pip NAME` for the
modules of a package, or `code TEXT` for Python code. START is the program of the start. It writes
the files into BUILD_DIR/start.found, if it ends by itself: how far a slow start comes depends on
the load of the machine. After SECONDS, it and everything in its process group are ended, and also
if this program is killed; what has gone to another process group goes on. Code that ends the
process gives a line `failed CODE: exit status NUMBER`, or `failed CODE: signal NUMBER`.

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

# Ctrl-C ends what has started this program, which then ends this program.
signal.signal(signal.SIGINT, signal.SIG_IGN)
POLL = 0.02
# Seconds after the limit in which this program ends a start before the start's own guard does.
GRACE = 2
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


def lines_of(result):
    return read(result).rstrip("\n").split("\n") if os.path.exists(result) else []


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


def die_with_parent(signal_number):
    """Asks for a signal when the parent ends, however it ends."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal_number, 0, 0, 0)
    except Exception:  # An interpreter without ctypes keeps only the time limit.
        pass


def become(words, variables, home):
    """Becomes the start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.chdir(home)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.execve(words[0], words, variables)


def guard(start, parent, seconds, told):
    """Makes a start in a session and process group of its own, and tells how it has ended.

    Everything in the process group is killed when the time is over, and when the parent has ended:
    nobody else would do it after that. Processes that have gone to another group are not found.
    """
    os.setsid()
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(os.getpid(), signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    die_with_parent(signal.SIGALRM)
    if os.getppid() != parent:
        return
    child = os.fork()
    if child == 0:
        try:
            die_with_parent(signal.SIGKILL)
            os.close(told)
            become(*start)
        finally:
            os._exit(127)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        end = "signal %d" % os.WTERMSIG(status)
    else:
        end = "exit status %d" % os.WEXITSTATUS(status)
    os.write(told, end.encode("ascii"))


def has_ended(child, seconds):
    deadline = time.time() + seconds
    while time.time() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(POLL)
    return False


def start(words, variables, home, seconds):
    """Returns how the start has ended, or None if its time was over. Nothing of it is left."""
    told, tell = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            os.close(told)
            guard((words, variables, home), parent, seconds + GRACE, tell)
        finally:
            os._exit(0)
    os.close(tell)
    in_time = has_ended(child, seconds)
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        in_time = True  # Nothing of it is left.
    if not in_time:
        os.waitpid(child, 0)
    with os.fdopen(told, "rb") as pipe:
        end = pipe.read().decode("ascii")
    return (end or "signal 9") if in_time else None


def failure(result, code, end):
    """Returns the line about a start that has not come to its end, or None.

    A line `begin NUMBER` is before each part of the code, and `end` after the last one.
    """
    lines = lines_of(result)
    if end == "exit status 0" and lines[-1:] == ["end"]:
        return None
    begun = [line[6:] for line in lines if re.match("begin [0-9]+$", line)]
    at = int(begun[-1]) if begun else len(code)
    part = " ".join(code[at].split()) if at < len(code) else "the start"
    return "failed %s: %s" % (part, end)


def parts_of(result, count):
    """Returns the lines before the first of `count` parts of code, and the lines of each part."""
    parts = [[] for _ in range(count + 1)]
    at = 0
    for line in lines_of(result):
        if re.match("begin [0-9]+$", line):
            at = int(line[6:]) + 1
        elif line != "end":
            parts[at].append(line)
    return parts[0], parts[1:]


def has_failed(lines):
    return any(line.startswith("failed ") for line in lines)


def to_repeat(parts, given):
    """Returns the numbers of the parts that a second start must run.

    The first start of all makes caches in the home directory, as of fonts; only the next one is
    like those that follow. A later part may read what only the making of a cache has read before
    it. A part from `given` on is the user's code, which may need what stands before it.
    """
    changed = [number for number, lines in enumerate(parts) if "changed" in lines]
    return list(range(min(changed[0], given), len(parts))) if changed else []


class Recorder:
    def __init__(self, prefix, build, seconds, program):
        self.build, self.seconds = build, float(seconds)
        self.home = os.path.join(build, "start-home")
        self.variables = environment(prefix, self.home)
        begin = "import sys; exec(open(sys.argv[1]).read())"
        self.words = [sys.executable, "-c", begin, program, prefix]

    def run(self, name, code):
        """Makes a start. Returns its lines as `parts_of`, and its failure or None."""
        result = os.path.join(self.build, name)
        words = list(self.words)
        words.append(result)
        words.extend(code)
        end = start(words, self.variables, self.home, self.seconds)
        if end is None:
            return None
        before, parts = parts_of(result, len(code))
        return before, parts, failure(result, code, end)

    def record(self, code, given):
        """Returns the lines of the files that a start reads, or None if its time was over."""
        first = self.run("start-first.found", code)
        if first is None:
            return None
        before, parts, failed = first
        numbers = to_repeat(parts, given)
        if numbers and failed is None:
            again = self.run("start-again.found", [code[number] for number in numbers])
            if again is None:
                return None
            is_worse = again[2] is not None or any(
                has_failed(lines) and not has_failed(parts[number])
                for number, lines in zip(numbers, again[1])
            )
            if not is_worse:
                for number, lines in zip(numbers, again[1]):
                    parts[number] = lines
                numbers = []
        if numbers:
            # The parts need each other, or end the process.
            first = self.run("start-whole.found", code)
            if first is None:
                return None
            before, parts, failed = first
        return before + [line for lines in parts for line in lines] + ([failed] if failed else [])


def main(prefix, build, seconds, program):
    recorder = Recorder(prefix, build, seconds, program)
    if not os.path.isdir(recorder.home):
        os.mkdir(recorder.home, 0o700)
    code, given = [], 0
    for request in read(os.path.join(build, "start.list")).split("\0"):
        code += [text for text in imports(prefix, request) if text not in code]
        if not request.startswith("code "):
            given = len(code)
    lines = recorder.record(code, given)
    if lines is None:
        lines = ["failed the time limit"]
    lines = [line for line in lines if line != "changed"]
    with open(os.path.join(build, "start.found"), "wb") as file:
        file.write("".join(line + "\n" for line in lines).encode("utf-8", "replace"))


if __name__ == "__main__":
    main(*sys.argv[1:])
