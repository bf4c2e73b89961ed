"""Hand-made wheels, for `pip:` without a network."""

import base64
import hashlib
import zipfile
from pathlib import Path


def make(folder: Path) -> None:
    """Writes the wheels into folder: flat (--find-links) and below simple/ (--index-url)."""
    folder.mkdir()
    main = (
        "import edge_pip_lib\n\n\ndef main():\n"
        '    print("edge-pip-app 1.0 with edge-pip-lib", edge_pip_lib.VERSION)\n'
    )
    _wheel(
        folder,
        "edge_pip_app",
        "1.0",
        main,
        ["edge-pip-lib>=1.0"],
        "edge-pip-app = edge_pip_app:main",
    )
    for version in ("1.0", "1.1"):
        _wheel(folder, "edge_pip_lib", version, f'VERSION = "{version}"\n')
    _wheel(folder, "edge_pip_conflict", "1.0", "", ["edge-pip-lib<1.0"])
    for wheel in sorted(folder.glob("*.whl")):
        project = folder / "simple" / wheel.name.split("-")[0].replace("_", "-")
        project.mkdir(parents=True, exist_ok=True)
        with open(project / "index.html", "a") as page:
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            page.write(f'<a href="../../{wheel.name}#sha256={digest}">{wheel.name}</a><br>\n')


def make_old(folder: Path) -> None:
    """Writes the wheels for Python 2 into folder."""
    folder.mkdir()
    main = (
        "from __future__ import print_function\n\nimport edge_old_lib\n\n\n"
        "def main():\n    print(edge_old_lib.VERSION)\n"
    )
    script = "edge-old-app = edge_old_app:main"
    _wheel(folder, "edge_old_app", "1.0", main, ["edge-old-lib>=1.0"], script, tag="py2.py3")
    for version in ("1.0", "1.1"):
        _wheel(folder, "edge_old_lib", version, f'VERSION = "{version}"\n', tag="py2.py3")


def _wheel(
    folder: Path,
    module: str,
    version: str,
    source: str,
    requires: list[str] | None = None,
    script: str = "",
    tag: str = "py3",
) -> None:
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: {version}\n"
    files = {
        f"{module}.py": source,
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {r}\n" for r in requires or []),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: make-channel\nRoot-Is-Purelib: true\n"
        + "".join(f"Tag: {python}-none-any\n" for python in tag.split(".")),
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script}\n"
    record = ""
    for name, text in files.items():
        digest = (
            base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        )
        record += f"{name},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{module}-{version}-{tag}-none-any.whl", "w") as z:
        for name, text in files.items():
            z.writestr(zipfile.ZipInfo(name, (2023, 11, 14, 0, 0, 0)), text)
