"""Ways to start the same environment, each as a line for `sh -c`."""

import dataclasses
import json
import os
import shutil
import subprocess

from ..common import CONDENSE, PARTS, WORK, run, squash
from ..start import ACCOUNT, ACTIVATION, SHAPE

IMPORTS = "import numpy, pandas, matplotlib.pyplot"
TYKKY = "wrapper of Tykky's shape"
# Node-local memory. Slurm's test cluster has one for all its nodes.
MEMORY = "/dev/shm/condense-bench-${SLURMD_NODENAME-one}"


@dataclasses.dataclass
class Peer:
    """A row of the tables; `lacks` says why the program cannot be measured so."""

    name: str
    line: str
    variables: dict = dataclasses.field(default_factory=dict)
    lacks: str | None = None


def as_user(*words):
    """Returns the words of a command that runs as an ordinary user."""
    return [
        *("setpriv", "--reuid", ACCOUNT, "--regid", ACCOUNT, "--init-groups", "--reset-env"),
        *words,
    ]


def output(*words):
    result = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    )
    return result.stdout if result.returncode == 0 else ""


def install(prefix, *options):
    run(
        [
            *(CONDENSE, "conda-containerize", "new", "--copy-base", *options),
            *("--prefix", prefix, "--base-image", PARTS / "base.sif", WORK / "env.yml"),
        ]
    )


class Images:
    """Images and installations of one environment, below one directory that all nodes share."""

    def __init__(self, place):
        self.place = place
        self.shared = place / "shared"
        self.workload = place / "workload.py"
        self.options = output(CONDENSE, "conda-containerize", "new", "--help")
        self.ours = self.shared / "ours"
        install(self.ours, *(["--no-warm"] if "--no-warm" in self.options else []))
        receipt = json.loads(output(CONDENSE, "info", "--json", self.ours))
        self.mount, self.environment = receipt["mount_point"], receipt["environment"]
        self.base = self.shared / "base.sif"
        shutil.copyfile(PARTS / "base.sif", self.base)
        tree = place / "tree"
        run([CONDENSE, "image", "extract", self.ours / "img.sqfs", tree])
        zstd = ("zstd", "-Xcompression-level", "3")
        self.plain = self.shared / "plain.sqfs"
        squash(tree, self.plain, zstd)
        profile = self.profile()
        self.sorted = self.shared / "sorted.sqfs"
        order = place / "order"
        # The highest priority comes first.
        order.write_text(
            "".join(
                f"tree/{path} {32000 - number}\n" for number, path in enumerate(profile[:32000])
            )
        )
        squash("tree", self.sorted, [*zstd, "-sort", order], cwd=place)
        shutil.rmtree(tree)
        self.shape()
        self.hot = self.make_hot()

    def profile(self):
        """Returns the files that the imports load, relative to the image, in their order.

        Also lets Matplotlib write its list of fonts.
        """
        kept = self.place / "open/profile"
        line = self.exec(self.plain)
        run(
            as_user(
                *("env", f"CONDENSE_BENCH_PROFILE={kept}", f"MPLCONFIGDIR={self.place}/open/mpl"),
                *("sh", "-c", line),
            ),
            cwd="/",
        )
        root = f"{self.mount}/"
        return [
            path.removeprefix(root)
            for path in kept.read_text().splitlines()
            if path.startswith(root)
        ]

    def shape(self):
        """Makes a wrapper of Tykky's shape, for the image of mksquashfs."""
        shape = self.shared / "shape"
        (shape / "bin").mkdir(parents=True)
        os.link(self.plain, shape / "img.sqfs")
        os.link(self.base, shape / "container.sif")
        wrapper = shape / "bin/python"
        wrapper.write_text(
            SHAPE.replace("@ACTIVATION@", ACTIVATION)
            .replace("@MOUNT@", self.mount)
            .replace("@ENV@", self.environment)
        )
        wrapper.chmod(0o755)

    def make_hot(self):
        """Makes an installation with a hot zone, if the program can."""
        if "--warm" not in self.options:
            return None
        hot = self.shared / "hot"
        install(hot, "--warm", IMPORTS)
        return hot

    def exec(self, image, base=None):
        return (
            f"exec apptainer -s exec -B {image}:{self.mount}:image-src=/,ro {base or self.base}"
            f" {self.environment}/bin/python {self.workload}"
        )

    def wrapper(self, prefix):
        return f"exec {prefix}/bin/python {self.workload}"

    def peers(self):
        """Returns all ways to start the environment, those to be measured and those to come."""
        copied = (
            f"d={MEMORY}; if mkdir $d 2>/dev/null; then"
            f" cp {self.plain} {self.base} $d && touch $d/done || exit;"
            " else until [ -e $d/done ]; do sleep 0.02; done; fi; "
            + self.exec("$d/plain.sqfs", "$d/base.sif")
        )
        launcher = (self.ours / "bin/python").read_text()
        no_share = None if "CW_SHARE" in launcher else "no CW_SHARE in this condense"
        no_hot = None if self.hot else "no --warm in this condense"
        no_stage = None if output(CONDENSE, "stage", "--help") else "no `condense stage` yet"
        alone, shared = {"CW_SHARE": "0"}, {"CW_SHARE": "1"}
        sharens = {"APPTAINER_SHARENS": "1"}
        ours, hot = self.wrapper(self.ours), self.wrapper(self.hot or self.ours)
        program = self.place / "condense"
        if not no_stage:
            shutil.copyfile(CONDENSE, program)
            program.chmod(0o755)
        staged = (
            f"CW_STAGE={MEMORY}; export CW_STAGE; mkdir -p $CW_STAGE && {program} stage --this-node"
            f" --to $CW_STAGE {self.ours} >/dev/null && {ours}"
        )
        return [
            Peer(TYKKY, f"exec {self.shared}/shape/bin/python {self.workload}"),
            Peer("exec, mksquashfs", self.exec(self.plain)),
            Peer("exec, sorted by the profile", self.exec(self.sorted)),
            Peer("exec, APPTAINER_SHARENS=1", self.exec(self.plain), sharens),
            Peer("exec, images copied to memory", copied),
            Peer("condense", ours, alone),
            Peer("condense, shared container", ours, shared, no_share),
            Peer("condense, hot zone", hot, alone, no_hot),
            Peer("condense, hot zone, shared", hot, shared, no_hot or no_share),
            Peer("condense stage, then start", staged, alone, no_stage),
        ]
