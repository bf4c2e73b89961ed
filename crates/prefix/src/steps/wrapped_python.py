import os
import sys

program, name = sys.executable, os.path.basename(sys.executable)
for directory in os.environ.get("PATH", "").split(":"):
    wrapper = os.path.join(directory, name)
    if not directory.startswith("/") or not os.path.exists(os.path.join(directory, "../common.sh")):
        continue
    if os.path.exists(wrapper) and os.path.samefile(wrapper, program):
        if getattr(sys, "_base_executable", None) == program:
            sys._base_executable = wrapper
        sys.executable = wrapper
        break
