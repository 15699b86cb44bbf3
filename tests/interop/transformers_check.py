#!/usr/bin/env python3
"""transformers loads every folder that pare writes and computes the logits of the original from it.

    transformers_check.py PARE FOLDER...

FOLDER holds config.json, tokens.i32, and logits.f32 (float32 [sequences, length, rows of the vocabulary]). Each is
converted to a folder, and to a GGUF file and from there to a folder. Prints a line a folder; exit 1 when one differs by
more than TOLERANCE. Needs torch and transformers.
"""
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile

TOLERANCE = 5e-4

try:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import numpy
    import torch
    import transformers
except ImportError as e:
    print("SKIP transformers_check:", e)
    sys.exit(0)


def logits_of(folder, tokens, cast=False):
    """cast: the matrices that the loader left in another type, too, become float32."""
    config = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, config.architectures[0])
    with contextlib.redirect_stderr(io.StringIO()):
        model, info = model.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    problems = {k: sorted(v) for k, v in info.items() if v and k in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if all(name.startswith("pooler.") for name in problems.get("missing_keys", [])):  # no part of the states
        problems.pop("missing_keys", None)
    model = model.float() if cast else model
    with torch.no_grad():
        rows = [model(torch.tensor(row[None].astype(numpy.int64)), use_cache=False) for row in tokens]
    encoder = not hasattr(rows[0], "logits")  # its states are compared
    return torch.cat([r.last_hidden_state if encoder else r.logits for r in rows]).numpy(), problems


def convert(pare, source, target):
    done = subprocess.run([pare, "convert", source, "-o", target], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[0])
    return any(words in done.stderr for words in ("no key in GGUF", "GGUF has no key", "no key that other programs read"))


def check(pare, folder, work):
    name = os.path.basename(folder.rstrip("/"))
    length = 48 if os.path.exists(os.path.join(folder, "texts.json")) else 24
    tokens = numpy.fromfile(os.path.join(folder, "tokens.i32"), "<i4").reshape(-1, length)
    want = numpy.fromfile(os.path.join(folder, "logits.f32"), "<f4").reshape(*tokens.shape, -1)
    gguf = os.path.join(work, name + ".gguf")
    lost = convert(pare, folder, gguf)  # GGUF cannot say all of it, and convert has said so
    ok = True
    for stage, source in (("to a folder", folder),) if lost else (("to a folder", folder), ("over GGUF", gguf)):
        target = os.path.join(work, f"{name}-{stage.replace(' ', '-')}")
        convert(pare, source, target)
        got, problems = logits_of(target, tokens)
        worst = float(abs(got - want).max())
        fine = worst <= TOLERANCE and not problems
        ok = ok and fine
        print(f"{'ok' if fine else 'WRONG':6} {name:24} {stage:12} {worst:.2g}", json.dumps(problems) if problems else "")
    return ok


def main():
    pare, folders, failed = os.path.abspath(sys.argv[1]), sys.argv[2:], 0
    torch.set_num_threads(1)
    for folder in folders:
        if not os.path.exists(os.path.join(folder, "logits.f32")):
            continue
        try:
            with tempfile.TemporaryDirectory() as work:
                failed += not check(pare, folder, work)
        except Exception as e:  # one model that cannot be loaded does not hide the others
            if "does not recognize this architecture" in str(e):
                print(f"skip   {os.path.basename(folder.rstrip('/'))}: transformers does not have it")
                continue
            failed += 1
            print(f"WRONG  {os.path.basename(folder.rstrip('/')):24} {type(e).__name__}: {str(e)[:300]}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
