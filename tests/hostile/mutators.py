"""Changes bytes, texts and JSON as carelessness, damage and malice do; the same seed, the same."""

import copy
import json
import random
import struct
import zlib
from typing import Any

NUMBERS = [
    0, -1, 1, 2**31, -(2**31), 2**63, 2**64, 10**30, 10**400, 1e308, -1e308, 0.1, 1e-320, True,
    None,
]  # fmt: skip
TEXTS = [
    "", ".", "..", "../../etc/passwd", "/etc/passwd", "C:\\x", "a\x00b", "\x1b[31m", "é" * 300,
    "\ud800", "١٢٣", "1_0", "nan", "inf", "1e400", "0x10", "[" * 3000, "=cmd()", "<x>", "\u202e",
]  # fmt: skip
TOKENS = [
    b"\x00", b"\xff", b"\n", b"\r\n", b"NaN", b"-Infinity", b"1e400", b"9" * 400, b"[" * 500,
    b"{" * 500, b'"', b"\\u0000", b"\\ud800", b"\xef\xbb\xbf", b"\xff\xfe", b"../" * 5,
    b"\xd9\xa1", b"-", b",", b";", b"\t", b"#", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"\xff\xd8",
    b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00",
]  # fmt: skip


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to six changes of some bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(9)
        if kind == 0 and changed:
            changed[at % len(changed)] ^= 1 << rng.randrange(8)
        elif kind == 1 and changed:
            changed[at % len(changed)] = rng.choice([0, 1, 127, 128, 255])
        elif kind == 2:
            del changed[at : at + rng.choice([1, 2, 4, 16, 256])]
        elif kind == 3:
            changed[at:at] = rng.choice(TOKENS)
        elif kind == 4:
            del changed[at:]
        elif kind == 5:
            other = rng.randrange(len(changed) + 1)
            changed[at:at] = changed[other : other + rng.choice([1, 8, 64, 512])]
        elif kind == 6 and len(changed) >= 4:
            place = rng.randrange(len(changed) - 3)
            value = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, rng.getrandbits(32)])
            order = rng.choice("<>")
            changed[place : place + 4] = struct.pack(f"{order}I", value)
        elif kind == 7:
            token = rng.choice(TOKENS)
            changed[at : at + len(token)] = token
        else:
            changed += rng.choice(TOKENS) * rng.choice([1, 10, 1000])
    return bytes(changed)


def mutated_json(data: bytes, rng: random.Random) -> bytes:
    """Another value, key or nesting in one to three places of a document."""
    document = copy.deepcopy(json.loads(data))
    for _ in range(rng.choice([1, 1, 2, 3])):
        places = list(_places(document))
        if not places:
            break
        parent, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind <= 3:
            parent[key] = _odd_value(rng, parent[key])
        elif kind == 4:
            del parent[key]
        elif kind == 5:
            parent[key] = copy.deepcopy(rng.choice(places)[0])
        elif kind == 6 and isinstance(parent, dict):
            parent[rng.choice(TEXTS)] = parent.pop(key)
        elif isinstance(parent, list):
            parent[key:key] = [copy.deepcopy(parent[key])] * rng.choice([1, 3, 50])
        else:
            nested: Any = parent[key]
            for _ in range(rng.choice([1, 10, 60])):
                nested = rng.choice([[nested], {"a": nested}])
            parent[key] = nested
    return json.dumps(document).encode("ascii")


def _odd_value(rng: random.Random, value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.4:
        near = max(-(10**299), min(value, 10**299))  # an integer changed before may fit no float
        return rng.choice([-value, value + 1, near * 1e9, float(near), str(near)])
    if isinstance(value, str) and rng.random() < 0.4:
        return rng.choice([value + " ", value[::-1], value.upper(), value * 40, [value]])
    return rng.choice([*NUMBERS, *TEXTS, [], {}, [[]], {"": {}}, [1, "a"], float("inf")])


def _places(document: Any) -> Any:
    """Every (container, key) of a document."""
    stack = [document]
    while stack:
        value = stack.pop()
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield value, key
            if isinstance(value[key], dict | list):
                stack.append(value[key])


def mutated_png(data: bytes, rng: random.Random) -> bytes:
    """A PNG with one chunk changed and its checksum made right again, or left wrong."""
    chunks, at = [], 8
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    place = rng.randrange(len(chunks))
    kind, body = chunks[place]
    chunks[place] = (kind, mutated_bytes(body, rng) if body else rng.choice(TOKENS))
    if rng.random() < 0.3:
        chunks.insert(rng.randrange(len(chunks)), rng.choice(chunks))
    wrong = rng.random() < 0.2
    parts = [data[:8]]
    for kind, body in chunks:
        check = zlib.crc32(kind + body) ^ int(wrong)
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check))
    return b"".join(parts)
