"""Measures unpacking and checking of images against unsquashfs."""

import shutil
import statistics

from . import trees
from .common import EXAMPLES, WORK, note, run, squash, table

CODECS = (("gzip", ["gzip"]), ("zstd", ["zstd", "-Xcompression-level", "3"]), ("lz4", ["lz4"]))


def unpack(rounds):
    tree, image, out = trees.middle(), WORK / "unpack.sqfs", WORK / "unpacked"
    title = trees.described(tree)
    for codec, words in CODECS:
        squash(tree, image, words)
        ways = {
            "condense": [EXAMPLES / "unpack", image, out],
            "unsquashfs": ["unsquashfs", "-q", "-n", "-d", out, image],
        }
        figures = {way: [] for way in ways}
        for turn in range(rounds + 1):
            for way, command in ways.items():
                shutil.rmtree(out, ignore_errors=True)
                measured = run(command)
                # The first round reads the image and the blocks of the directories into memory.
                if turn:
                    figures[way].append(measured)
        shutil.rmtree(out, ignore_errors=True)
        checked = [run([EXAMPLES / "unpack", "--check", image])[0] for _ in range(rounds)]
        rows = {way: [wall for wall, _, _ in measured] for way, measured in figures.items()}
        table(f"{title}: unpacked from {codec}", {**rows, "condense image verify": checked})
        mine, theirs = (statistics.median(values) for values in rows.values())
        memory = [max(peak for _, _, peak in measured) for measured in figures.values()]
        note(
            f"ratio {theirs / mine:.2f}; memory {memory[0]:.0f} and {memory[1]:.0f} MB",
            ratio=theirs / mine,
            memory_mb=memory,
        )
    image.unlink()
