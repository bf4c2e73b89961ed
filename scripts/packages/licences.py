"""Licences of the software that is linked into the program, with their texts."""

import json
import pathlib
import re
import subprocess

# Licences that a crate may have. Of a choice, one of these is enough.
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
}
FILE = re.compile(r"(licen[cs]e|copying|notice|copyright|unlicense)", re.IGNORECASE)
# Directories of crates with files that are not linked.
NOT_LINKED = {"tests", "test", "examples", "programs", "contrib", "benches", "build-aux", "fuzz"}
# Title of licences that are not chosen where a crate offers them.
NOT_CHOSEN = re.compile(r"gnu (lesser |library )?general public license", re.IGNORECASE)

MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
BSD_3_CLAUSE = """\
Redistribution and use in source and binary forms, with or without modification, are permitted
provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions
   and the following disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions
   and the following disclaimer in the documentation and/or other materials provided with the
   distribution.

3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse
   or promote products derived from this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR
IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND
FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE,
DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER
IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF
THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""
HEAD = """\
Software that is linked into condense {version}

condense itself is under the MIT licence; its text is in LICENSE. The table names each component,
its version and its licence. The source of a crate NAME is at https://crates.io/crates/NAME. The
texts of the licences follow, each with the components that it belongs to.

"""
RULE = "=" * 100


def is_allowed(expression):
    """Returns whether the licences of an SPDX expression are allowed, one of each choice."""
    words = re.findall(r"\(|\)|/|[^\s()/]+(?: WITH [^\s()/]+)?", expression)
    names = {"AND": "and", "OR": "or", "/": "or", "(": "(", ")": ")"}
    python = " ".join(names.get(word) or str(word in ALLOWED) for word in words)
    return bool(eval(python, {"__builtins__": {}}))  # only True, False, and, or, ( and )


def linked(root, machine):
    """Returns the metadata of the crates that are linked into the program."""

    def cargo(*words):
        command = ["cargo", *words, "--locked", "--offline"]
        return subprocess.run(command, cwd=root, check=True, text=True, capture_output=True).stdout

    target = f"{machine}-unknown-linux-gnu"
    edges = ("--edges", "normal,no-proc-macro", "--target", target)
    tree = cargo("tree", "--package", "condense", *edges, "--prefix", "none", "--format", "{p}")
    names = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    # Crates of other platforms need not be on this machine.
    words = ("metadata", "--format-version", "1", "--filter-platform", target)
    metadata = json.loads(cargo(*words))
    crates = [
        crate
        for crate in metadata["packages"]
        if (crate["name"], "v" + crate["version"]) in names and crate["source"]
    ]
    return sorted(crates, key=lambda crate: (crate["name"], crate["version"]))


def texts_of(crate):
    """Returns the texts of the licence files of a crate."""
    directory = pathlib.Path(crate["manifest_path"]).parent
    found = []
    for path in sorted(directory.rglob("*")):
        inner = path.relative_to(directory)
        is_text = path.suffix.lower() not in {".c", ".h", ".html", ".py", ".rs", ".sh"}
        is_linked = NOT_LINKED.isdisjoint(inner.parts[:-1])
        if not (path.is_file() and FILE.match(path.name) and is_text and is_linked):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if not NOT_CHOSEN.search(text[:300]):
            found.append("\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n")
    return found


def standard_text(name, licence, authors):
    """Returns the text of a licence for a component that comes without a file."""
    who = ", ".join(re.sub(r" *<.*>", "", author) for author in authors)
    holder = f"Copyright (c) the authors of {name}" + (f" ({who})" if who else "")
    for known, text in (("MIT", MIT), ("BSD-3-Clause", BSD_3_CLAUSE)):
        if known in re.split(r"[\s()/]+", licence):
            return f"{holder}\n\n{text}"
    raise SystemExit(f"scripts/packages: {name} ({licence}) has no file with its licence")


def compiled_in(llvm_text):
    """Returns the components that the compiler and the linker add."""
    return [
        (
            ("Rust's standard library", "", "MIT OR Apache-2.0"),
            [standard_text("Rust", "MIT", ["The Rust Project Contributors"])],
        ),
        (
            ("LLVM's libunwind", "", "Apache-2.0 WITH LLVM-exception"),
            [llvm_text],
        ),
        (
            ("Zig's compiler runtime", "", "MIT"),
            [standard_text("Zig", "MIT", ["Zig contributors"])],
        ),
    ]


def document(root, machine, version):
    """Returns the table and the texts for a program of the machine's kind."""
    rows, llvm = [], None
    for crate in linked(root, machine):
        name, licence = crate["name"], crate["license"] or ""
        if not licence or not is_allowed(licence):
            raise SystemExit(f"scripts/packages: {name} has the licence `{licence}`")
        texts = texts_of(crate) or [standard_text(name, licence, crate["authors"])]
        llvm = llvm or next((text for text in texts if "LLVM Exceptions to the" in text), None)
        rows.append(((name, crate["version"], licence), texts))
    if llvm is None:
        raise SystemExit("scripts/packages: no crate has the text of LLVM's licence")
    rows.extend(compiled_in(llvm))
    users = {}
    for (name, crate_version, _), texts in rows:
        for text in dict.fromkeys(texts):
            users.setdefault(text, []).append(f"{name} {crate_version}".strip())
    widths = [max(len(row[column]) for row, _ in rows) for column in range(2)]
    table = ["  ".join([*map(str.ljust, row[:2], widths), row[2]]) + "\n" for row, _ in rows]
    parts = [f"\n{RULE}\n{', '.join(names)}\n\n{text}" for text, names in users.items()]
    return "".join([HEAD.format(version=version), *table, *parts])
