"""Measures pulls from a registry on loopback, without a cache: download and conversion."""

import os
import shutil
import signal
import socket
import statistics
import subprocess
import time

from . import trees
from .common import CONDENSE, ROOT, WORK, note, run, table


def layout(name, *roots):
    """Makes an OCI layout with an image that has one layer for each tree."""
    place = WORK / "oci"
    if not place.exists():
        run(["umoci", "init", "--layout", place])
    image = f"{place}:{name}"
    run(["umoci", "new", "--image", image])
    for root, target in roots:
        run(["umoci", "insert", "--image", image, root, target])
    return image


def registry():
    place = WORK / "registry"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place.mkdir()
    (place / "config.yml").write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage:\n  filesystem: {{rootdirectory: {place}/data}}\n"
        f"http:\n  addr: 127.0.0.1:{port}\n  secret: none\n"
    )
    server = subprocess.Popen(
        ["docker-registry", "serve", place / "config.yml"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server, f"127.0.0.1:{port}"
        time.sleep(0.1)
    raise SystemExit("docker-registry does not start")


def pull(rounds):
    subprocess.run(
        [
            ROOT / "scripts/apt-need",
            "docker-registry=docker-registry",
            "skopeo=skopeo",
            "umoci=umoci",
        ],
        check=True,
    )
    for name in ("oci", "registry"):
        shutil.rmtree(WORK / name, ignore_errors=True)
    server, host = registry()
    try:
        small = WORK / "debian"
        if not small.exists():
            run([CONDENSE, "image", "extract", trees.PARTS / "base.sif", small])
        images = {
            "a small Debian": layout("small", (small, "/")),
            "the same with an environment": layout(
                "large", (small, "/"), (trees.middle(), "/opt/env")
            ),
        }
        for title, image in images.items():
            reference = f"docker://{host}/{image.rpartition(':')[2]}:1"
            run(
                [
                    "skopeo",
                    "copy",
                    "--insecure-policy",
                    "-q",
                    "--dest-tls-verify=false",
                    f"oci:{image}",
                    reference,
                ]
            )
            measure(title, reference, rounds)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def measure(title, reference, rounds):
    theirs, mine = WORK / "apptainer.sif", WORK / "condense.sif"
    figures = {"condense pull": [], "apptainer pull": []}
    cache = WORK / "pull-cache"
    env = {
        **os.environ,
        "CONDENSE_CACHE_DIR": str(cache),
        "APPTAINER_TMPDIR": str(WORK),
        "TMPDIR": str(WORK),
    }
    for turn in range(rounds + 1):
        for path in (theirs, mine):
            path.unlink(missing_ok=True)
        shutil.rmtree(cache, ignore_errors=True)
        one = run([CONDENSE, "pull", "--no-https", reference, mine], env=env)
        two = run(
            ["apptainer", "-q", "pull", "--no-https", "--disable-cache", theirs, reference], env=env
        )
        if turn:
            figures["condense pull"].append(one)
            figures["apptainer pull"].append(two)
    wall = {who: [figure[0] for figure in values] for who, values in figures.items()}
    table(f"pull: {title}", wall)
    ratio = statistics.median(wall["apptainer pull"]) / statistics.median(wall["condense pull"])
    memory = {who: max(figure[2] for figure in values) for who, values in figures.items()}
    sizes = {"condense pull": mine.stat().st_size, "apptainer pull": theirs.stat().st_size}
    note(
        f"ratio {ratio:.2f};"
        f" sizes {sizes['condense pull'] / 1e6:.2f} and {sizes['apptainer pull'] / 1e6:.2f} MB;"
        f" memory {memory['condense pull']:.0f} and {memory['apptainer pull']:.0f} MB",
        ratio=ratio,
        sizes=sizes,
        memory_mb=memory,
    )
