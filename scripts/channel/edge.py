"""Hand-made packages for the corners of the conda format; fixtures/README.md says what each is for."""

import base64
import hashlib
import json
import os
import random
import shutil
import subprocess
import zipfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable

from package import PLACEHOLDER as P
from package import fresh_dir, write_package

HERE = Path(__file__).resolve().parent


@dataclass
class Recipe:
    """One hand-made package: what its index says and what fills its prefix."""

    name: str
    version: str = "1.0"
    build: str = "0"
    fill: Callable[[Path], None] | None = None
    subdir: str = "noarch"
    noarch: str = "generic"
    tar_bz2: bool = False
    link: dict | None = None
    empty_dirs: tuple[str, ...] = ()
    index: dict = field(default_factory=dict)


def make(recipe: Recipe, channel: Path, work: Path) -> list[tuple[str, dict]]:
    """Builds one recipe; [(file name, record)]."""
    stem = f"{recipe.name}-{recipe.version}-{recipe.build}"
    root = fresh_dir(work / f"edge.{stem}")
    if recipe.fill:
        recipe.fill(root)
    for folder in recipe.empty_dirs:
        (root / folder).mkdir(parents=True)
    index = {"name": recipe.name, "version": recipe.version, "build": recipe.build, "subdir": recipe.subdir}
    if recipe.subdir == "noarch":
        index["noarch"] = recipe.noarch
    index |= recipe.index
    made = write_package(
        root, index, channel, tar_bz2=recipe.tar_bz2, link=recipe.link, empty_dirs=recipe.empty_dirs, summary="Hand-made"
    )
    shutil.rmtree(root)
    return [made]


def recipes() -> list[Recipe]:
    """All hand-made packages."""
    entry_points = ["edge-main = edge_noarch:main", "edge-other = edge_noarch.sub:main"]
    noarch_python = {"noarch": {"type": "python", "entry_points": entry_points}, "package_metadata_version": 1}
    native = {"subdir": "linux-64"}
    return [
        # Programs
        Recipe("edge-argv", fill=_programs, **native),
        Recipe("edge-bin", fill=_bin, **native),
        Recipe("edge-python", fill=_python_programs, **native, index={"depends": ["python"]}),
        Recipe("edge-noarch-python", fill=_noarch_python, noarch="python", link=noarch_python, index={"depends": ["python >=3.9"]}),
        # Prefix
        Recipe("edge-prefix", fill=_prefix, **native),
        Recipe("edge-rpath", fill=_rpath, **native),
        # Link scripts
        Recipe("edge-post-link", fill=_post_link, **native),
        Recipe("edge-post-link-fails", fill=_post_link_fails, **native),
        Recipe("edge-post-link-tool", fill=_post_link_tool, **native, index={"depends": ["edge-python"]}),
        # Activation
        Recipe("edge-activate", fill=_activate),
        Recipe("edge-activate-bash", fill=_activate_bash),
        Recipe("edge-activate-dynamic", fill=_activate_dynamic),
        Recipe("edge-activate-exits", fill=_activate_exits),
        # Files
        Recipe("edge-links", fill=_links),
        Recipe("edge-links-outside", fill=_links_outside),
        Recipe("edge-modes", fill=_modes),
        Recipe("edge-names", fill=_names),
        Recipe("edge-empty", fill=_empty, empty_dirs=("share/edge-empty/dir", "share/edge-empty/a/b")),
        Recipe("edge-large", fill=_large),
        Recipe("edge-many-files", fill=_many_files),
        Recipe("edge-bz2", fill=_bz2, tar_bz2=True, **native),
        Recipe("edge-clobber-a", fill=partial(_clobber, which="a")),
        Recipe("edge-clobber-b", fill=partial(_clobber, which="b")),
        Recipe("edge-clobber-dir", fill=_file("share/edge-clobber-dir", "a file\n")),
        # Virtual packages
        Recipe("edge-glibc", "1.0", fill=_file("share/edge-glibc", "1.0\n"), **native, index={"depends": ["__glibc >=2.17"]}),
        Recipe("edge-glibc", "2.0", fill=_file("share/edge-glibc", "2.0\n"), **native, index={"depends": ["__glibc >=2.36"]}),
        Recipe("edge-glibc-future", **native, index={"depends": ["__glibc >=2.99"]}),
        Recipe("edge-cuda", "2.0", "cuda12_0", fill=_file("share/edge-cuda", "cuda\n"), **native, index={"depends": ["__cuda >=12"]}),
        Recipe("edge-cuda", "2.0", "cpu_0", fill=_file("share/edge-cuda", "cpu\n"), **native, index={"track_features": "edge-cpu"}),
        Recipe("edge-cuda-only", **native, index={"depends": ["__cuda >=12"]}),
        Recipe("edge-archspec", "1.0", "v3_1", fill=_file("share/edge-archspec", "v3\n"), **native,
               index={"depends": ["_x86_64-microarch-level >=3"], "build_number": 1}),
        Recipe("edge-archspec", "1.0", "v1_0", fill=_file("share/edge-archspec", "v1\n"), **native),
        *(Recipe("_x86_64-microarch-level", level, f"0_{level}_{march}", index={"depends": [f"__archspec 1=*{march}"]})
          for level, march in (("3", "haswell"), ("3", "skylake_avx512"), ("3", "icelake"), ("3", "cascadelake"),
                               ("3", "sapphirerapids"), ("3", "zen2"), ("3", "zen3"), ("3", "zen4"), ("3", "zen5"), ("3", "x86_64_v3"), ("3", "x86_64_v4"))),
        # The solver
        Recipe("edge-shared", "1.0", index={"depends": []}),
        Recipe("edge-shared", "2.0", index={"depends": []}),
        Recipe("edge-conflict-a", index={"depends": ["edge-shared 1.*"]}),
        Recipe("edge-conflict-b", index={"depends": ["edge-shared 2.*"]}),
        Recipe("edge-missing-dep", index={"depends": ["edge-does-not-exist >=1"]}),
        Recipe("edge-constrains", index={"constrains": ["numpy <1.20"]}),
        Recipe("edge-cycle-a", index={"depends": ["edge-cycle-b"]}),
        Recipe("edge-cycle-b", index={"depends": ["edge-cycle-a"]}),
        *(Recipe("edge-versions", v) for v in ("1!0.5", "1.0_1", "1.1rc1", "2.0a1", "2.0.post1", "2.0+local.1", "2024.01.02")),
        *(Recipe("mpi", "1.0", build) for build in ("mpich", "openmpi")),
        *(Recipe("blas", "1.0", build) for build in ("openblas", "mkl")),
        # The server: what spoil() breaks
        Recipe("edge-bad-hash", fill=_file("share/edge-bad-hash", "x\n")),
        Recipe("edge-truncated", fill=_file("share/edge-truncated", "x\n" * 1000)),
        Recipe("edge-not-there", fill=_file("share/edge-not-there", "x\n")),
    ]  # fmt: skip


def _file(rel: str, data: str) -> Callable[[Path], None]:
    return partial(_write, rel=rel, data=data)


def spoil(records: list[tuple[str, dict]], channel: Path) -> list[tuple[str, dict]]:
    """Breaks the packages that are there to be broken: a wrong digest, a short file, no file."""
    spoiled = []
    for name, record in records:
        path = channel / record["subdir"] / name
        if record["name"] == "edge-bad-hash":
            record = {**record, "sha256": "0" * 64, "md5": "0" * 32}
        elif record["name"] == "edge-truncated":
            os.truncate(path, record["size"] // 2)
        elif record["name"] == "edge-not-there":
            path.unlink()
        spoiled.append((name, record))
    return spoiled


def make_wheels(folder: Path) -> None:
    """Hand-made wheels for `pip:` without a network: flat (--find-links) and below simple/ (--index-url)."""
    folder.mkdir()
    main = 'import edge_pip_lib\n\n\ndef main():\n    print("edge-pip-app 1.0 with edge-pip-lib", edge_pip_lib.VERSION)\n'
    _wheel(folder, "edge_pip_app", "1.0", main, ["edge-pip-lib>=1.0"], "edge-pip-app = edge_pip_app:main")
    for version in ("1.0", "1.1"):
        _wheel(folder, "edge_pip_lib", version, f'VERSION = "{version}"\n')
    _wheel(folder, "edge_pip_conflict", "1.0", "", ["edge-pip-lib<1.0"])
    for wheel in sorted(folder.glob("*.whl")):
        project = folder / "simple" / wheel.name.split("-")[0].replace("_", "-")
        project.mkdir(parents=True, exist_ok=True)
        with open(project / "index.html", "a") as page:
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            page.write(f'<a href="../../{wheel.name}#sha256={digest}">{wheel.name}</a><br>\n')


def _wheel(folder: Path, module: str, version: str, source: str, requires: list[str] | None = None, script: str = "") -> None:
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: {version}\n"
    files = {
        f"{module}.py": source,
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {r}\n" for r in requires or []),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: make-channel\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script}\n"
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as z:
        for name, text in files.items():
            z.writestr(zipfile.ZipInfo(name, (2023, 11, 14, 0, 0, 0)), text)


def _write(root: Path, rel: str, data: str | bytes, mode: int = 0o644) -> Path:
    path = root / rel
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(mode)
    return path


def _script(root: Path, rel: str, text: str) -> None:
    _write(root, rel, text, 0o755)


def _compile(root: Path, rel: str, program: str) -> None:
    path = root / rel
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-Os", "-s", "-static", f"-D{program}", f'-DPREFIX="{P}"', "-o", str(path), str(HERE / "edge.c")]
    subprocess.run(command, check=True)
    path.chmod(0o755)


def _programs(root: Path) -> None:
    for name in ("argv", "exit", "env", "wait"):
        _compile(root, f"bin/edge-{name}", f"EDGE_{name.upper()}")


def _bin(root: Path) -> None:
    """A bin directory with everything that is not a plain program."""
    for name in ("edge blank", "edge'quote", 'edge"double', "edge$HOME", "edge;semicolon", "-edge-dash", "edge-ünï", "edge*star", "[", "edge\\back"):
        _script(root, f"bin/{name}", '#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n')
    _script(root, "bin/.edge-hidden", "#!/bin/sh\necho hidden\n")
    _script(root, "bin/edge-no-shebang", "echo no shebang\n")
    _write(root, "bin/edge-not-executable", "#!/bin/sh\necho never\n")
    _write(root, "bin/edge-subdir/inner", "#!/bin/sh\necho inner\n", 0o755)
    _script(root, "libexec/edge-real", '#!/bin/sh\necho "real called as ${0##*/}"\n')
    (root / "bin/edge-link").symlink_to("../libexec/edge-real")
    (root / "bin/edge-link-to-link").symlink_to("edge-link")
    (root / "bin/edge-link-to-dir").symlink_to("edge-subdir")
    (root / "bin/edge-dangling").symlink_to("nowhere")
    (root / "bin/edge-link-to-base").symlink_to("/bin/true")
    _script(root, "sbin/edge-sbin", "#!/bin/sh\necho sbin\n")


def _python_programs(root: Path) -> None:
    _script(root, "bin/edge-shebang", f"#!{P}/bin/python\nimport sys; print(sys.prefix)\n")
    _script(root, "bin/edge-shebang-args", f"#!{P}/bin/python -E -s\nimport sys; print(sys.flags.no_user_site)\n")
    _script(root, "bin/edge-shebang-env", "#!/usr/bin/env python\nimport sys; print(sys.executable)\n")
    _script(root, "bin/edge-executable", f"#!{P}/bin/python\nimport sys; print(sys.executable)\n")


def _noarch_python(root: Path) -> None:
    site = "site-packages"
    main = 'import sys\n\n\ndef main():\n    print("edge_noarch", *sys.argv[1:])\n    return 0\n'
    _write(root, f"{site}/edge_noarch/__init__.py", main)
    _write(root, f"{site}/edge_noarch/sub.py", "from edge_noarch import main\n")
    _write(root, f"{site}/edge_noarch/bad_syntax.py", "def (:\n")
    _write(root, f"{site}/edge_noarch/data.txt", f"{P}\n")
    _write(root, f"{site}/edge_noarch/prefix.py", f'PREFIX = "{P}"\n')
    _write(root, f"{site}/edge_noarch-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: edge-noarch-python\nVersion: 1.0\n")
    _write(root, f"{site}/edge_noarch-1.0.dist-info/INSTALLER", "conda\n")
    _write(root, f"{site}/edge_noarch.pth", "import sys; sys.edge_pth = True\n")
    _script(root, "python-scripts/edge-script", f"#!{P}/bin/python\nprint('edge-script')\n")
    _write(root, "share/edge-noarch/data", "x\n")


def _prefix(root: Path) -> None:
    _script(root, "bin/edge-sh", f"#!/bin/sh\necho {P}\n")
    _compile(root, "bin/edge-cprefix", "EDGE_PREFIX")
    share = "share/edge-prefix"
    _write(root, "lib/pkgconfig/edge.pc", f"prefix={P}\nlibdir=${{prefix}}/lib\nLibs: -L{P}/lib -Wl,-rpath,{P}/lib\n")
    _write(root, f"{share}/text", f"{P}/share:{P}/lib\n")
    _write(root, f"{share}/many", f"{P}/a:{P}/b\n" * 5000)
    _write(root, f"{share}/crlf", f"a={P}\r\nb={P}\r\n")
    _write(root, f"{share}/latin-1", b"caf\xe9 " + P.encode() + b"/x\n")
    _write(root, f"{share}/no-newline", P)
    _write(root, f"{share}/utf-16", ("\ufeff" + P + "/share").encode("utf-16-le"))
    p = P.encode()
    _write(root, f"{share}/binary", b"\0BIN" + p + b"/lib\0tail\0" + p + b"/a:" + p + b"/b\0end")
    _write(root, f"{share}/binary-at-end", b"\0" + p)
    _script(root, "bin/edge-read-only-text", f"#!/bin/sh\necho {P}\n")
    (root / "bin/edge-read-only-text").chmod(0o555)


def _rpath(root: Path) -> None:
    """A program that finds its library through an absolute RPATH, a placeholder."""
    (root / "lib").mkdir()
    (root / "bin").mkdir()
    source = root / "source.c"
    source.write_text('const char *edge(void) { return "edge-rpath found its library"; }\n')
    subprocess.run(["gcc", "-shared", "-fPIC", "-s", "-Wl,-soname,libedge-rpath.so.1", "-o", str(root / "lib/libedge-rpath.so.1"), str(source)], check=True)
    source.write_text("int puts(const char *); const char *edge(void);\nint main(void) { puts(edge()); return 0; }\n")
    subprocess.run(["gcc", "-s", "-o", str(root / "bin/edge-rpath"), str(source), str(root / "lib/libedge-rpath.so.1"),
                    f"-Wl,-rpath,{P}/lib", "-Wl,--disable-new-dtags"], check=True)  # fmt: skip
    source.unlink()


def _post_link(root: Path) -> None:
    _script(root, "bin/.edge-post-link-post-link.sh", """#!/bin/bash
set -e
echo "edge-post-link: on stdout"
echo "edge-post-link: on stderr" >&2
echo "edge-post-link was linked" >>"$PREFIX/.messages.txt"
printf '%s\\n' "PREFIX=$PREFIX" "PKG_NAME=$PKG_NAME" "PKG_VERSION=$PKG_VERSION" "PKG_BUILDNUM=$PKG_BUILDNUM" \\
    "ROOT_PREFIX=${ROOT_PREFIX-}" "PWD=$PWD" >"$PREFIX/share/edge-post-link.ran"
""")
    _script(root, "bin/.edge-post-link-pre-unlink.sh", '#!/bin/bash\nrm -f "$PREFIX/share/edge-post-link.ran"\n')
    _write(root, "share/edge-post-link.txt", f"{P}/share\n")


def _post_link_fails(root: Path) -> None:
    text = "#!/bin/bash\necho edge-post-link-fails: about to fail\necho edge-post-link-fails: fails on purpose >&2\nexit 1\n"
    _script(root, "bin/.edge-post-link-fails-post-link.sh", text)
    _write(root, "share/edge-post-link-fails", "x\n")


def _post_link_tool(root: Path) -> None:
    """Runs a tool of the environment by its shebang: only right where the mount point is real."""
    _script(root, "bin/.edge-post-link-tool-post-link.sh", """#!/bin/bash
set -e
"$PREFIX/bin/edge-shebang" >"$PREFIX/share/edge-post-link-tool.ran"
"$PREFIX/bin/python" -c 'import sys; print(sys.version_info[:2])' >>"$PREFIX/share/edge-post-link-tool.ran"
""")
    _write(root, "share/edge-post-link-tool", "x\n")


def _activate(root: Path) -> None:
    """Its effect depends on nothing but the prefix and the variables it extends."""
    _write(root, "etc/conda/activate.d/edge-activate.sh", f"""export EDGE_PREFIX="$CONDA_PREFIX"
export EDGE_DATA="{P}/share/edge"
export EDGE_QUOTED="it's \\"quoted\\" \\$HOME \\\\ *"
export EDGE_LINES="one
two"
export EDGE_EMPTY=""
if [ -n "${{EDGE_VALUE+x}}" ]; then
    export EDGE_VALUE_BACKUP="$EDGE_VALUE"
fi
export EDGE_VALUE="set by edge-activate"
export EDGE_DEFAULT="${{EDGE_DEFAULT:-the default}}"
export EDGE_PATH="$CONDA_PREFIX/edge/plugins${{EDGE_PATH:+:$EDGE_PATH}}"
export PATH="$CONDA_PREFIX/edge/bin:$PATH"
unset EDGE_UNWANTED
""")
    _write(root, "etc/conda/activate.d/edge-activate.fish", "set -gx EDGE_PREFIX $CONDA_PREFIX\n")
    _write(root, "etc/conda/activate.d/edge-activate.csh", 'setenv EDGE_PREFIX "$CONDA_PREFIX"\n')
    _write(root, "etc/conda/deactivate.d/edge-activate.sh", "unset EDGE_PREFIX EDGE_DATA\n")
    variables = {"EDGE_JSON": "from env_vars.d", "EDGE_JSON_UTF8": "Ærø ☃", "EDGE_JSON_QUOTED": "it's \"quoted\" $HOME `id` \\"}
    _write(root, "etc/conda/env_vars.d/edge-activate.json", json.dumps(variables))
    _script(root, "edge/bin/edge-activated", "#!/bin/sh\necho \"${EDGE_VALUE-not activated}\"\n")


def _activate_bash(root: Path) -> None:
    """Static, but only bash can run it."""
    _write(root, "etc/conda/activate.d/edge-activate-bash.sh", """edge_names=(a b c)
function edge_join { local IFS=-; echo "$*"; }
if [[ "${edge_names[1]}" == b ]]; then
    export EDGE_BASH="$(edge_join "${edge_names[@]}")"
fi
unset edge_names
unset -f edge_join
""")


def _activate_dynamic(root: Path) -> None:
    """Its effect depends on who runs it, where and when: it cannot be captured at build time."""
    _write(root, "etc/conda/activate.d/edge-activate-dynamic.sh", """export EDGE_HOME="$HOME/.edge"
export EDGE_HOST="$(uname -n)"
export EDGE_PID="$$"
if [ -d /tmp ]; then
    export EDGE_TMP="/tmp/edge-${USER:-nobody}"
fi
""")


def _activate_exits(root: Path) -> None:
    _write(root, "etc/conda/activate.d/edge-activate-exits.sh", "echo edge-activate-exits: no licence >&2\nexit 3\n")


def _links(root: Path) -> None:
    lib = "lib/edge"
    _write(root, f"{lib}/libedge.so.1.2.3", b"\x7fELF" + bytes(100), 0o755)
    long_dir = "/".join(["long-" + "x" * 55] * 5)
    _write(root, f"{lib}/{long_dir}/leaf", "at the end of a long link\n")
    links = {
        "libedge.so.1": "libedge.so.1.2.3",
        "libedge.so": "libedge.so.1",
        "loop": "../edge",
        "self": "self",
        "dangling": "nowhere",
        "dir": long_dir.split("/")[0],
        "up": "../../share",
        "with blank": "lib edge",
        f"long-{len(long_dir) + 5}": f"{long_dir}/leaf",
    }
    for name, target in links.items():
        (root / lib / name).symlink_to(target)
    (root / "lib/edge-dir").symlink_to("edge")
    os.link(root / lib / "libedge.so.1.2.3", root / lib / "hard-1")
    os.link(root / lib / "libedge.so.1.2.3", root / "lib/hard-2")
    _write(root, "share/edge-links", "a file for `up`\n")


def _links_outside(root: Path) -> None:
    (root / "share/edge-links-outside").mkdir(parents=True)
    for name, target in {
        "absolute": "/etc/hostname",
        "absolute-dangling": "/nowhere/at/all",
        "placeholder": f"{P}/share",
        "escaping": "../" * 20 + "etc/hostname",
        "escaping-by-one": "../../../outside",
    }.items():
        (root / "share/edge-links-outside" / name).symlink_to(target)


def _modes(root: Path) -> None:
    for mode in (0o644, 0o600, 0o400, 0o444, 0o755, 0o555, 0o700, 0o664, 0o775, 0o4755, 0o2755, 0o1755):
        _write(root, f"share/edge-modes/{mode:04o}", "#!/bin/sh\necho ok\n", mode)
    _write(root, "share/edge-modes/secret", f"{P}\n", 0o400)


def _names(root: Path) -> None:
    folder = "share/edge-names"
    names = ["ünïcödé-☃-日本語", "with blank", " leading", "trailing ", "it's", 'say "hi"', "back\\slash", "tab\there", "new\nline",
             "-dash", "*glob?", "$dollar", "`id`", "semi;colon", "colon:", "comma,", "#hash", "e\u0301-decomposed", "\u00e9-composed",
             ".hidden", "dot.", "...", "%41", "CON", "a" * 255, "Case", "case"]  # fmt: skip
    for name in names:
        _write(root, f"{folder}/{name}", name)
    _write(root, f"{folder}/Dir/x", "upper")
    _write(root, f"{folder}/dir/x", "lower")
    _write(root, f"{folder}/{'/'.join(f'deep{i:02}' for i in range(60))}/leaf", "60 levels")
    _write(root, f"{folder}/{'/'.join(['x' * 60] * 12)}/leaf", "a path of more than 700 bytes")


def _empty(root: Path) -> None:
    _write(root, "share/edge-empty/file", b"")
    _write(root, "share/edge-empty/other", b"")


def _large(root: Path) -> None:
    """32 MiB: a quarter noise, the rest squeezes well, a stretch of zeros."""
    noise = random.Random(1)
    pattern = bytes(range(256)) * 4096
    with open(_write(root, "share/edge-large.bin", b""), "wb") as f:
        for i in range(32):
            f.write((noise.randbytes(1 << 20), pattern, bytes(1 << 20), pattern)[i % 4])


def _many_files(root: Path) -> None:
    """6,000 small files; every tenth has the content of another."""
    for i in range(6000):
        _write(root, f"share/edge-many/{i % 100:02}/{i:04}.txt", f"{0 if i % 10 == 0 else i}\n")


def _bz2(root: Path) -> None:
    _script(root, "bin/edge-bz2", f"#!/bin/sh\necho {P}\n")
    _write(root, "share/edge-bz2/file", "x\n")
    (root / "share/edge-bz2/link").symlink_to("file")
    os.link(root / "share/edge-bz2/file", root / "share/edge-bz2/hard")


def _clobber(root: Path, which: str) -> None:
    _write(root, "share/edge-clobber", f"{which}\n")
    _write(root, f"share/edge-clobber-dir/{which}", f"{which}\n")
