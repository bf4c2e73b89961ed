"""Trees to pack, made once from the full channel and from PyPI, and kept."""

import os
import shutil
import subprocess

from .common import CACHE, CONDENSE, PARTS, SPECS, WORK, environment, run, venv

MORE = [
    "sympy",
    "networkx",
    "pytest",
    "flask",
    "rich",
    "requests",
    "tqdm",
    "pillow",
    "pyyaml",
    "mpi4py",
]
# Packages of PyPI with many small files, large libraries, and much JavaScript.
LARGE = (
    "plotly==5.24.1 django botocore babel sphinx scikit-learn statsmodels pyarrow numba"
    " jupyterlab bokeh sympy scikit-image astropy dask distributed nltk"
).split()


def middle():
    """Makes an environment of usual size."""
    return environment(WORK / "middle", SPECS + MORE)


def of_pypi(name, *words):
    """Installs packages with pip into a directory that is kept beside the other downloads."""
    kept = CACHE / name
    if not (kept / "done").exists():
        shutil.rmtree(kept, ignore_errors=True)
        run([venv(), "-m", "pip", "install", "-q", "--target", kept / "site-packages", *words])
        (kept / "done").touch()
    return kept / "site-packages"


def large():
    """Makes a large environment."""
    tree = WORK / "large"
    if not tree.exists():
        packages = of_pypi("bench-large", *LARGE)
        environment(tree, ["python =3.11"])
        run(["cp", "-a", "--reflink=auto", packages, tree / "lib/python3.11/site-packages-of-pypi"])
    return tree


def small():
    """Makes 150,000 small files, a directory of 5,000, hard links, holes and other rare entries."""
    tree = WORK / "small"
    if tree.exists():
        return tree
    making = WORK / "small.making"
    shutil.rmtree(making, ignore_errors=True)
    sources = sorted(
        path for path in (middle() / "lib/python3.11").rglob("*.py") if path.stat().st_size > 200
    )
    texts = [path.read_bytes() for path in sources[:3000]]
    for number in range(145_000):
        if number % 500 == 0:
            folder = making / f"{number // 5000:02}" / f"{number // 500 % 10}"
            folder.mkdir(parents=True)
        text = texts[number % len(texts)]
        start = number * 37 % max(1, len(text) - 1500)
        (folder / f"file-{number}.py").write_bytes(
            f"# {number}\n".encode() + text[start : start + 200 + number * 7919 % 4000]
        )
    many = making / "many"
    many.mkdir()
    for number in range(5000):
        (many / f"entry-{number:05}").write_bytes(
            b"" if number % 10 == 0 else f"{number}\n".encode()
        )
        if number % 50 == 0:
            os.link(many / f"entry-{number:05}", making / f"link-{number:05}")
    with (making / "hole").open("wb") as hole:
        hole.truncate(64 << 20)
    os.symlink("x" * 300, making / "long")
    making.rename(tree)
    return tree


def base_root():
    """Makes a root file system of about the size of a site's image.

    It is a small Debian with much software in it, PyTorch included.
    """
    root = WORK / "base-root"
    if not root.exists():
        making = WORK / "base-root.making"
        shutil.rmtree(making, ignore_errors=True)
        run([CONDENSE, "image", "extract", PARTS / "base.sif", making])
        run(
            [
                "cp",
                "-a",
                "--reflink=auto",
                large() / "lib/python3.11",
                making / "usr/local/lib/python3.11",
            ]
        )
        run(
            [
                "cp",
                "-a",
                "--reflink=auto",
                of_pypi("bench-torch", "--no-deps", "torch"),
                making / "usr/local/lib/python3.11/torch",
            ]
        )
        making.rename(root)
    return root


def described(tree):
    """Returns the number of entries and bytes, for a title."""
    count = int(
        subprocess.run(
            f"find '{tree}' | wc -l", shell=True, capture_output=True, text=True, check=True
        ).stdout
    )
    size = int(
        subprocess.run(
            ["du", "-sb", tree], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )
    return f"{count:,} entries, {size / 1e6:,.0f} MB"
