"""Makes virtual environments on top of this one start through its wrapper.

The packages of this environment are visible in its container only. Without this module, `venv`
links to the interpreter below both environments, and --system-site-packages shows that one's
packages.
"""

import os
import sys

# Whether that interpreter exists in the container too, so that all environments on top need the
# wrapper.
ALWAYS = "@ALWAYS@"


def is_asked_for():
    """Whether `venv` is an argument. Python before 3.10 has no `sys.orig_argv`."""
    if hasattr(sys, "orig_argv"):
        return "venv" in sys.orig_argv
    with open("/proc/self/cmdline", "rb") as file:
        return b"venv" in file.read().split(b"\0")


def site_packages(prefix):
    # The name of a free-threaded Python's directory is not its version alone.
    library = os.path.basename(os.path.dirname(os.__file__))
    return os.path.join(prefix, "lib", library, "site-packages")


def shows_system():
    with open(os.path.join(sys.prefix, "pyvenv.cfg"), encoding="utf-8") as file:
        words = [line.partition("=")[::2] for line in file]
    return ("include-system-site-packages", "true") in [
        (name.strip(), value.strip().lower()) for name, value in words
    ]


def patch(builder):
    create, ensure_directories = builder.create, builder.ensure_directories

    def create_on_top(self, env_dir):
        is_shown = self.system_site_packages
        self.is_on_top = is_shown or ALWAYS
        if not self.is_on_top:
            create(self, env_dir)
            return
        self.symlinks = True
        self.system_site_packages = is_shown and shows_system()
        try:
            create(self, env_dir)
        finally:
            self.system_site_packages = is_shown
        if is_shown:
            with open(
                os.path.join(site_packages(os.path.abspath(env_dir)), "_installation.pth"),
                "w",
                encoding="utf-8",
            ) as file:
                file.write("import site; site.addsitedir(%r)\n" % site_packages(sys.prefix))

    def ensure_directories_on_top(self, env_dir):
        context = ensure_directories(self, env_dir)
        if getattr(self, "is_on_top", False):
            context.executable = os.path.join(sys.prefix, "bin", "python3")
        return context

    builder.create, builder.ensure_directories = create_on_top, ensure_directories_on_top


# Does nothing while the image is being built.
if is_asked_for() and os.path.exists(os.path.join(sys.prefix, "common.sh")):
    import venv

    patch(venv.EnvBuilder)
