"""Makes conda's `python` and `python_abi` from a CPython of this machine, or from its source."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import elf
from package import MTIME, PLACEHOLDER, build_string, fresh_dir, write_package

SCRIPTS = Path(__file__).resolve().parent.parent
# Parts of the library that conda-forge leaves out as well. ensurepip stays:
# `python -m venv` needs its bundled wheels.
LEFT_OUT = re.compile(
    r"(test|idlelib|turtledemo|site-packages|tkinter|lib2to3/tests|distutils/tests|unittest/test|sqlite3/test|ctypes/test"
    r"|config-[^/]*/[^/]*\.(a|o))$|(.*/)?__pycache__$"
    r"|lib-dynload/(_tkinter|nis|_gdbm|_dbm|_test[^/]*|_ctypes_test[^/]*|xx[^/]*|_xx[^/]*)\."
)
NEEDS = "import bz2, ctypes, curses, ensurepip, lzma, readline, sqlite3, ssl, uuid, zlib"
# Needs of a build from source: {file: Debian package}
BUILD_NEEDS = {
    "gcc": "gcc",
    "make": "make",
    "xz": "xz-utils",
    "pkg-config": "pkg-config",
    "/usr/include/stdlib.h": "libc6-dev",
    "/usr/include/bzlib.h": "libbz2-dev",
    "/usr/include/x86_64-linux-gnu/ffi.h": "libffi-dev",
    "/usr/include/lzma.h": "liblzma-dev",
    "/usr/include/curses.h": "libncurses-dev",
    "/usr/include/readline/readline.h": "libreadline-dev",
    "/usr/include/sqlite3.h": "libsqlite3-dev",
    "/usr/include/openssl/ssl.h": "libssl-dev",
    "/usr/include/uuid/uuid.h": "uuid-dev",
    "/usr/include/zlib.h": "zlib1g-dev",
}


class Tree:
    """An installed CPython: its directory, and the prefix it was configured with."""

    def __init__(self, root: Path, xy: str, configured_prefix: str):
        self.root, self.xy, self.configured_prefix = root, xy, configured_prefix

    @property
    def program(self) -> Path:
        return self.root / f"bin/python{self.xy}"

    def run(self, *args: str, **kwargs) -> subprocess.CompletedProcess:
        """Runs the interpreter, at any place of the tree."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        env |= {"LD_LIBRARY_PATH": str(self.root / "lib"), "PYTHONHASHSEED": "0"}
        return subprocess.run(
            [str(self.program), "-B", "-E", "-s", *args], env=env, text=True, check=False, **kwargs
        )

    def version(self) -> str | None:
        """Returns its version if the tree is complete enough for a package."""
        if not self.program.exists() or not list(
            self.root.glob(f"lib/python{self.xy}/ensurepip/_bundled/pip-*.whl")
        ):
            return None
        done = self.run(
            "-c", NEEDS + "; import platform; print(platform.python_version())", capture_output=True
        )
        return done.stdout.strip() if done.returncode == 0 else None


def find(xy: str) -> Tree | None:
    """Finds the newest usable CPython x.y in pyenv-like trees of this machine."""
    homes = [
        os.environ.get("PYENV_ROOT"),
        os.path.expanduser("~/.pyenv"),
        "/opt/pyenv",
        "/opt/python",
    ]
    roots = {
        p.resolve()
        for h in homes
        if h
        for pattern in (f"versions/{xy}.*", f"{xy}.*")
        for p in Path(h).glob(pattern)
    }
    for root in sorted(
        roots, key=lambda p: [int(n) for n in re.findall(r"\d+", p.name)], reverse=True
    ):
        tree = Tree(root, xy, str(root))
        if tree.version():
            return tree
    return None


def find_built(xy: str, package_suite: str, cache: Path) -> Tree | None:
    """Finds the result of an earlier `build` in the cache."""
    tree = Tree(_built_root(xy, package_suite, cache), xy, PLACEHOLDER)
    return tree if tree.version() else None


def install_build_needs() -> None:
    """Installs the needs of `build`."""
    subprocess.run(
        [str(SCRIPTS / "apt-need"), *(f"{k}={v}" for k, v in BUILD_NEEDS.items())], check=True
    )


def build(xy: str, package_suite: str, cache: Path) -> Tree:
    """Builds CPython x.y from Debian's source with a placeholder like conda's as its prefix.

    It takes minutes; the result is kept in the cache.
    """
    root = _built_root(xy, package_suite, cache)
    started = time.monotonic()
    print(
        f"no complete CPython {xy} on this machine: building Debian's source of it (minutes)",
        file=sys.stderr,
    )
    view = [str(SCRIPTS / "apt-view"), "--cache", str(cache), package_suite]
    apt_conf = subprocess.run(view, check=True, capture_output=True, text=True).stdout.strip()
    work = fresh_dir(cache / f"cpython-{xy}.building")
    subprocess.run(
        ["apt-get", "-qq", "source", "--download-only", f"python{xy}"],
        cwd=work,
        env={**os.environ, "APT_CONFIG": apt_conf},
        check=True,
    )
    (tarball,) = work.glob("*.orig.tar.[gx]z")
    source = fresh_dir(work / "source")
    subprocess.run(
        ["tar", "-xf", str(tarball), "-C", str(source), "--strip-components=1"], check=True
    )
    # Without the variables of a `make` that runs this script.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))} | {
        "OPT": "-DNDEBUG -O2",
        "CPPFLAGS": f"-I{PLACEHOLDER}/include",
        "LDFLAGS": f"-L{PLACEHOLDER}/lib -Wl,-rpath,{PLACEHOLDER}/lib -Wl,--disable-new-dtags",
    }
    steps = (
        ["./configure", "-q", f"--prefix={PLACEHOLDER}", "--enable-shared", "--with-computed-gotos",
         "--without-ensurepip", "--disable-test-modules"],
        ["make", "-s", f"-j{os.cpu_count()}"],
        ["make", "-s", "install", f"DESTDIR={work}/installed"],
    )  # fmt: skip
    log_path = cache / f"cpython-{xy}.log"
    with open(log_path, "w") as log:
        for step in steps:
            if (
                subprocess.run(
                    step, cwd=source, env=env, stdout=log, stderr=log, check=False
                ).returncode
                != 0
            ):
                raise RuntimeError(f"cpython: `{' '.join(step)}` failed, see {log_path}")
    shutil.rmtree(root, ignore_errors=True)
    os.rename(f"{work}/installed{PLACEHOLDER}", root)
    shutil.rmtree(work)
    tree = find_built(xy, package_suite, cache)
    if tree is None:
        raise RuntimeError(f"cpython: the built {xy} lacks a module of: {NEEDS}; see {log_path}")
    print(f"built CPython {xy} in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return tree


def convert(
    tree: Tree, owners: dict[str, str], channel: Path, work: Path
) -> list[tuple[str, dict]]:
    """Makes the packages `python` and `python_abi` from a tree."""
    xy, version = tree.xy, tree.version()
    if version is None:
        raise RuntimeError(f"cpython: {tree.root} is not a complete CPython {xy}")
    root = _stage(tree, fresh_dir(work / f"python-{xy}"))
    binaries = [
        str(p) for p in root.rglob("*") if p.is_file() and not p.is_symlink() and elf.is_elf(p)
    ]
    for p in binaries:
        os.chmod(p, 0o755)
    subprocess.run(["strip", "--strip-unneeded", *binaries], check=True)
    needed, glibc, unknown = elf.dependencies(root, owners)
    if unknown:
        raise RuntimeError(
            f"cpython: {tree.root} needs {sorted(unknown)}, which no package of the channel has"
        )
    elf.relocate(root)
    _replace_prefix(root, tree.configured_prefix)
    _compile(Tree(root, xy, ""))

    tag = "cp" + xy.replace(".", "")
    index = {
        "name": "python",
        "version": version,
        "build_number": 0,
        "subdir": "linux-64",
        "depends": sorted([*needed, "tzdata", glibc]),
        "constrains": [f"python_abi {xy}.* *_{tag}"],
        "license": "Python-2.0",
        "python_site_packages_path": f"lib/python{xy}/site-packages",
    }
    flavour = "cpython" if xy < "3.13" else tag
    index["build"] = build_string("", index) + f"_{flavour}"
    summary = "General purpose programming language"
    licenses = {p.name: p.read_bytes() for p in root.glob(f"lib/python{xy}/LICENSE.txt")}
    python = write_package(root, index, channel, summary=summary, licenses=licenses)
    abi = {
        "name": "python_abi",
        "version": xy,
        "build": f"0_{tag}",
        "subdir": "noarch",
        "noarch": "generic",
        "constrains": [f"python {xy}.* *_{flavour}"],
    }
    return [python, write_package(fresh_dir(work / f"python_abi-{xy}"), abi, channel)]


def compile_tree(tree: Tree, root: Path, folder: Path) -> None:
    """Writes the .pyc files below folder, as seen from the prefix `root`."""
    for source in folder.rglob("*.py"):
        os.utime(source, (MTIME, MTIME))
    # Files that are not Python (templates, tests of syntax) fail, as in conda-build.
    tree.run(
        "-m",
        "compileall",
        "-q",
        "-s",
        str(root),
        "-p",
        "/",
        str(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for source in folder.rglob("*.py"):
        if PLACEHOLDER.encode() in source.read_bytes():
            # Installation changes this source, so its byte code would be stale.
            for stale in source.parent.glob(f"__pycache__/{source.stem}.*.pyc"):
                stale.unlink()


def _built_root(xy: str, package_suite: str, cache: Path) -> Path:
    return cache / f"cpython-{xy}-from-{package_suite}"


def _stage(tree: Tree, root: Path) -> Path:
    xy = tree.xy
    library = tree.root / f"lib/python{xy}"

    def ignore(folder: str, names: list[str]) -> list[str]:
        rel = Path(folder).relative_to(library)
        return [n for n in names if LEFT_OUT.match((rel / n).as_posix())]

    shutil.copytree(library, root / f"lib/python{xy}", symlinks=True, ignore=ignore)
    shutil.copytree(tree.root / f"include/python{xy}", root / f"include/python{xy}")
    for pattern in (
        f"lib/libpython{xy}*.so*",
        "lib/libpython3.so",
        f"lib/pkgconfig/python*{xy}*",
        f"bin/pydoc{xy}",
        f"bin/python{xy}*",
    ):
        for path in tree.root.glob(pattern):
            (root / path.relative_to(tree.root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, root / path.relative_to(tree.root), follow_symlinks=False)
    for path in root.glob(f"bin/python{xy}-gdb.py"):
        path.unlink()
    for name in ("python", "python3"):
        (root / "bin" / name).symlink_to(f"python{xy}")
    (root / "bin/python3-config").symlink_to(f"python{xy}-config")
    (root / "bin/pydoc").symlink_to(f"pydoc{xy}")
    site = root / f"lib/python{xy}/site-packages"
    site.mkdir()
    (site / "README.txt").write_text("Installed packages lie here.\n")
    return root


def _replace_prefix(root: Path, configured_prefix: str) -> None:
    if configured_prefix == PLACEHOLDER:
        return
    old, new = configured_prefix.encode(), PLACEHOLDER.encode()
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and not elf.is_elf(path):
            data = path.read_bytes()
            if old in data and b"\0" not in data:
                path.write_bytes(data.replace(old, new))


def _compile(tree: Tree) -> None:
    compile_tree(tree, tree.root, tree.root / f"lib/python{tree.xy}")
