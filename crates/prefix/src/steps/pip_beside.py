"""Runs pip of an environment that cannot be written, and lets it install wheels beside it.

usage: pip_beside.py ENVIRONMENT ROOT ARGUMENT...

The working directory is that of the build steps. `pip install` gets `--root ROOT` and writes
nothing else. The files, relative to ENVIRONMENT, that it would have removed are added to
`removed.txt`. `pip check` also sees what has been installed below ROOT.

pip builds wheels of sources in temporary directories, as it does elsewhere. A build that fails may
want to write into the environment, whatever its error is. Then, and if more than wheels is
necessary, pip installs nothing, and the reason is written to the file `whole`.

pip has no interface for this, so functions of it are replaced, which all versions since 22.2 have.
One of them gets all that pip has chosen. If indices have metadata beside their wheels, no wheel has
been downloaded by then.
"""

import contextlib
import csv
import glob
import io
import json
import logging
import os
import re
import runpy
import sys
import sysconfig

environment, root = sys.argv[1:3]
refused = []
# Packages that pip is building: one, and those that it needs for that.
building = []


def refuse(reason):
    if refused:
        return
    refused.append(reason)
    with io.open("whole", "w", encoding="utf-8") as file:
        file.write(reason + "\n")


def stop(reason, error):
    """Ends pip without a word."""
    refuse(reason)
    logging.disable(logging.CRITICAL)
    raise error("refused")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def is_below(path):
    return path.startswith(environment + "/")


def installed():
    """Yields names and metadata directories or files of the distributions in the environment."""
    for folder in sorted({os.path.realpath(path) for path in sys.path}):
        if not is_below(folder) or not os.path.isdir(folder):
            continue
        for entry in sorted(os.listdir(folder)):
            stem, ending = os.path.splitext(entry)
            if ending in (".dist-info", ".egg-info"):
                yield normal(stem.split("-")[0]), os.path.join(folder, entry)


def is_of_conda(metadata):
    needle = json.dumps(os.path.relpath(metadata, environment))[1:-1].encode()
    for path in glob.glob(os.path.join(glob.escape(environment), "conda-meta", "*.json")):
        with open(path, "rb") as file:
            text = file.read()
        if any(needle + end in text for end in (b"/", b'"')):
            return True
    return False


def files_of(name, metadata):
    """Returns the files that pip removes with a distribution, byte code included."""
    record = os.path.join(metadata, "RECORD")
    if is_of_conda(metadata):
        refuse("pip replaces `%s`, which came with a conda package" % name)
        return []
    if not os.path.isfile(record):
        refuse("`%s` has no record of its files" % name)
        return []
    folder = os.path.dirname(metadata)
    with io.open(record, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    paths = {os.path.normpath(os.path.join(folder, row[0])) for row in rows}
    for source in [path for path in paths if path.endswith(".py")]:
        parent, file = os.path.split(source)
        compiled = os.path.join(glob.escape(os.path.join(parent, "__pycache__", file[:-3])))
        paths.update(glob.glob(compiled + ".*.pyc"))
    inside = [os.path.relpath(path, environment) for path in paths if is_below(path)]
    return [path for path in inside if "\n" not in path]


def judge(requirements):
    """Refuses what has no record. Returns the files that pip would remove."""
    names, removed = {normal(one.name) for one in requirements}, set()
    found = set()
    for name, metadata in installed():
        if name in names and not refused:
            found.add(name)
            removed.update(files_of(name, metadata))
    for one in requirements:
        # pip knows a distribution that its directory does not name.
        if getattr(one, "should_reinstall", False) and normal(one.name) not in found:
            refuse("it is not known what `%s` replaces" % one.name)
    return removed


def name_of(requirement):
    """Returns a name, or the last part of a place whose project pip does not know yet."""
    return requirement.name or getattr(requirement.link, "filename", "") or "a package"


@contextlib.contextmanager
def build_of(requirement, error):
    building.append(requirement)
    try:
        yield
    except Exception:
        stop(reason_of_failure(requirement), error)
    finally:
        building.pop()


def reason_of_failure(requirement):
    name = name_of(requirement)
    return "building `%s` fails where the environment cannot be written" % name


def has_new():
    """Whether pip has installed packages below ROOT before."""
    return bool(glob.glob(glob.escape(root + environment) + "/lib*/python*/site-packages/*"))


def patch_builds(source, builder, error):
    prepare, build = source.prepare_distribution_metadata, builder._build_one

    def prepare_source(self, *arguments, **options):
        if self.req.editable:
            stop("`%s` stays a link to its directory" % name_of(self.req), error)
        with build_of(self.req, error):
            prepared = prepare(self, *arguments, **options)
        is_isolated = options.get("build_isolation", arguments[1] if arguments[1:] else True)
        if not (is_isolated and getattr(self.req, "use_pep517", True)) and has_new():
            # Where pip installs into the environment, this build can import what is new.
            stop("`%s` is built without isolation" % name_of(self.req), error)
        return prepared

    def build_one(requirement, *arguments, **options):
        with build_of(requirement, error):
            wheel = build(requirement, *arguments, **options)
        if not wheel:
            stop(reason_of_failure(requirement), error)
        return wheel

    def clean(requirement, *arguments, **options):
        stop(reason_of_failure(requirement), error)

    source.prepare_distribution_metadata, builder._build_one = prepare_source, build_one
    # Versions before 25.3 clean up where `setup.py bdist_wheel` has failed, and say so.
    if hasattr(builder, "_clean_one_legacy"):
        builder._clean_one_legacy = clean


def patch_install(install, preparer, error):
    prepare = preparer.prepare_linked_requirements_more
    build, install_given_reqs = install.build, install.install_given_reqs

    def prepare_wheels(self, requirements, *arguments, **options):
        requirements = list(requirements)
        # What a build needs gets a directory of its own.
        if not building:
            judge([one for one in requirements if not one.satisfied_by])
        if refused:
            stop(refused[0], error)
        return prepare(self, requirements, *arguments, **options)

    def build_wheels(requirements, *arguments, **options):
        requirements = list(requirements)
        judge(requirements)
        return build([] if refused else requirements, *arguments, **options)

    def install_beside(requirements, *arguments, **options):
        requirements = list(requirements)
        removed = judge(requirements)
        # Old versions run `setup.py install` for sources that they cannot build.
        for one in requirements:
            if not one.is_wheel:
                refuse("`%s` is not installed from a wheel" % one.name)
        if refused:
            return []
        for one in requirements:
            one.should_reinstall = False
        with open("removed.txt", "ab") as file:
            file.writelines(os.fsencode(path + "\n") for path in sorted(removed))
        return install_given_reqs(requirements, *arguments, **options)

    preparer.prepare_linked_requirements_more = prepare_wheels
    install.build, install.install_given_reqs = build_wheels, install_beside


def is_managed_by_others():
    """Whether pip refuses to change the environment, which `--root` makes it overlook."""
    marker = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    return is_below(marker) and os.path.exists(marker)


def main(arguments):
    if sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        sys.path.pop(0)
    if arguments[0] == "check":
        site_packages = glob.escape(root + environment) + "/lib*/python*/site-packages"
        # pip takes the first of several distributions of a name: the new one.
        sys.path[:0] = sorted(glob.glob(site_packages))
    import pip

    is_install = arguments[0] == "install"
    if is_install and is_managed_by_others():
        refuse("others manage what is in the environment")
    if is_install or arguments[0] == "wheel":
        try:
            from pip._internal import wheel_builder
            from pip._internal.commands import install
            from pip._internal.distributions.sdist import SourceDistribution
            from pip._internal.exceptions import InstallationError
            from pip._internal.operations.prepare import RequirementPreparer

            patch_builds(SourceDistribution, wheel_builder, InstallationError)
            if is_install:
                patch_install(install, RequirementPreparer, InstallationError)
        except (AttributeError, ImportError):
            refuse("its pip is too new to be known")
    if is_install:
        arguments[1:1] = ["--root", root]
    sys.argv[0] = os.path.join(os.path.dirname(pip.__file__), "__main__.py")
    sys.argv[1:] = arguments
    try:
        if not refused:
            runpy.run_module("pip", run_name="__main__")
    except SystemExit:
        if not refused:
            raise


try:
    main(sys.argv[3:])
except KeyboardInterrupt:
    # The build says that it was interrupted.
    sys.exit(130)
