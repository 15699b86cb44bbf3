#!/usr/bin/env python3
"""A model whose keys have outliers and which says the same: in each key head four RoPE pairs, drawn by a seed, are
made 8, 8, 16 and 16 times as large, and the same pairs of the queries that read the head divided by it. Factors are
powers of two, so that every product of a query and a key keeps its bits.

    python3 scripts/outlier_keys.py F32.gguf OUT.gguf [SEED]

The model is of the llama family (pairs 2i, 2i + 1; no biases, no norms of queries and keys), in F32. Needs numpy and
gguf. It shares no code with pare, so that nothing is measured with its own ruler."""
import random
import shutil
import sys

import gguf

FACTORS = (8.0, 8.0, 16.0, 16.0)


def main():
    source, out = sys.argv[1:3]
    draw = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    shutil.copyfile(source, out)
    model = gguf.GGUFReader(out, "r+")
    n_head, n_head_kv = (int(model.fields[f"llama.attention.{key}"].contents()) for key in ("head_count", "head_count_kv"))
    tensors = {tensor.name: tensor for tensor in model.tensors}
    for layer in range(int(model.fields["llama.block_count"].contents())):
        q, k = (tensors[f"blk.{layer}.attn_{name}.weight"].data for name in "qk")
        assert q.dtype == k.dtype == "float32", "the model must be in F32"
        dim = k.shape[0] // n_head_kv
        for head in range(n_head_kv):
            for pair, factor in zip(draw.sample(range(dim // 2), len(FACTORS)), FACTORS):
                for element in (2 * pair, 2 * pair + 1):
                    k[head * dim + element] *= factor
                    for reader in range(head * n_head // n_head_kv, (head + 1) * n_head // n_head_kv):
                        q[reader * dim + element] /= factor
    model.data.flush()


main()
