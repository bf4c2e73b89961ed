"""Runs pip of an environment whose present path is not its final path.

usage: pip_here.py PYTHON GLIBC ARGUMENT...

PYTHON is the final path of the interpreter, which is the first line of scripts that pip writes.
GLIBC is the version of the C library in the container (`2.31`), or empty; wheels for a newer one
are not used. It is for wheels only, because pip never starts sys.executable for wheels.
"""

import sys
import types

python, glibc, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
if glibc:
    limit = tuple(int(part) for part in glibc.split(".")[:2])
    # PEP 600 defines this module for platforms that support less than they report.
    policy = types.ModuleType("_manylinux")
    policy.manylinux_compatible = lambda major, minor, arch: (
        None if (major, minor) <= limit else False
    )
    sys.modules["_manylinux"] = policy

try:  # after the module above is in place
    from pip._internal.cli.main import main
except ImportError:
    from pip._internal import main  # pip before 19.3

sys.executable = python
sys.exit(main(arguments))
