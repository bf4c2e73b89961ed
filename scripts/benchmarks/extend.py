"""Measures packing with a donor: environments put into bases, and trees with few changed files."""

import shutil
import statistics

from . import trees
from .common import WORK, note, ours, run, squash, table

# Codec of the old image, mksquashfs's options for it, and condense's name of it.
REPACKED = [
    ("gzip", ["gzip"], "gzip:6"),
    ("zstd", ["zstd", "-Xcompression-level", "3"], "zstd:3"),
    ("zstd 15", ["zstd"], "zstd:15"),
]


def again(base, tree, image, words):
    """Unpacks, copies and compresses everything again, as is necessary without a donor."""
    root = WORK / "again"
    shutil.rmtree(root, ignore_errors=True)
    seconds = run(["unsquashfs", "-q", "-n", "-d", root, base])[0]
    (root / "opt").mkdir(exist_ok=True)
    seconds += run(["cp", "-a", tree, root / "opt/env"])[0]
    return seconds + squash(root, image, words)[0]


def extend(rounds):
    into_bases(rounds, trees.middle(), trees.base_root())
    repack(rounds, trees.large(), REPACKED[:2])
    # One round only: level 15 takes minutes.
    repack(1, trees.middle(), REPACKED[2:])


def into_bases(rounds, tree, root):
    one, two = WORK / "one.sqfs", WORK / "two.sqfs"
    for name, words in (("gzip", ["gzip"]), ("zstd", ["zstd", "-Xcompression-level", "3"])):
        base = WORK / f"base-{name}.sqfs"
        squash(root, base, words)
        quick, slow = [], []
        for _ in range(rounds):
            quick.append(ours(tree, one, "--onto", base, "--at", "opt/env"))
            slow.append(again(base, tree, two, words))
        wall = [figures[0] for figures in quick]
        sizes = [path.stat().st_size / 1e6 for path in (base, one, two)]
        table(
            f"environment into a {name} base of {sizes[0]:.0f} MB",
            {"condense": wall, "unsquashfs + cp + mksquashfs": slow},
        )
        ratio = statistics.median(slow) / statistics.median(wall)
        note(
            f"ratio {ratio:.1f}; sizes {sizes[1]:.2f} and {sizes[2]:.2f} MB;"
            f" memory {max(f[2] for f in quick):.0f} MB",
            ratio=ratio,
            sizes_mb=sizes,
        )


def repack(rounds, tree, rows):
    one, two, three = WORK / "one.sqfs", WORK / "two.sqfs", WORK / "three.sqfs"
    changed = WORK / "changed"
    for name, words, level in rows:
        old = WORK / "old.sqfs"
        shutil.rmtree(changed, ignore_errors=True)
        run(["cp", "-a", tree, changed])
        squash(changed, old, words)
        files = sorted(
            path for path in changed.rglob("*") if path.is_file() and not path.is_symlink()
        )
        for path in files[::100]:
            path.write_bytes(path.read_bytes() + b"changed")
        quick, careful, full, theirs = [], [], [], []
        for _ in range(rounds):
            quick.append(ours(changed, one, "--donor", old, "--trust-times"))
            careful.append(ours(changed, one, "--donor", old)[0])
            full.append(ours(changed, two, "--compression", level)[0])
            theirs.append(squash(changed, three, words)[0])
        wall = [figures[0] for figures in quick]
        sizes = [path.stat().st_size / 1e6 for path in (one, two, three)]
        table(
            f"1 % of the files changed since a {name} image",
            {
                "condense --donor OLD --trust-times": wall,
                "condense --donor OLD": careful,
                "condense, full": full,
                "mksquashfs": theirs,
            },
        )
        ratios = [
            statistics.median(other) / statistics.median(wall) for other in (careful, full, theirs)
        ]
        note(
            f"ratios {ratios[0]:.1f}, {ratios[1]:.1f} and {ratios[2]:.1f};"
            f" sizes {sizes[0]:.2f}, {sizes[1]:.2f}, {sizes[2]:.2f} MB;"
            f" memory {max(f[2] for f in quick):.0f} MB",
            ratios=ratios,
            sizes_mb=sizes,
        )
