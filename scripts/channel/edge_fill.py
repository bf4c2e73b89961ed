"""Functions that fill the prefixes of the hand-made packages, one for each package."""

import json
import os
import random
import subprocess
from pathlib import Path

from package import PLACEHOLDER as P

HERE = Path(__file__).resolve().parent


def write(root: Path, rel: str, data: str | bytes, mode: int = 0o644) -> Path:
    path = root / rel
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(mode)
    return path


def script(root: Path, rel: str, text: str) -> None:
    write(root, rel, text, 0o755)


def compile_c(root: Path, rel: str, program: str) -> None:
    path = root / rel
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        "gcc",
        "-Os",
        "-s",
        "-static",
        f"-D{program}",
        f'-DPREFIX="{P}"',
        "-o",
        str(path),
        str(HERE / "edge.c"),
    ]
    subprocess.run(command, check=True)
    path.chmod(0o755)


def programs(root: Path) -> None:
    for name in ("argv", "exit", "env", "wait"):
        compile_c(root, f"bin/edge-{name}", f"EDGE_{name.upper()}")


def bin_dir(root: Path) -> None:
    """Makes a bin directory with entries that are not plain programs."""
    for name in (
        "edge blank",
        "edge'quote",
        'edge"double',
        "edge$HOME",
        "edge;semicolon",
        "-edge-dash",
        "edge-ünï",
        "edge*star",
        "[",
        "edge\\back",
    ):
        script(root, f"bin/{name}", '#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n')
    script(root, "bin/.edge-hidden", "#!/bin/sh\necho hidden\n")
    script(root, "bin/edge-no-shebang", "echo no shebang\n")
    write(root, "bin/edge-not-executable", "#!/bin/sh\necho never\n")
    write(root, "bin/edge-subdir/inner", "#!/bin/sh\necho inner\n", 0o755)
    script(root, "libexec/edge-real", '#!/bin/sh\necho "real called as ${0##*/}"\n')
    (root / "bin/edge-link").symlink_to("../libexec/edge-real")
    (root / "bin/edge-link-to-link").symlink_to("edge-link")
    (root / "bin/edge-link-to-dir").symlink_to("edge-subdir")
    (root / "bin/edge-dangling").symlink_to("nowhere")
    (root / "bin/edge-link-to-base").symlink_to("/bin/true")
    script(root, "sbin/edge-sbin", "#!/bin/sh\necho sbin\n")


def python_programs(root: Path) -> None:
    script(root, "bin/edge-shebang", f"#!{P}/bin/python\nimport sys; print(sys.prefix)\n")
    script(
        root,
        "bin/edge-shebang-args",
        f"#!{P}/bin/python -Es\nimport sys; print(sys.flags.no_user_site)\n",
    )
    script(
        root, "bin/edge-shebang-env", "#!/usr/bin/env python\nimport sys; print(sys.executable)\n"
    )
    script(root, "bin/edge-executable", f"#!{P}/bin/python\nimport sys; print(sys.executable)\n")


def noarch_python(root: Path) -> None:
    site = "site-packages"
    main = 'import sys\n\n\ndef main():\n    print("edge_noarch", *sys.argv[1:])\n    return 0\n'
    write(root, f"{site}/edge_noarch/__init__.py", main)
    write(root, f"{site}/edge_noarch/sub.py", "from edge_noarch import main\n")
    write(root, f"{site}/edge_noarch/bad_syntax.py", "def (:\n")
    write(root, f"{site}/edge_noarch/data.txt", f"{P}\n")
    write(root, f"{site}/edge_noarch/prefix.py", f'PREFIX = "{P}"\n')
    write(
        root,
        f"{site}/edge_noarch-1.0.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: edge-noarch-python\nVersion: 1.0\n",
    )
    write(root, f"{site}/edge_noarch-1.0.dist-info/INSTALLER", "conda\n")
    write(root, f"{site}/edge_noarch.pth", "import sys; sys.edge_pth = True\n")
    script(root, "python-scripts/edge-script", f"#!{P}/bin/python\nprint('edge-script')\n")
    write(root, "share/edge-noarch/data", "x\n")


def prefix(root: Path) -> None:
    script(root, "bin/edge-sh", f"#!/bin/sh\necho {P}\n")
    compile_c(root, "bin/edge-cprefix", "EDGE_PREFIX")
    share = "share/edge-prefix"
    write(
        root,
        "lib/pkgconfig/edge.pc",
        f"prefix={P}\nlibdir=${{prefix}}/lib\nLibs: -L{P}/lib -Wl,-rpath,{P}/lib\n",
    )
    write(root, f"{share}/text", f"{P}/share:{P}/lib\n")
    write(root, f"{share}/many", f"{P}/a:{P}/b\n" * 5000)
    write(root, f"{share}/crlf", f"a={P}\r\nb={P}\r\n")
    write(root, f"{share}/latin-1", b"caf\xe9 " + P.encode() + b"/x\n")
    write(root, f"{share}/no-newline", P)
    write(root, f"{share}/utf-16", ("\ufeff" + P + "/share").encode("utf-16-le"))
    p = P.encode()
    write(root, f"{share}/binary", b"\0BIN" + p + b"/lib\0tail\0" + p + b"/a:" + p + b"/b\0end")
    write(root, f"{share}/binary-at-end", b"\0" + p)
    script(root, "bin/edge-read-only-text", f"#!/bin/sh\necho {P}\n")
    (root / "bin/edge-read-only-text").chmod(0o555)


def rpath(root: Path) -> None:
    """Makes a program that finds its library by an absolute RPATH with the placeholder."""
    (root / "lib").mkdir()
    (root / "bin").mkdir()
    source = root / "source.c"
    source.write_text('const char *edge(void) { return "edge-rpath found its library"; }\n')
    subprocess.run(
        [
            "gcc",
            "-shared",
            "-fPIC",
            "-s",
            "-Wl,-soname,libedge-rpath.so.1",
            "-o",
            str(root / "lib/libedge-rpath.so.1"),
            str(source),
        ],
        check=True,
    )
    source.write_text(
        "int puts(const char *); const char *edge(void);\nint main(void) { puts(edge()); return 0; }\n"
    )
    subprocess.run(["gcc", "-s", "-o", str(root / "bin/edge-rpath"), str(source), str(root / "lib/libedge-rpath.so.1"),
                    f"-Wl,-rpath,{P}/lib", "-Wl,--disable-new-dtags"], check=True)  # fmt: skip
    source.unlink()


def post_link(root: Path) -> None:
    script(
        root,
        "bin/.edge-post-link-post-link.sh",
        """#!/bin/bash
set -e
echo "edge-post-link: on stdout"
echo "edge-post-link: on stderr" >&2
echo "edge-post-link was linked" >>"$PREFIX/.messages.txt"
printf '%s\\n' "PREFIX=$PREFIX" "PKG_NAME=$PKG_NAME" "PKG_VERSION=$PKG_VERSION" "PKG_BUILDNUM=$PKG_BUILDNUM" \\
    "ROOT_PREFIX=${ROOT_PREFIX-}" "PWD=$PWD" >"$PREFIX/share/edge-post-link.ran"
""",
    )
    script(
        root,
        "bin/.edge-post-link-pre-unlink.sh",
        '#!/bin/bash\nrm -f "$PREFIX/share/edge-post-link.ran"\n',
    )
    write(root, "share/edge-post-link.txt", f"{P}/share\n")


def post_link_fails(root: Path) -> None:
    text = "#!/bin/bash\necho edge-post-link-fails: about to fail\necho edge-post-link-fails: fails on purpose >&2\nexit 1\n"
    script(root, "bin/.edge-post-link-fails-post-link.sh", text)
    write(root, "share/edge-post-link-fails", "x\n")


def post_link_tool(root: Path) -> None:
    """Makes a script that runs a tool by its shebang, which needs the real mount point."""
    script(
        root,
        "bin/.edge-post-link-tool-post-link.sh",
        """#!/bin/bash
set -e
"$PREFIX/bin/edge-shebang" >"$PREFIX/share/edge-post-link-tool.ran"
"$PREFIX/bin/python" -c 'import sys; print(sys.version_info[:2])' >>"$PREFIX/share/edge-post-link-tool.ran"
""",
    )
    write(root, "share/edge-post-link-tool", "x\n")


def activate(root: Path) -> None:
    """Makes an activation script that depends only on the prefix and on variables it extends."""
    write(
        root,
        "etc/conda/activate.d/edge-activate.sh",
        f"""export EDGE_PREFIX="$CONDA_PREFIX"
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
""",
    )
    write(root, "etc/conda/activate.d/edge-activate.fish", "set -gx EDGE_PREFIX $CONDA_PREFIX\n")
    write(root, "etc/conda/activate.d/edge-activate.csh", 'setenv EDGE_PREFIX "$CONDA_PREFIX"\n')
    write(root, "etc/conda/deactivate.d/edge-activate.sh", "unset EDGE_PREFIX EDGE_DATA\n")
    variables = {
        "EDGE_JSON": "from env_vars.d",
        "EDGE_JSON_UTF8": "Ærø ☃",
        "EDGE_JSON_QUOTED": 'it\'s "quoted" $HOME `id` \\',
    }
    write(root, "etc/conda/env_vars.d/edge-activate.json", json.dumps(variables))
    script(root, "edge/bin/edge-activated", '#!/bin/sh\necho "${EDGE_VALUE-not activated}"\n')


def activate_bash(root: Path) -> None:
    """Makes an activation script with a constant effect that only bash can run."""
    write(
        root,
        "etc/conda/activate.d/edge-activate-bash.sh",
        """edge_names=(a b c)
function edge_join { local IFS=-; echo "$*"; }
if [[ "${edge_names[1]}" == b ]]; then
    export EDGE_BASH="$(edge_join "${edge_names[@]}")"
fi
unset edge_names
unset -f edge_join
""",
    )


def activate_dynamic(root: Path) -> None:
    """Makes an activation script that depends on user, machine and time: it cannot be captured."""
    write(
        root,
        "etc/conda/activate.d/edge-activate-dynamic.sh",
        """export EDGE_HOME="$HOME/.edge"
export EDGE_HOST="$(uname -n)"
export EDGE_PID="$$"
if [ -d /tmp ]; then
    export EDGE_TMP="/tmp/edge-${USER:-nobody}"
fi
""",
    )


def activate_exits(root: Path) -> None:
    write(
        root,
        "etc/conda/activate.d/edge-activate-exits.sh",
        "echo edge-activate-exits: no licence >&2\nexit 3\n",
    )


def links(root: Path) -> None:
    lib = "lib/edge"
    write(root, f"{lib}/libedge.so.1.2.3", b"\x7fELF" + bytes(100), 0o755)
    long_dir = "/".join(["long-" + "x" * 55] * 5)
    write(root, f"{lib}/{long_dir}/leaf", "at the end of a long link\n")
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
    write(root, "share/edge-links", "a file for `up`\n")


def links_outside(root: Path) -> None:
    (root / "share/edge-links-outside").mkdir(parents=True)
    for name, target in {
        "absolute": "/etc/hostname",
        "absolute-dangling": "/nowhere/at/all",
        "placeholder": f"{P}/share",
        "escaping": "../" * 20 + "etc/hostname",
        "escaping-by-one": "../../../outside",
    }.items():
        (root / "share/edge-links-outside" / name).symlink_to(target)


def modes(root: Path) -> None:
    for mode in (
        0o644,
        0o600,
        0o400,
        0o444,
        0o755,
        0o555,
        0o700,
        0o664,
        0o775,
        0o4755,
        0o2755,
        0o1755,
    ):
        write(root, f"share/edge-modes/{mode:04o}", "#!/bin/sh\necho ok\n", mode)
    write(root, "share/edge-modes/secret", f"{P}\n", 0o400)


def names(root: Path) -> None:
    folder = "share/edge-names"
    names = ["ünïcödé-☃-日本語", "with blank", " leading", "trailing ", "it's", 'say "hi"', "back\\slash", "tab\there", "new\nline",
             "-dash", "*glob?", "$dollar", "`id`", "semi;colon", "colon:", "comma,", "#hash", "e\u0301-decomposed", "\u00e9-composed",
             ".hidden", "dot.", "...", "%41", "CON", "a" * 255, "Case", "case"]  # fmt: skip
    for name in names:
        write(root, f"{folder}/{name}", name)
    write(root, f"{folder}/Dir/x", "upper")
    write(root, f"{folder}/dir/x", "lower")
    write(root, f"{folder}/{'/'.join(f'deep{i:02}' for i in range(60))}/leaf", "60 levels")
    write(root, f"{folder}/{'/'.join(['x' * 60] * 12)}/leaf", "a path of more than 700 bytes")


def empty(root: Path) -> None:
    write(root, "share/edge-empty/file", b"")
    write(root, "share/edge-empty/other", b"")


def large(root: Path) -> None:
    """Makes 32 MiB: a quarter of noise, compressible text, and a range of zeros."""
    noise = random.Random(1)
    pattern = bytes(range(256)) * 4096
    with open(write(root, "share/edge-large.bin", b""), "wb") as f:
        f.writelines(
            (noise.randbytes(1 << 20), pattern, bytes(1 << 20), pattern)[i % 4] for i in range(32)
        )


def many_files(root: Path) -> None:
    """Makes 6,000 small files; every tenth has the content of another one."""
    for i in range(6000):
        write(root, f"share/edge-many/{i % 100:02}/{i:04}.txt", f"{0 if i % 10 == 0 else i}\n")


def bz2(root: Path) -> None:
    script(root, "bin/edge-bz2", f"#!/bin/sh\necho {P}\n")
    write(root, "share/edge-bz2/file", "x\n")
    (root / "share/edge-bz2/link").symlink_to("file")
    os.link(root / "share/edge-bz2/file", root / "share/edge-bz2/hard")


def clobber(root: Path, which: str) -> None:
    write(root, "share/edge-clobber", f"{which}\n")
    write(root, f"share/edge-clobber-dir/{which}", f"{which}\n")
