#!/usr/bin/env python3
"""transformers, with compressed-tensors, computes the same logits from folders that pare packs as from their floats.

    transformers_packed_check.py PARE FOLDER...

Each folder is packed in every way below, and the packed folder made one of F32: two inputs of transformers with the same
weights. Prints the largest difference of a logit; exit 1 above the tolerance of docs/formats/PACKED.md. Needs torch,
transformers and compressed-tensors.
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import compressed_tensors
    import numpy
    import transformers
    from transformers_check import logits_of
except ImportError as e:
    print("SKIP transformers_packed_check:", e)
    sys.exit(0)

SAME, HALF = 1e-5, 0.03  # but for the order of sums; products of codes and binary16 scales rounded to binary16
WAYS = {
    "fp8": SAME,
    "nvfp4": SAME,
    "mxfp4": SAME,
    "compressed-tensors --group-size 32 --dtype f32": SAME,
    "compressed-tensors --group-size 32": HALF,
    "compressed-tensors --group-size 32 --bits 8": HALF,
    "compressed-tensors --group-size 32 --symmetric no": HALF,
    "compressed-tensors --group-size 32 --symmetric no --dtype f32": SAME,
}


def convert(pare, source, target, *options):
    done = subprocess.run([pare, "convert", source, "-o", target, *options], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return "other experts: transformers" in done.stderr


def check(pare, folder, way, work):
    packed, floats = os.path.join(work, "packed"), os.path.join(work, "floats")
    told = convert(pare, folder, packed, "--format", *way.split())
    convert(pare, packed, floats, "--format", "safetensors", "--dtype", "f32")
    with open(os.path.join(folder, "config.json")) as f:
        vocab = json.load(f)["vocab_size"]
    tokens = numpy.random.default_rng(3).integers(0, vocab, (2, 24), dtype=numpy.int32)
    want, _ = logits_of(floats, tokens)
    try:
        got, problems = logits_of(packed, tokens, cast=True)
        worst = float(abs(got - want).max())
    except RuntimeError:
        worst, problems = float("inf"), {}
    fine = worst <= WAYS[way] and not problems
    print(f"{'told' if told else 'ok' if fine else 'WRONG':6} {os.path.basename(folder.rstrip('/')):14} {way:64} {worst:.2g} "
          f"(logits' deviation {want.std():.2g})", problems or "", flush=True)
    return fine != told  # what is told of must differ: else the warning is out of date


def main():
    print("transformers", transformers.__version__, "compressed-tensors", compressed_tensors.__version__)
    pare, failed = os.path.abspath(sys.argv[1]), 0
    for folder in sys.argv[2:]:
        for way in WAYS:
            with tempfile.TemporaryDirectory() as work:
                failed += not check(pare, folder, way, work)
    sys.exit(1 if failed else 0)


main()
