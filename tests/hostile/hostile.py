#!/usr/bin/env python3
"""Run the real program on whole models with one fault each: hostile.py PARE DEMO_FOLDER

The unit tests of the readers cover broken structure; here the structure is sound and one field of a complete model is
not. Every case runs through `inspect` and `quantize`. Whatever the fault, the program must end by itself with a
documented exit code, say one `pare: error:` line that names the file, print no control byte and leave nothing behind."""
import math
import os
import random
import struct
import subprocess
import sys
import tempfile

from gguf_file import ARR, BOOL, F32, I32, STR, U16, U32, U64, U8, Raw, parse

TOK = "tokenizer.ggml."
LIMIT_SECONDS = 60


def small_model(pare, demo, folder):
    """The demo cut down to 304 tokens and 64 columns, so that a run takes milliseconds."""
    subprocess.run([pare, "convert", demo, "-o", "demo.gguf", "--quiet"], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)
    with open(os.path.join(folder, "demo.gguf"), "rb") as f:
        g = parse(f.read())
    tokens = g.get(TOK + "tokens")[1][:296] + g.get(TOK + "tokens")[1][2040:2048]
    merges = [m for m in g.get(TOK + "merges")[1][:40] if m.replace(b" ", b"") in tokens]
    n = len(tokens)
    g.set(TOK + "tokens", ARR, (STR, tokens))
    g.set(TOK + "token_type", ARR, (I32, [1] * (n - 8) + [3] * 8))
    g.set(TOK + "merges", ARR, (STR, merges))
    sizes = {TOK + "bos_token_id": n - 8, TOK + "eos_token_id": n - 7, "llama.vocab_size": n, "general.file_type": 1,
             "llama.embedding_length": 64, "llama.feed_forward_length": 64, "llama.context_length": 64,
             "llama.attention.head_count": 2, "llama.attention.head_count_kv": 1, "llama.attention.key_length": 32,
             "llama.attention.value_length": 32, "llama.rope.dimension_count": 32}
    for key, v in sizes.items():
        g.set(key, U32, v)
    draw = random.Random(1)
    rows = {"output": n, "token_embd": n, "attn_k": 32, "attn_v": 32}
    for t in g.tensors:
        kind = t["name"].split(".")[-2]
        t["dims"] = [64] if kind.endswith("norm") else [64, rows.get(kind, 64)]
        t["type"] = 0 if kind.endswith("norm") else 1
        count = math.prod(t["dims"])
        t["data"] = struct.pack("<%d%s" % (count, "fe"[t["type"]]), *(draw.gauss(0, 0.05) for _ in range(count)))
    return g


def cases(base):
    """(name, file, exit codes of inspect, exit codes of quantize)"""
    ok, bad, no = {0}, {3}, {4}

    def case(name, change, inspect=bad, quantize=None):
        g = base.copy()
        change(g)
        return name, g.bytes(), inspect, inspect if quantize is None else quantize

    def key(k, kind, v, inspect=bad, quantize=None):
        return case("%s = %s (type %d)" % (k, str(v)[:20], kind), lambda g: g.set(k, kind, v), inspect, quantize)

    def tensor(name, inspect=bad, quantize=None, **fields):
        return case("%s %s" % (name, str(fields)[:40]), lambda g: g.tensor(name).update(fields), inspect, quantize)

    def extra(name, dims, data, kind=0, inspect=bad, quantize=None, **fields):
        new = dict(name=name, dims=dims, type=kind, data=data, **fields)
        return case("tensor %r %s" % (name, dims), lambda g: g.tensors.append(new), inspect, quantize)

    yield "sound", base.bytes(), ok, ok
    n = len(base.get(TOK + "tokens")[1])
    for suffix in ("block_count", "embedding_length", "feed_forward_length", "attention.head_count",
                   "attention.head_count_kv", "attention.key_length", "rope.dimension_count", "vocab_size"):
        v = base.get("llama." + suffix)
        for wrong in (0, v + 1, 10**6, 2**31, 2**32 - 1):
            yield key("llama." + suffix, U32, wrong)
        yield key("llama." + suffix, I32, -1)
        yield key("llama." + suffix, U64, 2**32 + v)
        yield key("llama." + suffix, STR, str(v))
        yield key("llama." + suffix, F32, float(v))
        yield key("llama." + suffix, ARR, (U32, [v] * 3))
    for suffix in ("attention.layer_norm_rms_epsilon", "rope.freq_base"):
        for wrong in (math.nan, math.inf, 0.0, -1.0):
            yield key("llama." + suffix, F32, wrong)
    for kind, wrong in ((I32, 32), (STR, "32"), (U64, 32), (U32, 0), (U32, 4), (U32, 24), (U32, 2**21), (U32, 2**31)):
        yield key("general.alignment", kind, wrong)
    for kind, wrong in ((U32, 3), (STR, "l" * 10240), (STR, ""), (STR, b"lla\xffma"), (STR, b"\x1b[31mllama")):
        yield key("general.architecture", kind, wrong)
    yield key("general.name", STR, b"\x1b[31m\n\0", ok)
    for what in ("bos", "eos", "padding", "unknown", "eot", "mask"):
        for wrong in (n, 2**31, 2**32 - 1):
            yield key(TOK + what + "_token_id", U32, wrong)
        yield key(TOK + what + "_token_id", I32, -1)
    for k, elem in (("scores", F32), ("token_type", I32)):
        for count in (n - 1, n + 1, 0):
            yield key(TOK + k, ARR, (elem, [1] * count))
        yield key(TOK + k, ARR, (U8, [1] * n))
    yield key(TOK + "token_type", ARR, (I32, [6] + [1] * (n - 1)))  # a byte token that is not <0xHH>
    for merge in (b"ab", b"", b" ", b"a b c", b"zork q", b" b", b"a "):
        yield key(TOK + "merges", ARR, (STR, [merge]))
    yield key(TOK + "add_bos_token", BOOL, 2)
    yield key(TOK + "add_bos_token", U32, 1)
    yield key("tokenizer.chat_template", STR, "x" * (1 << 20), ok)
    yield key("tokenizer.chat_template", STR, "x" * ((1 << 20) + 1))
    for count in (2**63, 2**61, 2**32):
        yield key("x.y", ARR, Raw(struct.pack("<IIQ", ARR, U32, count)))
        yield key("x.y", STR, Raw(struct.pack("<IQ", STR, count)))
    yield key("x.y", ARR, Raw(struct.pack("<IIQIQ", ARR, ARR, 1, U32, 0)), no)
    for k, kind, v in (("split.count", U16, 3), ("split.no", U16, 1)):
        yield case("%s %d" % (k, v), lambda g: [g.set("split.no", U16, 0), g.set("split.count", U16, 1),
                                               g.set("split.tensors.count", I32, 21), g.set(k, kind, v)])
    for dims in ([0], [0, 64], [64, 64, 1, 1, 1], [2**63, 1], [2**63 - 1, 2], [4, 2**30 - 1, 2**30 + 1], [2**32, 2**32]):
        yield tensor("blk.0.ffn_up.weight", dims=dims)
    for number in (4, 31, 36, 43, 98, 10**9):
        yield tensor("blk.0.ffn_up.weight", no, type=number)
    for offset in (1, 16, 0, 2**40, 2**63):
        yield tensor("output_norm.weight", offset=offset)
    for t in base.tensors:
        if t["name"] != "output.weight":  # without it the embedding takes its place
            yield case("no " + t["name"], lambda g: g.tensors.remove(g.tensor(t["name"])))
    for name in (b"", b"a\0b", b"x/../y", b"a\x1b[2J", b"a\xff", b"n" * 64, b"output.weight"):
        yield extra(name, [1], bytes(4))
    yield extra(b"n" * 63, [1], bytes(4), inspect=ok)
    yield extra("scalar", [], bytes(4), inspect=ok)
    yield extra("empty", [0, 5], b"", inspect=ok)
    yield extra("odd.weight", [33, 2], bytes(68), kind=8)
    nan = dict(base.tensor("output_norm.weight"))["data"][4:]
    yield tensor("output_norm.weight", ok, bad, data=struct.pack("<f", math.nan) + nan)


def outcome(pare, folder, args, name, codes):
    """What is wrong with one run."""
    before = set(os.listdir(folder))
    try:
        p = subprocess.run([pare, *args], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                           timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return ["does not end"]
    errors = [line for line in p.stderr.split(b"\n") if line.startswith(b"pare: error:")]
    left = set(os.listdir(folder)) - before
    faults = []
    if p.returncode not in codes:
        faults.append("exit code %d, expected %s" % (p.returncode, codes))
    if len(errors) != (p.returncode > 1) or any(b"model.gguf: " not in line for line in errors):
        faults.append("%d error lines" % len(errors))
    if any(c < 32 and c != 10 or c == 127 for c in p.stderr + p.stdout):
        faults.append("a control byte in the output")
    if p.returncode != 0 and left:
        faults.append("left behind: %s" % left)
    for entry in left:
        os.remove(os.path.join(folder, entry))
    return ["%s: %s: %s: %s" % (name, args[0], "; ".join(faults), p.stderr.decode(errors="replace"))] if faults else []


def main(pare, demo):
    failures, n_runs = [], 0
    with tempfile.TemporaryDirectory() as folder:
        base = small_model(pare, demo, folder)
        for name, data, inspect, quantize in cases(base):
            with open(os.path.join(folder, "model.gguf"), "wb") as f:
                f.write(data)
            failures += outcome(pare, folder, ["inspect", "model.gguf", "--metadata", "--tensors"], name, inspect)
            failures += outcome(pare, folder, ["quantize", "model.gguf", "-t", "q8_0", "-o", "q.gguf", "--pin"], name,
                                quantize)
            n_runs += 2
    print("\n".join(failures))
    print("%d runs, %d failures" % (n_runs, len(failures)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])))
