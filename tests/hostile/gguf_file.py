"""A GGUF file as Python objects that can be written wrongly on purpose. Layout: docs/formats/GGUF.md"""
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
PACK = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q", I64: "<q",
        F64: "<d"}


class Raw(bytes):
    """Stands for a whole value, type number and content, and is written as it is."""


def text(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(s)) + s


def scalar(kind, v):
    return text(v) if kind == STR else struct.pack(PACK[kind], v)


def value(kind, v):
    if isinstance(v, Raw):
        return bytes(v)
    if kind != ARR:
        return struct.pack("<I", kind) + scalar(kind, v)
    elem, items = v
    return struct.pack("<IIQ", ARR, elem, len(items)) + b"".join(scalar(elem, i) for i in items)


class Gguf:
    """pairs: [key, type, value]; tensors: dicts of name, dims (fastest first), type, data and, when it is to be another
    than the running sum, offset. n_pairs and n_tensors override what the header says."""

    def __init__(self):
        self.version, self.alignment, self.pairs, self.tensors = 3, 32, [], []
        self.n_pairs = self.n_tensors = None

    def copy(self):
        g = Gguf()
        g.__dict__.update(self.__dict__)
        g.pairs, g.tensors = [list(p) for p in self.pairs], [dict(t) for t in self.tensors]
        return g

    def get(self, key):
        return next(v for k, _, v in self.pairs if k == key)

    def set(self, key, kind, v):
        for p in self.pairs:
            if p[0] == key:
                p[1:] = kind, v
                return
        self.pairs.append([key, kind, v])

    def drop(self, key):
        self.pairs = [p for p in self.pairs if p[0] != key]

    def tensor(self, name):
        return next(t for t in self.tensors if t["name"] == name)

    def pad(self, b):
        return b + bytes(-len(b) % self.alignment)

    def bytes(self):
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_pairs = len(self.pairs) if self.n_pairs is None else self.n_pairs
        out, data = [b"GGUF", struct.pack("<IQQ", self.version, n_tensors, n_pairs)], []
        for key, kind, v in self.pairs:
            out += [text(key), value(kind, v)]
        at = 0
        for t in self.tensors:
            data.append(self.pad(t["data"]))
            dims = t["dims"]
            out += [text(t["name"]), struct.pack("<I", t.get("n_dims", len(dims))),
                    struct.pack("<%dQ" % len(dims), *dims), struct.pack("<IQ", t["type"], t.get("offset", at))]
            at += len(data[-1])
        return self.pad(b"".join(out)) + b"".join(data)


def parse(b):
    """A sound file, as pare writes it."""
    g, at = Gguf(), 24
    g.version, n_tensors, n_pairs = struct.unpack_from("<IQQ", b, 4)

    def take(kind):
        nonlocal at
        if kind == STR:
            n = take(U64)
            at += n
            return b[at - n:at]
        v, = struct.unpack_from(PACK[kind], b, at)
        at += struct.calcsize(PACK[kind])
        return v

    for _ in range(n_pairs):
        key, kind = take(STR).decode(), take(U32)
        if kind == ARR:
            elem, n = take(U32), take(U64)
            g.pairs.append([key, kind, (elem, [take(elem) for _ in range(n)])])
        else:
            g.pairs.append([key, kind, take(kind)])
    places = []
    for _ in range(n_tensors):
        name = take(STR).decode()
        dims = [take(U64) for _ in range(take(U32))]
        g.tensors.append(dict(name=name, dims=dims, type=take(U32)))
        places.append(take(U64))
    start = at + -at % g.alignment
    for t, place, end in zip(g.tensors, places, places[1:] + [len(b) - start]):
        t["data"] = b[start + place:start + end]
    return g
