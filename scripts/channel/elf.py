"""Reads the dependencies out of ELF files."""

import re
import struct
import subprocess
from pathlib import Path

# Libraries of glibc, which come from the system and never from a channel.
SYSTEM_LIBRARY = re.compile(
    r"(libc|libm|libdl|libpthread|librt|libresolv|libutil|libanl|libmvec|libthread_db|ld-linux-x86-64)\.so"
)
DT_NEEDED, DT_STRTAB, DT_VERNEED, DT_VERNEEDNUM = 1, 5, 0x6FFFFFFE, 0x6FFFFFFF
PT_LOAD, PT_DYNAMIC = 1, 2


def is_elf(path: Path) -> bool:
    """Whether the file is a program or a shared library (not an object file)."""
    with open(path, "rb") as f:
        head = f.read(18)
    return head[:5] == b"\x7fELF\x02" and head[16:18] in (b"\x02\0", b"\x03\0")


def needs(path: Path) -> tuple[list[str], tuple[int, ...]]:
    """Returns the sonames that a file needs, and the lowest glibc that has its symbols."""
    data = path.read_bytes()
    (phoff,) = struct.unpack_from("<Q", data, 32)
    phentsize, phnum = struct.unpack_from("<HH", data, 54)
    loads, dynamic = [], None
    for i in range(phnum):
        kind, _, offset, vaddr, _, filesz = struct.unpack_from(
            "<IIQQQQ", data, phoff + i * phentsize
        )
        if kind == PT_LOAD:
            loads.append((vaddr, offset, filesz))
        elif kind == PT_DYNAMIC:
            dynamic = (offset, filesz)
    if dynamic is None:
        return [], ()

    def at(address: int) -> int:
        return next(address - v + o for v, o, size in loads if v <= address < v + size)

    needed, tables = [], {}
    for tag, value in struct.iter_unpack(
        "<QQ", data[dynamic[0] : dynamic[0] + dynamic[1] // 16 * 16]
    ):
        if tag == 0:
            break
        if tag == DT_NEEDED:
            needed.append(value)
        else:
            tables[tag] = value
    strings = at(tables[DT_STRTAB])

    def text(offset: int) -> str:
        start = strings + offset
        return data[start : data.index(b"\0", start)].decode()

    glibc: tuple[int, ...] = ()
    if DT_VERNEED in tables:
        entry = at(tables[DT_VERNEED])
        for _ in range(tables[DT_VERNEEDNUM]):
            _, count, _, aux_offset, following = struct.unpack_from("<HHIII", data, entry)
            aux = entry + aux_offset
            for _ in range(count):
                _, _, _, name, next_aux = struct.unpack_from("<IHHII", data, aux)
                if m := re.fullmatch(r"GLIBC_(\d+(?:\.\d+)+)", text(name)):
                    glibc = max(glibc, tuple(map(int, m[1].split("."))))
                aux += next_aux
            entry += following
    return [text(n) for n in needed], glibc


def dependencies(root: Path, soname_owner: dict[str, str]) -> tuple[set[str], str | None, set[str]]:
    """Returns the needs of the ELF files under root.

    These are the packages, the `__glibc` spec, and the sonames that no package has.
    """
    packages, lowest, unknown = set(), (), set()
    here = {p.name for p in root.rglob("*.so*")}
    found = False
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_file() or not is_elf(path):
            continue
        found = True
        sonames, glibc = needs(path)
        lowest = max(lowest, glibc)
        for soname in sonames:
            if SYSTEM_LIBRARY.match(soname) or soname in here:
                continue
            if soname in soname_owner:
                packages.add(soname_owner[soname])
            else:
                unknown.add(soname)
    spec = None
    if found:
        spec = "__glibc >=" + ".".join(map(str, max(lowest, (2, 17)))) + ",<3.0.a0"
    return packages, spec, unknown


def relocate(root: Path) -> None:
    """Makes every ELF file under root look for libraries in root/lib, at any place of root."""
    by_rpath: dict[str, list[Path]] = {}
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_file() or not is_elf(path):
            continue
        up = Path(*[".."] * (len(path.relative_to(root).parts) - 1))
        rpath = "$ORIGIN" if path.parent == root / "lib" else f"$ORIGIN/{up}/lib"
        by_rpath.setdefault(rpath, []).append(path)
    for rpath, paths in by_rpath.items():
        modes = {p: p.stat().st_mode for p in paths}
        for p in paths:
            p.chmod(0o755)
        # DT_RPATH, as DT_RUNPATH is not inherited by the extension modules of
        # wheels, which find libstdc++ through the interpreter.
        subprocess.run(
            ["patchelf", "--force-rpath", "--set-rpath", rpath, *map(str, paths)], check=True
        )
        for p, mode in modes.items():
            p.chmod(mode)
