"""Runs pip of an environment that lies elsewhere than it believes: pip_here.py PYTHON GLIBC ARGUMENT...

PYTHON is the interpreter's path where the environment will be: scripts that pip writes begin with it. GLIBC is the C
library there, `2.31`, or nothing: wheels for a newer one are not taken. Written for wheels only: pip never starts
sys.executable for those.
"""
import sys
import types

python, glibc, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
if glibc:
    limit = tuple(int(part) for part in glibc.split(".")[:2])
    # PEP 600's own door for a platform that has less than it shows.
    policy = types.ModuleType("_manylinux")
    policy.manylinux_compatible = lambda major, minor, arch: None if (major, minor) <= limit else False
    sys.modules["_manylinux"] = policy

try:  # the door must be there before
    from pip._internal.cli.main import main
except ImportError:
    from pip._internal import main  # before 19.3

sys.executable = python
sys.exit(main(arguments))
