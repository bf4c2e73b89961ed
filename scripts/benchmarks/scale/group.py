"""A control group whose processes, CPU time and page cache are counted, with all that they start."""

import os
import pathlib
import signal
import time

ROOT = pathlib.Path("/sys/fs/cgroup")
IS_ONE_TREE = (ROOT / "cgroup.controllers").exists()


class Group:
    """Finds also what has left the process tree, such as the daemon of an instance."""

    def __init__(self, name):
        name = f"condense-bench-{os.getpid()}-{name}"
        if IS_ONE_TREE:
            (ROOT / "cgroup.subtree_control").write_text("+memory +cpu")
            self.memory = self.cpu_time = ROOT / name
        else:
            self.memory, self.cpu_time = ROOT / "memory" / name, ROOT / "cpuacct" / name
        self.places = sorted({self.memory, self.cpu_time})
        for place in self.places:
            place.mkdir()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        for place in self.places:
            for _ in range(100):
                try:
                    place.rmdir()
                    break
                except OSError:
                    time.sleep(0.05)

    def enter(self):
        """Moves the calling process into the group; a child calls it before it starts a program."""
        for place in self.places:
            (place / "cgroup.procs").write_text("0")

    def processes(self):
        return {int(word) for word in (self.memory / "cgroup.procs").read_text().split()}

    def cpu(self):
        """Returns the seconds of CPU time of all processes, also of those that have ended."""
        if IS_ONE_TREE:
            words = (self.cpu_time / "cpu.stat").read_text().split()
            return int(words[words.index("usage_usec") + 1]) / 1e6
        return int((self.cpu_time / "cpuacct.usage").read_text()) / 1e9

    def cache(self):
        """Returns the megabytes of page cache that the group has filled, files in memory included."""
        words = (self.memory / "memory.stat").read_text().split()
        return int(words[words.index("file" if IS_ONE_TREE else "total_cache") + 1]) / 1e6

    def kill(self, but=frozenset()):
        """Ends all processes, and returns how many there were."""
        found = self.processes() - but
        left = found
        for _ in range(100):
            if not left:
                break
            for process in left:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
            left = self.processes() - but
        return len(found)
