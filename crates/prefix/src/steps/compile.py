"""Compiles Python sources of an environment to unchecked-hash byte code.

usage: compile.py PREFIX LIST [--walk | --fed] [--as PATH]

LIST names sources relative to PREFIX, one per line, in batches with an empty line between two.
--walk adds every source under the library that has no such byte code yet. It also adds sources that
have changed since LIST was written and differ from the source of their byte code. With --fed the
sources are not in PREFIX: the file `sources` beside LIST has their texts, `sources.index` a line
`OFFSET LENGTH PATH` for each, and `sources.as` the path that PREFIX has in byte code. The byte code
of the batch N goes to the file `bytecode/N`, each behind a line `LENGTH PATH`, with a line `0 ` at
the end. A line `::condense-code N SHA-256` of the output has its digest. --as PATH is the later
path of PREFIX, if PREFIX is elsewhere now. Files that do not compile (templates, code for other
versions) are skipped, as every installer does. Python before 3.7 writes the time of the source
instead of its hash.

The bytes depend neither on the number of processors nor on other packages: a batch has sources of
one package, and each is compiled by a fork of the same parent process, so that no batch depends on
the state that another batch has left.

Written for every Python that an environment may have: 2.7, and 3.5 and newer.
"""

from __future__ import print_function

import errno
import marshal
import os
import py_compile
import struct
import sys
import warnings

BATCH = 64
HASHES = hasattr(py_compile, "PycInvalidationMode")
NOT_COMPILED = (py_compile.PyCompileError, SyntaxError, ValueError, TypeError, RuntimeError)
TAG = sys.implementation.cache_tag if hasattr(sys, "implementation") else None


def bytecode_of(prefix, source):
    folder, name = os.path.split(source)
    if TAG is None:
        return os.path.join(prefix, source + "c")
    return os.path.join(prefix, folder, "__pycache__", "%s.%s.pyc" % (name[:-3], TAG))


def has_bytecode(prefix, source, since):
    try:
        with open(bytecode_of(prefix, source), "rb") as file:
            header = file.read(16)
        source = os.path.join(prefix, source)
        found = os.stat(source)
        if not HASHES:
            length = b"" if TAG is None else struct.pack("<L", found.st_size & 0xFFFFFFFF)
            return header[4:].startswith(
                struct.pack("<L", int(found.st_mtime) & 0xFFFFFFFF) + length
            )
        if header[4:8] != b"\1\0\0\0":
            return False
        if found.st_ctime < since:
            return True
        # No later step compares the source with its byte code, so changes by scripts are found
        # here.
        import importlib.util

        with open(source, "rb") as file:
            return header[8:] == importlib.util.source_hash(file.read())
    except (IOError, OSError):
        return False


def libraries(prefix):
    """Yields the library directories, such as `lib/python3.11`.

    The name of a free-threaded Python's directory is not its version alone.
    """
    library = os.path.dirname(os.__file__)
    names = {
        os.path.basename(library),
        os.path.basename(os.path.realpath(library)),
        "python%d.%d" % sys.version_info[:2],
    }
    for lib in ["lib", "lib64"]:
        if not os.path.islink(os.path.join(prefix, lib)):
            for path in [os.path.join(prefix, lib, name) for name in sorted(names)]:
                if os.path.isdir(path) and not os.path.islink(path):
                    yield path


def walked(prefix, since):
    """Yields the sources under the library that need byte code."""
    for library in libraries(prefix):
        for folder, folders, names in os.walk(library):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in names:
                path = os.path.join(folder, name)
                source = os.path.relpath(path, prefix)
                if (
                    name.endswith(".py")
                    and not os.path.islink(path)
                    and not has_bytecode(prefix, source, since)
                ):
                    yield source


def group(source):
    """Names the sources that a source shares batches with, as condense does (batches.rs)."""
    words = source.split("/")
    return words[:4] if words[2:3] == ["site-packages"] else words[:-1][:3]


def batches_of(prefix, listed, walk):
    with open(listed, "rb") as file:
        batches = file.read().split(b"\n\n")
    batches = [[line for line in batch.split(b"\n") if line] for batch in batches]
    if hasattr(os, "fsdecode"):
        batches = [[os.fsdecode(line) for line in batch] for batch in batches]
    if walk:
        known = {source for batch in batches for source in batch}
        groups = {}
        for source in sorted(set(walked(prefix, os.stat(listed).st_mtime)) - known):
            groups.setdefault(tuple(group(source)), []).append(source)
        for _, found in sorted(groups.items()):
            batches += [found[at : at + BATCH] for at in range(0, len(found), BATCH)]
    return [batch for batch in batches if batch]


def is_inside(prefix, source):
    """Whether byte code is written inside PREFIX: a package may have a link that leads out."""
    folder = os.path.join(prefix, os.path.dirname(source))
    root = os.path.realpath(prefix)
    return os.path.realpath(os.path.join(folder, "__pycache__")).startswith(os.path.join(root, ""))


def compile_batch(prefix, place, batch):
    options = {"doraise": True}
    if HASHES:
        options["invalidation_mode"] = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for source in batch:
        if not is_inside(prefix, source):
            continue
        try:
            file = os.path.join(prefix, source)
            py_compile.compile(file, dfile=os.path.join(place, source), **options)
        except NOT_COMPILED:
            pass  # not a source for this interpreter
        except (IOError, OSError) as error:
            # A script or pip has removed the source since it was listed, or the byte code is a link
            # and stays one.
            if error.errno in (errno.ENOENT, errno.EEXIST):
                continue
            print("%s: %s" % (source, error.strerror), file=sys.stderr)
            return 1
    return 0


def read_index(folder):
    """Returns the path that PREFIX has in byte code, and where the text of each source is."""
    with open(os.path.join(folder, "sources.as"), "rb") as file:
        place = os.fsdecode(file.read())
    with open(os.path.join(folder, "sources.index"), "rb") as file:
        lines = [line.split(b" ", 2) for line in file.read().split(b"\n") if line]
    return place, {os.fsdecode(path): (int(at), int(length)) for at, length, path in lines}


def code_of(text, dfile):
    loader = py_compile.importlib.machinery.SourceFileLoader("<py_compile>", dfile)
    return loader.source_to_code(text, dfile)


def is_portable(text, source, code, place):
    """Whether byte code of another path of PREFIX differs in that path alone.

    It does not if the compiler has evaluated something that takes the path apart.
    """
    other = place[:1] + "~" * (len(place) - 1)
    old, new = os.fsencode(place), os.fsencode(other)
    twin = marshal.dumps(code_of(text.replace(old, new), os.path.join(other, source)), 2)
    return twin.replace(new, old) == marshal.dumps(code, 2)


def compile_fed(folder, number, batch, later, place, index):
    """Does what compile_batch does, step for step, for sources that are in one file.

    The names of the sources stay referenced as long as there, since that changes marshalled bytes.
    A source that has PLACE, the path of PREFIX meanwhile, in its text is compiled with the path
    LATER if it must be; then its batch has no end.
    """
    is_whole = True
    util = py_compile.importlib.util
    external = py_compile.importlib._bootstrap_external
    written_to = os.path.join(folder, "bytecode", str(number))
    with open(os.path.join(folder, "sources"), "rb") as texts, open(written_to, "wb") as compiled:
        for source in batch:
            offset, length = index[source]
            texts.seek(offset)
            text = texts.read(length)
            dfile = os.path.join(place, source)
            try:
                code = code_of(text, dfile)
                has_path = place != later and os.fsencode(place) in text
                if has_path and not is_portable(text, source, code, place):
                    is_whole = False
                    text = text.replace(os.fsencode(place), os.fsencode(later))
                    dfile = os.path.join(later, source)
                    code = code_of(text, dfile)
            except MemoryError:
                is_whole = False
                continue
            except Exception:
                continue  # not a source for this interpreter
            written = external._code_to_hash_pyc(code, util.source_hash(text), False)
            path = os.fsencode(bytecode_of("", source))
            compiled.write(b"%d %s\n" % (len(written), path) + written)
            # Names that code has interned would be found there by the next source.
            del code
        if is_whole:
            compiled.write(b"0 \n")
    tell_digest(number, written_to)
    return 0


def tell_digest(number, written_to):
    for name in ("_sha2", "_sha256"):
        try:
            module = __import__(name)
        except ImportError:
            continue
        with open(written_to, "rb") as file:
            digest = module.sha256(file.read()).hexdigest()
        # One write is one line, whatever other processes write.
        os.write(1, b"::condense-code %d %s\n" % (number, digest.encode()))
        return


def processors():
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.sysconf("SC_NPROCESSORS_ONLN")


def main(arguments):
    place = None
    if "--as" in arguments:
        at = arguments.index("--as")
        place = arguments[at + 1]
        del arguments[at : at + 2]
    walk, fed = "--walk" in arguments, "--fed" in arguments
    prefix, listed = [word for word in arguments if word not in ("--walk", "--fed")]
    warnings.simplefilter("ignore")
    folder, place = os.path.dirname(listed), place or prefix
    fed_as, index = read_index(folder) if fed else (place, {})
    workers, running, failed = min(processors(), 16), set(), False
    for number, batch in enumerate(batches_of(prefix, listed, walk)):
        if len(running) == workers:
            child, status = os.wait()
            running.discard(child)
            failed |= status != 0
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if fed:
                    status = compile_fed(folder, number, batch, place, fed_as, index)
                else:
                    status = compile_batch(prefix, place, batch)
            finally:
                sys.stderr.flush()
                os._exit(status)
        running.add(child)
    for _ in running:
        failed |= os.wait()[1] != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
