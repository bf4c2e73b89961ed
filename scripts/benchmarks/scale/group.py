"""A control group, which counts processes, CPU time and page cache with all that is started."""

import contextlib
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

    def within(self, words):
        """Returns the words of a shell that enters the group before it becomes the program."""
        entries = "".join(f"echo $$ >'{place}/cgroup.procs'; " for place in self.places)
        return ["sh", "-c", entries + 'exec "$@"', "sh", *(str(word) for word in words)]

    def processes(self):
        return {int(word) for word in (self.memory / "cgroup.procs").read_text().split()}

    def cpu(self):
        """Returns the seconds of CPU time of all processes, also of those that have ended."""
        if IS_ONE_TREE:
            words = (self.cpu_time / "cpu.stat").read_text().split()
            return int(words[words.index("usage_usec") + 1]) / 1e6
        return int((self.cpu_time / "cpuacct.usage").read_text()) / 1e9

    def cache(self):
        """Returns the megabytes of page cache that the group has filled, also files in memory."""
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
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)
            left = self.processes() - but
        return len(found)
