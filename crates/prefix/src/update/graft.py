"""Installs wheels beside an environment that is not writable.

usage: graft.py ENVIRONMENT BUILD_DIR

pip resolves requirements.txt against the packages of the environment. It installs the result below
the directory that the file `root` names, as if that were `/`. Afterwards BUILD_DIR has
pip-report.json and removed.txt, which lists the files, relative to ENVIRONMENT, that pip would have
removed. If more work is necessary, the file `whole` has the reason instead, and the caller must
unpack the environment into a writable directory.
"""

import csv
import glob
import json
import os
import re
import subprocess
import sys
import time

environment, build = sys.argv[1:3]


def whole(reason):
    with open("whole", "w", encoding="utf-8") as file:
        file.write(reason + "\n")
    sys.exit(0)


def pip(*arguments):
    status = subprocess.run([sys.executable, "-m", "pip", *arguments], check=False).returncode
    if status:
        sys.exit(status)


def ask(name):
    """Asks the process that started the container whether to install this, like ask.sh."""
    if not os.environ.get("CONDENSE_ASKS"):
        return
    asked = os.path.join(build, name)
    print("\n::condense-ask", asked, flush=True)
    for _ in range(600):
        if os.path.exists(asked + ".answer"):
            break
        time.sleep(0.1)
    with open(asked + ".answer", encoding="utf-8") as file:
        if file.read() != "go\n":
            sys.exit(1)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def exact(item):
    """Returns the line that makes pip install exactly this wheel, and its digest."""
    info, metadata = item["download_info"], item["metadata"]
    url, name = info["url"], metadata["name"]
    if "archive_info" not in info or not re.sub(r"[?#].*", "", url).endswith(".whl"):
        whole(f"`{name}` has to be built")
    if item.get("is_direct") and "****" in url:
        whole(f"`{name}` comes from a URL with a password")
    line = f"{name} @ {url}" if item.get("is_direct") else f"{name}=={metadata['version']}"
    archive = info["archive_info"]
    # Before pip 23.1, one digest and its algorithm are one text.
    kind, _, digest = archive.get("hash", "").partition("=")
    return line, archive.get("hashes", {kind: digest}).get("sha256")


def is_of_conda(folder):
    needle = json.dumps(os.path.relpath(folder, environment) + "/")[1:-1].encode()
    for path in glob.glob(os.path.join(glob.escape(environment), "conda-meta", "*.json")):
        with open(path, "rb") as file:
            if needle in file.read():
                return True
    return False


def files_of(distribution, name):
    """Returns the files that pip removes with a distribution, byte code included."""
    record = distribution.read_text("RECORD")
    if record is None:
        whole(f"`{name}` has no record of its files")
    site_packages = str(distribution.locate_file(""))
    rows = [row for row in csv.reader(record.splitlines()) if row]
    paths = {os.path.normpath(os.path.join(site_packages, row[0])) for row in rows}
    folders = {os.path.dirname(path) for path in paths if path.endswith(".dist-info/RECORD")}
    if any(is_of_conda(folder) for folder in folders):
        whole(f"pip replaces `{name}`, which came with a conda package")
    for source in [path for path in paths if path.endswith(".py")]:
        folder, file = os.path.split(source)
        paths.update(
            glob.glob(
                os.path.join(glob.escape(os.path.join(folder, "__pycache__", file[:-3])) + ".*.pyc")
            )
        )
    inside = [
        os.path.relpath(path, environment) for path in paths if path.startswith(environment + "/")
    ]
    return [path for path in inside if "\n" not in path]


def replaced(names):
    from importlib.metadata import distributions

    folders = {
        os.path.realpath(path)
        for path in sys.path
        if path.startswith(environment + "/") and os.path.isdir(path)
    }
    found = set()
    for distribution in distributions(path=sorted(folders)):
        name = distribution.metadata["Name"]
        if name and normal(name) in names:
            found.update(files_of(distribution, name))
    return sorted(found)


def main():
    try:
        import importlib.metadata  # noqa: F401 # needs Python 3.8

        import pip as _  # noqa: F401 # `pip` itself is the function above
    except ImportError:
        whole("its Python has no pip, or is too old to be asked what is installed")
    with open("root", encoding="utf-8", errors="surrogateescape") as file:
        root = file.read()
    pip("install", "--dry-run", "--report", "pip-report.json", "-r", "requirements.txt")
    ask("pip-report.json")
    with open("pip-report.json", encoding="utf-8") as file:
        items = json.load(file)["install"]
    lines = [exact(item) for item in items]
    removed = replaced({normal(item["metadata"]["name"]) for item in items})
    if items:
        pinned = all(digest for _, digest in lines)
        with open("options.txt", encoding="utf-8") as file:
            text = file.read()
        for line, digest in lines:
            text += line + (f" --hash=sha256:{digest}" if pinned else "") + "\n"
        with open("exact.txt", "w", encoding="utf-8") as file:
            file.write(text)
        for name in ["PIP_CONSTRAINT", "PIP_NO_BINARY", "PIP_ONLY_BINARY", "PIP_REQUIRE_HASHES"]:
            os.environ.pop(name, None)
        pip(
            "install",
            "--root",
            root,
            "--ignore-installed",
            "--no-deps",
            "--no-compile",
            "--no-warn-script-location",
            "-r",
            "exact.txt",
        )
    new = root + environment
    with open("unrequested.txt", "w", encoding="utf-8") as file:
        for item in items:
            if not item.get("requested", True):
                file.write(item["metadata"]["name"] + "\n")
    unmark = [sys.executable, "-S", "-s", "unrequested.py", new, "unrequested.txt"]
    status = subprocess.run(unmark, check=False).returncode
    if status:
        sys.exit(status)
    if os.path.isdir(os.path.join(new, "etc/conda")):
        whole("a wheel brings activation scripts")
    with open("removed.txt", "w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(path + "\n" for path in removed)
    if not items:
        return
    compiler = [
        sys.executable,
        "-S",
        "-s",
        "compile.py",
        new,
        "compile.none",
        "--walk",
        "--as",
        environment,
    ]
    status = subprocess.run(compiler, check=False).returncode
    if status:
        sys.exit(status)
    folders = glob.glob(os.path.join(glob.escape(new), "lib", "python*", "site-packages"))
    checked = subprocess.run(
        [sys.executable, "-m", "pip", "check"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        stdout=subprocess.PIPE,
        check=False,
    )
    if checked.returncode:
        for line in checked.stdout.decode(errors="replace").splitlines():
            if line:
                print("::condense-problem", line)


os.chdir(build)
main()
