"""Measures an update that adds one small wheel to a large environment.

It is compared with copying everything out of the image and packing it again.
"""

import json
import os
import shutil
import statistics

from .common import CONDENSE, PARTS, WORK, note, run, squash, table

MEGABYTES = 1500
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
    quick, slow = [], []
    for _ in range(rounds):
        quick.append(
            run(
                [CONDENSE, "conda-containerize", "update", "-r", WORK / "wheel.txt", installation],
                env=environment,
            )
        )
        size = (installation / "img.sqfs").stat().st_size / 1e6
        run([CONDENSE, "rollback", installation, "--to", "1"])
        run([CONDENSE, "gc", installation, "--keep", "0"])
        slow.append(like_tykky(installation, receipt, base, image, environment))
    wall = [figures[0] for figures in quick]
    sizes = [(installation / "img.sqfs").stat().st_size / 1e6, size, image.stat().st_size / 1e6]
    table(
        f"a small wheel more in an environment of {sizes[0]:.0f} MB packed",
        {"condense": wall, "unsquashfs + pip + mksquashfs": slow},
    )
    ratio = statistics.median(slow) / statistics.median(wall)
    note(
        f"ratio {ratio:.1f}; sizes {sizes[1]:.1f} and {sizes[2]:.1f} MB;"
        f" memory {max(f[2] for f in quick):.0f} MB",
        ratio=ratio,
        sizes_mb=sizes,
    )


def like_tykky(installation, receipt, base, image, environment):
    """Copies everything out of the image, runs pip, and compresses with Tykky's codec."""
    root, env = WORK / "again", receipt["env_prefix"]
    shutil.rmtree(root, ignore_errors=True)
    seconds = run(["unsquashfs", "-q", "-n", "-d", root, installation / "img.sqfs"])[0]
    seconds += run(["cp", "--reflink=never", base, WORK / "again.sif"])[0]
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
