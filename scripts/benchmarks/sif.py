"""`cotainr build`: an environment put into a base SIF, against unpacking, copying in and building again."""
import shutil
import statistics

from . import trees
from .common import CONDENSE, WORK, note, run, table

ENVIRONMENT = "opt/cotainr/conda/envs/conda_container_env"


def cotainr(base, out, *words):
    return run([CONDENSE, "cotainr", "build", "-q", "-y", "--base-image", base, *words, out])


def with_a_sandbox(base, environment, out):
    """What cotainr does around conda: the base unpacked, the environment in it, everything compressed once more."""
    sandbox = WORK / "sandbox"
    shutil.rmtree(sandbox, ignore_errors=True)
    seconds = run(["apptainer", "-q", "build", "--force", "--sandbox", "--fix-perms", sandbox, base])[0]
    target = sandbox / ENVIRONMENT
    target.parent.mkdir(parents=True)
    seconds += run(["cp", "-a", environment, target])[0]
    seconds += run(["apptainer", "-q", "build", "--force", out, sandbox])[0]
    shutil.rmtree(sandbox)
    return seconds


def sif(rounds):
    root = trees.base_root()
    one, two, three, unpacked = WORK / "one.sif", WORK / "two.sif", WORK / "three.sif", WORK / "environment"
    for name, words in (("gzip", "-comp gzip"), ("zstd", "-comp zstd -Xcompression-level 3")):
        base = WORK / f"base-{name}.sif"
        run(["apptainer", "-q", "build", "--force", f"--mksquashfs-args={words}", base, root])
        if not unpacked.exists():
            cotainr(base, one, "--conda-env", WORK / "env.yml")
            whole = WORK / "whole"
            run([CONDENSE, "image", "extract", one, whole])
            (whole / ENVIRONMENT).rename(unpacked)
            shutil.rmtree(whole)
        copied, plain, full, theirs = [], [], [], []
        for _ in range(rounds):
            copied.append(run(["cp", base, two])[0])
            plain.append(cotainr(base, three)[0])
            full.append(cotainr(base, one, "--conda-env", WORK / "env.yml"))
            theirs.append(with_a_sandbox(base, unpacked, two))
        sizes = [path.stat().st_size / 1e6 for path in (base, one, two)]
        table(
            f"cotainr build on a {name} base of {sizes[0]:.0f} MB",
            {
                "cp of the base": copied,
                "condense, no environment": plain,
                "condense: solved, installed, packed": [figures[0] for figures in full],
                "the same, CPU": [figures[1] for figures in full],
                "sandbox + cp of the environment + build": theirs,
            },
        )
        ratio = statistics.median(theirs) / statistics.median(figures[0] for figures in full)
        note(f"ratio {ratio:.1f}; sizes {sizes[1]:.2f} and {sizes[2]:.2f} MB; memory {max(f[2] for f in full):.0f} MB", ratio=ratio, sizes_mb=sizes)
