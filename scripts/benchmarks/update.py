"""Measures updates that add one small wheel, and one conda package, to a large environment.

They are compared with copying everything out of the image and packing it again.
"""

import json
import os
import shutil
import statistics

from .common import AT_EXIT, CHAIN, CONDENSE, PARTS, WORK, note, run, squash, table, venv

MEGABYTES = 1500
# Conda package that is added.
MORE = "tqdm"
# Half of each file can be compressed away, as in libraries; no two files are equal.
FILL = """mkdir -p "$env_root/share/filler"
"$env_root/bin/python" - "$env_root/share/filler" {megabytes} <<'END'
import random, sys
source = random.Random(1)
for number in range(int(sys.argv[2])):
    with open(f"{{sys.argv[1]}}/{{number}}.bin", "wb") as file:
        for _ in range(16):
            file.write(source.randbytes(32 << 10) + bytes([number % 256]) * (32 << 10))
END
"""


def update(
    rounds, megabytes=MEGABYTES, packages=("python =3.11", "pip", "numpy <2", "scipy", "pandas")
):
    base, channel = PARTS / "base.sif", PARTS / "channel-full"
    installation, image = WORK / "updated", WORK / "again.sqfs"
    shutil.rmtree(installation, ignore_errors=True)
    lines = "\n".join(f"  - {package}" for package in packages)
    (WORK / "update.yml").write_text(f"channels: ['file://{channel}']\ndependencies:\n{lines}\n")
    (WORK / "fill.sh").write_text(FILL.format(megabytes=megabytes))
    (WORK / "wheel.txt").write_text("edge_pip_app\n")
    wheels = channel / "wheels"
    environment = {
        **os.environ,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "TMPDIR": str(WORK),
    }
    words = [
        CONDENSE,
        "conda-containerize",
        "new",
        "--prefix",
        installation,
        "--base-image",
        base,
        "--post-install",
        WORK / "fill.sh",
    ]
    run([*words, "--compression", "gzip:6", WORK / "update.yml"], env=environment)
    receipt = json.loads((installation / "share/receipt.json").read_text())
    specs = [*packages, MORE]
    for title, more, slow in (
        (
            "a small wheel",
            ["-r", WORK / "wheel.txt", installation],
            lambda: like_tykky(installation, receipt, base, image, environment),
        ),
        (
            "a conda package",
            [installation, MORE],
            lambda: by_conda(installation, receipt, base, image, specs),
        ),
    ):
        measure(rounds, title, (installation, more, environment), (image, slow))


def measure(rounds, title, ours, theirs):
    (installation, more, environment), (image, slow) = ours, theirs
    packed = installation / "img.sqfs"
    quick, slow_ones, before = [], [], packed.stat().st_size / 1e6
    for _ in range(rounds):
        words = [CONDENSE, "conda-containerize", "update", *more]
        quick.append(run(words, env=environment))
        size = packed.stat().st_size / 1e6
        run([CONDENSE, "rollback", installation, "--to", "1"])
        run([CONDENSE, "gc", installation, "--keep", "0"])
        slow_ones.append(slow())
    wall = [figures[0] for figures in quick]
    sizes = [before, size, image.stat().st_size / 1e6]
    table(
        f"{title} more in an environment of {before:.0f} MB packed",
        {"condense": wall, "unsquashfs + installing + mksquashfs": slow_ones},
    )
    ratio = statistics.median(slow_ones) / statistics.median(wall)
    note(
        f"ratio {ratio:.1f}; sizes {sizes[1]:.1f} and {sizes[2]:.1f} MB,"
        f" {size - before:.2f} MB more; memory {max(f[2] for f in quick):.0f} MB",
        ratio=ratio,
        sizes_mb=sizes,
    )


def like_tykky(installation, receipt, base, image, environment):
    """Copies everything out of the image, runs pip, and compresses with Tykky's codec."""
    env = receipt["env_prefix"]
    root, seconds = unpacked(installation, base)
    words = ["apptainer", "-s", "exec", "-B", f"{root}:{receipt['mount_point']}"]
    words += [
        "-B",
        f"{environment['PIP_FIND_LINKS']}:/mnt",
        base,
        f"{env}/bin/python",
        "-m",
        "pip",
        "install",
        "-q",
    ]
    seconds += run(
        [*words, "--root-user-action", "ignore", "edge_pip_app"],
        env={**environment, "PIP_FIND_LINKS": "/mnt"},
    )[0]
    return seconds + squash(root, image, ["gzip"])[0]


def by_conda(installation, receipt, base, image, specs):
    """Copies everything out of the image, installs with py-rattler, and compresses."""
    python, channel = venv(), f"file://{PARTS}/channel-full"
    (WORK / "chain.py").write_text(CHAIN)
    root, seconds = unpacked(installation, base)
    below = os.path.relpath(receipt["env_prefix"], receipt["mount_point"])
    words = [python, WORK / "chain.py", channel, root / below, WORK / "rattler-cache", *specs]
    seconds += run(words, AT_EXIT)[0]
    return seconds + squash(root, image, ["gzip"])[0]


def unpacked(installation, base):
    """Copies the image's files and the base, as Tykky does; returns the directory and seconds."""
    root = WORK / "again"
    shutil.rmtree(root, ignore_errors=True)
    seconds = run(["unsquashfs", "-q", "-n", "-d", root, installation / "img.sqfs"])[0]
    return root, seconds + run(["cp", "--reflink=never", base, WORK / "again.sif"])[0]
