"""Hand-made packages for rare cases of the conda format; fixtures/README.md lists them."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import edge_fill as fill
from package import fresh_dir, write_package

# Processors of level 3 and higher.
LEVEL_3 = (
    "haswell", "skylake_avx512", "cascadelake", "icelake", "sapphirerapids",
    "zen2", "zen3", "zen4", "zen5", "x86_64_v3", "x86_64_v4",
)  # fmt: skip


@dataclass
class Recipe:
    """One hand-made package: the contents of its index, and the function that fills its prefix."""

    name: str
    version: str = "1.0"
    build: str = "0"
    fill: Callable[[Path], None] | None = None
    subdir: str = "noarch"
    noarch: str = "generic"
    tar_bz2: bool = False
    link: dict | None = None
    empty_dirs: tuple[str, ...] = ()
    index: dict = field(default_factory=dict)


def make(recipe: Recipe, channel: Path, work: Path) -> list[tuple[str, dict]]:
    """Builds one recipe and returns [(file name, record)]."""
    stem = f"{recipe.name}-{recipe.version}-{recipe.build}"
    root = fresh_dir(work / f"edge.{stem}")
    if recipe.fill:
        recipe.fill(root)
    for folder in recipe.empty_dirs:
        (root / folder).mkdir(parents=True)
    index = {
        "name": recipe.name,
        "version": recipe.version,
        "build": recipe.build,
        "subdir": recipe.subdir,
    }
    if recipe.subdir == "noarch":
        index["noarch"] = recipe.noarch
    index |= recipe.index
    made = write_package(
        root,
        index,
        channel,
        tar_bz2=recipe.tar_bz2,
        link=recipe.link,
        empty_dirs=recipe.empty_dirs,
        summary="Hand-made",
    )
    shutil.rmtree(root)
    return [made]


def recipes() -> list[Recipe]:
    """Returns all hand-made packages."""
    entry_points = ["edge-main = edge_noarch:main", "edge-other = edge_noarch.sub:main"]
    noarch_python = {
        "noarch": {"type": "python", "entry_points": entry_points},
        "package_metadata_version": 1,
    }
    native = {"subdir": "linux-64"}
    return [
        # Programs
        Recipe("edge-argv", fill=fill.programs, **native),
        Recipe("edge-bin", fill=fill.bin_dir, **native),
        Recipe("edge-python", fill=fill.python_programs, **native, index={"depends": ["python"]}),
        Recipe("edge-noarch-python", fill=fill.noarch_python, noarch="python", link=noarch_python, index={"depends": ["python >=3.9"]}),
        # Prefix
        Recipe("edge-prefix", fill=fill.prefix, **native),
        Recipe("edge-rpath", fill=fill.rpath, **native),
        # Link scripts
        Recipe("edge-post-link", fill=fill.post_link, **native),
        Recipe("edge-post-link-fails", fill=fill.post_link_fails, **native),
        Recipe("edge-post-link-tool", fill=fill.post_link_tool, **native, index={"depends": ["edge-python"]}),
        # Activation
        Recipe("edge-activate", fill=fill.activate),
        Recipe("edge-activate-bash", fill=fill.activate_bash),
        Recipe("edge-activate-dynamic", fill=fill.activate_dynamic),
        Recipe("edge-activate-exits", fill=fill.activate_exits),
        # Files
        Recipe("edge-links", fill=fill.links),
        Recipe("edge-links-outside", fill=fill.links_outside),
        Recipe("edge-modes", fill=fill.modes),
        Recipe("edge-names", fill=fill.names),
        Recipe("edge-empty", fill=fill.empty, empty_dirs=("share/edge-empty/dir", "share/edge-empty/a/b")),
        Recipe("edge-large", fill=fill.large),
        Recipe("edge-many-files", fill=fill.many_files),
        Recipe("edge-bz2", fill=fill.bz2, tar_bz2=True, **native),
        Recipe("edge-clobber-a", fill=partial(fill.clobber, which="a")),
        Recipe("edge-clobber-b", fill=partial(fill.clobber, which="b")),
        Recipe("edge-clobber-dir", fill=_file("share/edge-clobber-dir", "a file\n")),
        # Virtual packages
        Recipe("edge-glibc", "1.0", fill=_file("share/edge-glibc", "1.0\n"), **native, index={"depends": ["__glibc >=2.17"]}),
        Recipe("edge-glibc", "2.0", fill=_file("share/edge-glibc", "2.0\n"), **native, index={"depends": ["__glibc >=2.36"]}),
        Recipe("edge-glibc-future", **native, index={"depends": ["__glibc >=2.99"]}),
        Recipe("edge-cuda", "2.0", "cuda12_0", fill=_file("share/edge-cuda", "cuda\n"), **native, index={"depends": ["__cuda >=12"]}),
        Recipe("edge-cuda", "2.0", "cpu_0", fill=_file("share/edge-cuda", "cpu\n"), **native, index={"track_features": "edge-cpu"}),
        Recipe("edge-cuda-only", **native, index={"depends": ["__cuda >=12"]}),
        Recipe("edge-archspec", "1.0", "v3_1", fill=_file("share/edge-archspec", "v3\n"), **native,
               index={"depends": ["_x86_64-microarch-level >=3"], "build_number": 1}),
        Recipe("edge-archspec", "1.0", "v1_0", fill=_file("share/edge-archspec", "v1\n"), **native),
        *(
            Recipe("_x86_64-microarch-level", "3", f"0_3_{march}", index={"depends": [f"__archspec 1=*{march}"]})
            for march in LEVEL_3
        ),
        # The solver
        Recipe("edge-shared", "1.0", index={"depends": []}),
        Recipe("edge-shared", "2.0", index={"depends": []}),
        Recipe("edge-conflict-a", index={"depends": ["edge-shared 1.*"]}),
        Recipe("edge-conflict-b", index={"depends": ["edge-shared 2.*"]}),
        Recipe("edge-missing-dep", index={"depends": ["edge-does-not-exist >=1"]}),
        Recipe("edge-constrains", index={"constrains": ["numpy <1.20"]}),
        Recipe("edge-cycle-a", index={"depends": ["edge-cycle-b"]}),
        Recipe("edge-cycle-b", index={"depends": ["edge-cycle-a"]}),
        *(Recipe("edge-versions", v) for v in ("1!0.5", "1.0_1", "1.1rc1", "2.0a1", "2.0.post1", "2.0+local.1", "2024.01.02")),
        *(Recipe("mpi", "1.0", build) for build in ("mpich", "openmpi")),
        *(Recipe("blas", "1.0", build) for build in ("openblas", "mkl")),
        # The server: packages that spoil() breaks
        Recipe("edge-bad-hash", fill=_file("share/edge-bad-hash", "x\n")),
        Recipe("edge-truncated", fill=_file("share/edge-truncated", "x\n" * 1000)),
        Recipe("edge-not-there", fill=_file("share/edge-not-there", "x\n")),
    ]  # fmt: skip


def _file(rel: str, data: str) -> Callable[[Path], None]:
    return partial(fill.write, rel=rel, data=data)


def spoil(records: list[tuple[str, dict]], channel: Path) -> list[tuple[str, dict]]:
    """Breaks some packages on purpose: a wrong digest, a truncated file, a missing file."""
    spoiled = []
    for name, sound in records:
        record = sound
        path = channel / record["subdir"] / name
        if record["name"] == "edge-bad-hash":
            record = {**record, "sha256": "0" * 64, "md5": "0" * 32}
        elif record["name"] == "edge-truncated":
            os.truncate(path, record["size"] // 2)
        elif record["name"] == "edge-not-there":
            path.unlink()
        spoiled.append((name, record))
    return spoiled
