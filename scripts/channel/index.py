"""Writes a channel's index: repodata.json, repodata.json.zst and shards (CEP 16)."""

import hashlib
import json
import struct
import subprocess
from pathlib import Path


def write(channel: Path, records: list[tuple[str, dict]]) -> None:
    """Writes the index of a channel from pairs of file name and record."""
    for subdir in ("linux-64", "noarch"):
        folder = channel / subdir
        folder.mkdir(parents=True, exist_ok=True)
        here = sorted((name, record) for name, record in records if record["subdir"] == subdir)
        repodata = {"info": {"subdir": subdir}, **_split(here), "repodata_version": 1}
        text = json.dumps(repodata, indent=1, sort_keys=True).encode()
        (folder / "repodata.json").write_bytes(text)
        (folder / "repodata.json.zst").write_bytes(_zstd(text))
        _write_shards(folder, subdir, here)


def _split(records: list[tuple[str, dict]]) -> dict:
    return {
        "packages": {n: r for n, r in records if n.endswith(".tar.bz2")},
        "packages.conda": {n: r for n, r in records if n.endswith(".conda")},
        "removed": [],
    }


def _write_shards(folder: Path, subdir: str, records: list[tuple[str, dict]]) -> None:
    (folder / "shards").mkdir()
    shards = {}
    for name in sorted({record["name"] for _, record in records}):
        packed = _zstd(pack_shard([(n, r) for n, r in records if r["name"] == name]))
        digest = hashlib.sha256(packed)
        (folder / "shards" / f"{digest.hexdigest()}.msgpack.zst").write_bytes(packed)
        shards[name] = digest.digest()
    write_shard_index(folder, subdir, shards)


def pack_shard(records: list[tuple[str, dict]]) -> bytes:
    """Returns the records of one name, not compressed."""
    # Digests in shards are bytes, not text.
    packed = [
        (n, {**r, "md5": bytes.fromhex(r["md5"]), "sha256": bytes.fromhex(r["sha256"])})
        for n, r in records
    ]
    return _msgpack(_split(packed))


def write_shard_index(folder: Path, subdir: str, shards: dict[str, bytes]) -> None:
    """Writes the names and the digests of their compressed shards."""
    info = {"subdir": subdir, "base_url": "", "shards_base_url": "./shards/"}
    index = _msgpack({"version": 1, "info": info, "shards": shards})
    (folder / "repodata_shards.msgpack.zst").write_bytes(_zstd(index))


def _zstd(data: bytes) -> bytes:
    return subprocess.run(
        ["zstd", "-q", "-c", f"--stream-size={len(data)}"],
        input=data,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


def _msgpack(value) -> bytes:
    """Encodes the part of MessagePack that an index needs."""
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int() if value >= 0:
            return struct.pack(">BQ", 0xCF, value)
        case str():
            data = value.encode()
            return struct.pack(">BI", 0xDB, len(data)) + data
        case bytes():
            return struct.pack(">BI", 0xC6, len(value)) + value
        case list():
            return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(_msgpack, value))
        case dict():
            pairs = (_msgpack(k) + _msgpack(v) for k, v in value.items())
            return struct.pack(">BI", 0xDF, len(value)) + b"".join(pairs)
    raise TypeError(f"cannot pack {value!r}")
