"""Writes a report of the packages that a pip before 22.2 has installed.

usage: old_report.py LOG REPORT

REPORT has the form of the report of newer pips. LOG is the output of `pip install --log`. It has
the link of every archive that pip has used, with the digest if the index has one. Unknown values
are left out of REPORT, and its reader treats them as unknown.

Written for Python 2.7, and 3.5 and newer.
"""

import io
import json
import os
import re
import sys
import sysconfig

try:
    from urllib.parse import unquote, urldefrag
except ImportError:
    from urllib import unquote

    from urlparse import urldefrag

ADDED = re.compile(r" Added (.*) to build tracker '.*'$")
LINK = re.compile(r"(?:^|.* from )([a-z+]+:/\S+)(?: \(from .*\))?$")
INSTALLED = " Successfully installed "


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def read(path):
    with io.open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def is_archive_of(link, name, version):
    file = unquote(urldefrag(link)[0]).rsplit("/", 1)[-1]
    parts = file.split("-")
    if file.endswith(".whl"):
        return normal(parts[0]) == name and normal(parts[1]) == normal(version)
    stem = normal(re.sub(r"\.(zip|tar\.\w+|tgz|tbz)$", "", file))
    return stem == name + "-" + normal(version)


def metadata_of(name):
    """Returns the newest metadata directory or file of an installed distribution, and its text."""
    paths = sysconfig.get_paths()
    for site in sorted({paths["purelib"], paths["platlib"]}):
        for entry in sorted(os.listdir(site)) if os.path.isdir(site) else []:
            stem, ending = os.path.splitext(entry)
            if ending not in (".dist-info", ".egg-info") or normal(stem.split("-")[0]) != name:
                continue
            folder = os.path.join(site, entry)
            for file in ["METADATA", "PKG-INFO", ""]:
                path = os.path.join(folder, file) if file else folder
                if os.path.isfile(path):
                    return folder, read(path).split("\n\n")[0]
    return None, ""


def fields(text, key):
    return [
        line[len(key) + 2 :].strip() for line in text.split("\n") if line.startswith(key + ": ")
    ]


def source_of(folder, name, version, links):
    """Returns the origin of a distribution in the form of PEP 610, with no digest if unknown."""
    direct = folder and os.path.join(folder, "direct_url.json")
    info = json.loads(read(direct)) if direct and os.path.isfile(direct) else None
    if info is not None and "archive_info" not in info:
        return info
    for requirement, link in reversed(links):
        named = normal(re.split(r"[\[<>=!~ (;@]", requirement)[0]) == name
        if not (is_archive_of(link, name, version) or (named and info is not None)):
            continue
        url, fragment = urldefrag(link)
        digest = re.search(r"(?:^|&)sha256=([0-9a-f]{64})", fragment)
        cache = os.environ.get("PIP_CACHE_DIR")
        if cache and unquote(url).startswith("file://" + cache.rstrip("/") + "/"):
            continue  # an earlier wheel of pip's cache, which other machines do not have
        hashes = {"sha256": digest.group(1)} if digest else {}
        return {"url": url, "archive_info": {"hashes": hashes}}
    return info or {"url": "unknown:", "archive_info": {}}


def main(log, report):
    links, installed = [], []
    for line in read(log).split("\n"):
        added = ADDED.search(line)
        link = added and LINK.match(added.group(1))
        if link:
            links.append((added.group(1), link.group(1)))
        elif INSTALLED in line:
            installed = line.split(INSTALLED)[1].split()
    items = []
    for word in installed:
        name, _, version = word.rpartition("-")
        folder, text = metadata_of(normal(name))
        metadata = {
            "name": name,
            "version": (fields(text, "Version") or [version])[0],
            "requires_dist": fields(text, "Requires-Dist"),
        }
        requires_python = fields(text, "Requires-Python")
        if requires_python:
            metadata["requires_python"] = requires_python[0]
        items.append(
            {"download_info": source_of(folder, normal(name), version, links), "metadata": metadata}
        )
    with open(report, "w") as file:
        json.dump({"version": "0", "install": items}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
