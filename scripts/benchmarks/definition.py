"""Measures builds of definition files whose %post installs packages with apt, as an ordinary user.

The base is a Debian with filling, and the packages are in a repository in it, so that the network
and its servers take no part.
"""

import pathlib
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time

from .common import CONDENSE, PARTS, note, run, table

USER = "condense-test"
# Sizes in MB of the base's filling, which comes to about 1 GB with the rest, and of all packages.
FULL = (950, 50)
QUICK = (40, 5)
PACKAGES = 10
# Seconds between two looks at the size of a directory.
PAUSE = 0.2


def fill(path, megabytes, seed):
    """Writes a file whose size a codec about halves."""
    source = random.Random(seed)
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(b"".join(source.randbytes(512) + bytes(512) for _ in range(1024)))


def make_package(repository, number, megabytes):
    name = f"bench-{number}"
    root = repository / name
    place = root / "usr/share" / name
    place.mkdir(parents=True)
    for part in range(4):
        fill(place / f"part-{part}", max(1, megabytes // PACKAGES // 4), number * 10 + part)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\n"
        "Maintainer: nobody <nobody@localhost>\nDescription: a package of a measurement\n"
    )
    archive = repository / f"{name}.deb"
    run(["dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "-b", root, archive])
    shutil.rmtree(root)
    facts = subprocess.run(["dpkg-deb", "-f", archive], capture_output=True, check=True, text=True)
    size = archive.stat().st_size
    digest = subprocess.run(["sha256sum", archive], capture_output=True, check=True, text=True)
    digest = digest.stdout.split()[0]
    return f"{facts.stdout}Filename: ./{archive.name}\nSize: {size}\nSHA256: {digest}\n\n"


def make_base(place, filling, packages):
    """Makes a SIF with gzip, as apptainer writes it."""
    root = place / "root"
    run([CONDENSE, "image", "extract", PARTS / "base-apt.sqfs", root])
    opt = root / "opt/filling"
    opt.mkdir(parents=True)
    for part in range(10):
        fill(opt / f"part-{part}", max(1, filling // 10), 1000 + part)
    repository = root / "srv/packages"
    made = [make_package(repository, number, packages) for number in range(PACKAGES)]
    with (repository / "Packages").open("a") as index:
        index.write("".join(made))
    base = place / "base.sif"
    run(["apptainer", "-q", "build", base, root])
    shutil.rmtree(root)
    return base


class Watch:
    """Looks at the size of a directory until it is stopped."""

    def __init__(self, place):
        self.place, self.ended = place, threading.Event()
        self.first = self.most = self.size()
        self.thread = threading.Thread(target=self.look)

    def size(self):
        said = subprocess.run(
            ["du", "-sk", self.place], capture_output=True, check=False, text=True
        )
        return int(said.stdout.split()[0])

    def look(self):
        while not self.ended.is_set():
            self.most = max(self.most, self.size())
            time.sleep(PAUSE)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def definition(rounds, is_quick):
    filling, packages = QUICK if is_quick else FULL
    with tempfile.TemporaryDirectory(prefix="condense-bench-", dir="/var/tmp") as name:
        place = pathlib.Path(name)
        place.chmod(0o755)
        make_base(place, filling, packages)
        names = " ".join(f"bench-{number}" for number in range(PACKAGES))
        (place / "my.def").write_text(
            "Bootstrap: localimage\nFrom: base.sif\n%post\n"
            f"  apt-get -q update\n  apt-get -q install -y {names}\n"
        )
        shutil.copy(CONDENSE, place / "condense")
        for directory in ("work", "out"):
            (place / directory).mkdir()
            shutil.chown(place / directory, USER, USER)
        measure(place, rounds)


def measure(place, rounds):
    as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--"]
    programs = {
        "condense build": [place / "condense", "build", "my.def"],
        "apptainer build": ["apptainer", "-q", "build"],
    }
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(place / "work"),
        "TMPDIR": str(place / "work"),
        "APPTAINER_TMPDIR": str(place / "work"),
    }
    figures = {name: [] for name in programs}
    disk, sizes = {}, {}
    # The first round warms the page cache, and looks at the disk, which takes time.
    for turn in range(rounds + 1):
        for name, words in programs.items():
            out = place / "out" / f"{name.split()[0]}.sif"
            out.unlink(missing_ok=True)
            line = [*as_user, *words, out]
            if name.startswith("apptainer"):
                line.append("my.def")
            if turn == 0:
                with Watch(place) as watch:
                    run(line, cwd=place, env=env)
                disk[name] = watch.most - watch.first
                sizes[name] = out.stat().st_size
            else:
                figures[name].append(run(line, cwd=place, env=env))
    wall = {name: [figure[0] for figure in values] for name, values in figures.items()}
    base = (place / "base.sif").stat().st_size
    table(f"definition: apt-get install on a base of {base / 1e6:.0f} MB", wall)
    ratio = statistics.median(wall["apptainer build"]) / statistics.median(wall["condense build"])
    cpu = {name: statistics.median(one[1] for one in values) for name, values in figures.items()}
    note(
        f"ratio {ratio:.2f};"
        f" CPU {cpu['condense build']:.1f} and {cpu['apptainer build']:.1f} s;"
        f" sizes {sizes['condense build'] / 1e6:.0f} and {sizes['apptainer build'] / 1e6:.0f} MB;"
        f" disk {disk['condense build'] / 1e3:.0f} and {disk['apptainer build'] / 1e3:.0f} MB",
        ratio=ratio,
        cpu_seconds=cpu,
        sizes=sizes,
        disk_kib=disk,
    )
