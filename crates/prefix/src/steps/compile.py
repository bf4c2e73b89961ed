"""Compiles Python sources of an environment to unchecked-hash byte code: compile.py PREFIX LIST [--walk] [--as PATH]

LIST names sources relative to PREFIX, one a line. --walk adds every source under the library that has no such byte
code yet, or has changed since LIST was written and is not what its byte code was made of. --as PATH is where PREFIX
will be, when it is not there now. Files that do not compile (templates, code for other versions) are passed over, as
they are by every installer.

The bytes do not depend on the number of processors: batches are fixed, and each is compiled by a fork of the same
parent, so that no batch sees what another has left in the interpreter.
"""
import importlib.util
import os
import sys
import warnings
from py_compile import PyCompileError, PycInvalidationMode, compile as compile_file

BATCH = 64


def has_bytecode(prefix, source, since):
    folder, name = os.path.split(source)
    path = os.path.join(prefix, folder, "__pycache__", f"{name[:-3]}.{sys.implementation.cache_tag}.pyc")
    try:
        with open(path, "rb") as file:
            header = file.read(16)
        if header[4:8] != b"\1\0\0\0":
            return False
        source = os.path.join(prefix, source)
        if os.stat(source).st_ctime < since:
            return True
        # Nobody will look at the source again, so a script's change of it counts only here.
        with open(source, "rb") as file:
            return header[8:] == importlib.util.source_hash(file.read())
    except OSError:
        return False


def sources(prefix, listed, walk):
    with open(listed, encoding="utf-8", errors="surrogateescape") as file:
        found = {line for line in file.read().split("\n") if line}
    if walk:
        since = os.stat(listed).st_mtime
        library = os.path.join(prefix, "lib", "python%d.%d" % sys.version_info[:2])
        for folder, folders, names in os.walk(library):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in names:
                source = os.path.relpath(os.path.join(folder, name), prefix)
                if name.endswith(".py") and not os.path.islink(os.path.join(folder, name)) and not has_bytecode(prefix, source, since):
                    found.add(source)
    return sorted(found)


def is_inside(prefix, source):
    """Whether byte code lands in PREFIX: a package may have put a link out of it in the way."""
    folder = os.path.join(prefix, os.path.dirname(source))
    root = os.path.realpath(prefix)
    return os.path.realpath(os.path.join(folder, "__pycache__")).startswith(os.path.join(root, ""))


def compile_batch(prefix, place, batch):
    for source in batch:
        if not is_inside(prefix, source):
            continue
        try:
            compile_file(
                os.path.join(prefix, source),
                dfile=os.path.join(place, source),
                doraise=True,
                invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
            )
        except (PyCompileError, ValueError, RecursionError, UnicodeError):
            pass  # not Python for this interpreter
        except FileExistsError:
            pass  # its byte code is a link, and stays one
        except FileNotFoundError:
            pass  # a script or pip has taken it away since it was listed
        except OSError as error:
            print(f"{source}: {error.strerror}", file=sys.stderr)
            return 1
    return 0


def main(arguments):
    place = None
    if "--as" in arguments:
        at = arguments.index("--as")
        place = arguments[at + 1]
        del arguments[at:at + 2]
    walk = "--walk" in arguments
    prefix, listed = [word for word in arguments if word != "--walk"]
    warnings.simplefilter("ignore")
    found = sources(prefix, listed, walk)
    batches = [found[at:at + BATCH] for at in range(0, len(found), BATCH)]
    workers, running, failed = min(len(os.sched_getaffinity(0)), 16), set(), False
    for batch in batches:
        if len(running) == workers:
            child, status = os.wait()
            running.discard(child)
            failed |= status != 0
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = compile_batch(prefix, place or prefix, batch)
            finally:
                sys.stderr.flush()
                os._exit(status)
        running.add(child)
    for _ in running:
        failed |= os.wait()[1] != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
