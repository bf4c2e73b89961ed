"""Removes pip's mark of packages that were asked for from packages that only others need.

usage: unrequested.py ENVIRONMENT NAMES

pip writes a file REQUESTED into the metadata of every package on its command line. All packages of
a lock are on it, so the packages in the file NAMES, one name a line, lose the mark afterwards. The
result is the same as if pip had chosen them itself.
"""

import glob
import os
import re
import sys

environment, names = sys.argv[1:3]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


with open(names) as file:
    unrequested = {normal(line.strip()) for line in file if line.strip()}
pattern = os.path.join("lib*", "python*", "site-packages", "*.dist-info")
escaped = glob.escape(environment) if hasattr(glob, "escape") else environment
for folder in sorted(glob.glob(os.path.join(escaped, pattern))):
    name = os.path.basename(folder)[: -len(".dist-info")].rsplit("-", 1)[0]
    mark = os.path.join(folder, "REQUESTED")
    if normal(name) not in unrequested or not os.path.isfile(mark):
        continue
    os.remove(mark)
    record = os.path.join(folder, "RECORD")
    row = (os.path.basename(folder) + "/REQUESTED,").encode()
    with open(record, "rb") as file:
        lines = file.readlines()
    with open(record, "wb") as file:
        file.writelines(line for line in lines if not line.startswith(row))
