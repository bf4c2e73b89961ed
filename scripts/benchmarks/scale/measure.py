"""Starts the ranks of a peer, counts while all of them wait, and ends them."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

PATIENCE = 600


class Meeting:
    """A directory in which ranks say that they are ready, and wait for the end."""

    def __init__(self, place, ranks):
        self.place = place / "open/meeting"
        self.ranks = ranks
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        self.place.chmod(0o1777)
        self.began = None

    def variables(self, peer):
        """Returns the variables of the ranks, as words for `env`."""
        names = {
            "CONDENSE_BENCH_MEETING": self.place,
            "MPLCONFIGDIR": self.place.parent / "mpl",
            "OPENBLAS_NUM_THREADS": "1",
            **peer.variables,
        }
        return [f"{name}={value}" for name, value in names.items()]

    def start(self):
        self.began = time.time()
        (self.place / "start").touch()

    def ready(self):
        return list(self.place.glob("*.ready"))

    def wait(self, parents):
        """Waits until all ranks are ready, or no parent is left."""
        deadline = time.monotonic() + PATIENCE
        while len(self.ready()) < self.ranks and time.monotonic() < deadline:
            if all(parent.poll() is not None for parent in parents):
                break
            time.sleep(0.02)

    def result(self):
        """Returns seconds to the last ready rank, the number of failed ranks, and an error."""
        times = [float(path.read_text()) for path in self.ready()]
        errors = sorted(path for path in self.place.glob("*.errors") if path.stat().st_size)
        said = errors[0].read_text(errors="replace").strip().splitlines()[-1] if errors else ""
        return {
            "seconds": max(times, default=self.began) - self.began,
            "failed": self.ranks - len(times),
            "error": said if len(times) < self.ranks else "",
        }

    def end(self, parents, group, kept=frozenset()):
        """Lets the ranks end, and returns how many processes were still there afterwards."""
        (self.place / "end").touch()
        for parent in parents:
            try:
                parent.wait(30)
            except subprocess.TimeoutExpired:
                parent.kill()
                parent.wait()
        deadline = time.monotonic() + 5
        while group.processes() - kept and time.monotonic() < deadline:
            time.sleep(0.05)
        left = group.kill(kept)
        clean_memory()
        return left


def clean_memory():
    for path in pathlib.Path("/dev/shm").glob("condense-bench-*"):
        shutil.rmtree(path, ignore_errors=True)


def popen(words, group):
    """Starts a command in the group and in a session of its own, so that Ctrl-C leaves it to us."""
    return subprocess.Popen(
        group.within(words),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def read(path):
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except (OSError, ProcessLookupError):
        return ""


def loop_devices(place):
    """Counts loop devices with an image of the measurement; other programs may have more."""
    files = pathlib.Path("/sys/block").glob("loop*/loop/backing_file")
    return sum(place.name in read(file) for file in files)


def counted(processes):
    """Counts mounts of images, and processes of squashfuse with their reads, of the processes."""
    counts = {"mounts": 0, "squashfuse": 0, "requests": 0, "mb": 0.0}
    namespaces, devices = set(), set()
    for process in processes:
        if read(f"/proc/{process}/comm").startswith("squashfuse"):
            counts["squashfuse"] += 1
            figures = dict(line.split(": ") for line in read(f"/proc/{process}/io").splitlines())
            counts["requests"] += int(figures.get("syscr", 0))
            counts["mb"] += int(figures.get("rchar", 0)) / 1e6
        try:
            namespace = os.readlink(f"/proc/{process}/ns/mnt")
        except OSError:
            continue
        if namespace in namespaces:
            continue
        namespaces.add(namespace)
        for line in read(f"/proc/{process}/mountinfo").splitlines():
            mount, _, kind = line.partition(" - ")
            if kind.split()[:1] and "squash" in kind.split()[0]:
                devices.add(mount.split()[2])
    counts["mounts"] = len(devices)
    return counts


def stop(process):
    """Ends a server, and returns what it has printed at its end."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.communicate(timeout=20)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]
