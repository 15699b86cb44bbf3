#!/usr/bin/env python3
"""A model that retrieves, by construction: two layers of attention that find what stood behind the same words before and
say it again (Olsson et al., In-context Learning and Induction Heads, 2022). It knows no language and no pass key.

    python3 scripts/induction_model.py MODEL.gguf OUT.gguf [--head 128] [--match 4] [--gain 3] [--noise 0.25] [--seed 1]

The tokenizer is that of MODEL.gguf; the result is a llama in F32 that any runtime loads. Every token has a random code, a
vector of the head's size. Subspaces of the residual: the token's code, those of 1 .. n tokens before it, the copied code, a
constant, the rest.

  layer 0  head o attends to the token o back: keys and queries are constants, whose RoPE pairs are in phase at distance o;
           its values are codes, which go to the subspace of o
  layer 1  each head: keys are the n tokens before a place, queries the last n tokens, the current one included, each code
           through a random matrix into the elements that RoPE hardly turns; values are codes
  output   the copied code against all codes

So that caches meet what they meet in models, the residual and values are in random orthogonal bases; values, what attention
and FFN add, and layer 1's keys and queries have a part that is a random function of the residual, --noise times as long as
the useful one; keys and values have a mean over tokens, --mean-k and --mean-v of their square. In layer 0 that mean is the
useful part of a key, and the rest of it is random; of its queries, nothing is. Needs numpy and gguf; shares no code with
pare."""
import argparse

import gguf
import numpy as np

FREQ_BASE_DIGITS = 16  # RoPE's base 1e16: of 32 pairs 10 turn by more than 1e-5 a token, and 22 stand still
TURNING, STILL = 1.01e-3, 1.01e-5  # radians a token: pairs that turn by more, by less


def options():
    p = argparse.ArgumentParser()
    p.add_argument("source")
    p.add_argument("out")
    p.add_argument("--head", type=int, choices=(64, 128), default=128, help="elements of a head")
    p.add_argument("--match", type=int, default=4, help="tokens that are compared")
    p.add_argument("--heads", type=int, default=4, help="heads of each layer, a multiple of --match; 8 if they are of 64")
    p.add_argument("--gain", type=float, default=3.0, help="score of a token that matches")
    p.add_argument("--step", type=float, default=5.0, help="score that one token beside the right distance loses")
    p.add_argument("--noise", type=float, default=0.25, help="length of what is random, of what is useful 1")
    p.add_argument("--mean-k", type=float, default=0.5, help="share of the square of keys that is their mean")
    p.add_argument("--mean-v", type=float, default=0.2, help="the same of values")
    p.add_argument("--context", type=int, default=16384)
    p.add_argument("--seed", type=int, default=1)
    o = p.parse_args()
    if o.heads % o.match != 0:
        p.error("--heads: no multiple of --match")
    return o


class Builder:
    """Matrices [out, in] over a residual whose parts are columns of one orthogonal basis."""

    def __init__(self, o, n_vocab):
        self.o = o
        self.rng = np.random.default_rng(o.seed)
        self.n_parts = o.match + 2  # the token, those before it, what is copied
        self.width = (self.n_parts + 1) * o.head
        self.basis = self.orthogonal(self.width)
        code = self.rng.standard_normal((n_vocab, o.head))
        self.codes = code / np.linalg.norm(code, axis=1, keepdims=True)
        self.one = self.basis[:, self.n_parts * o.head]  # the constant
        self.theta = 10.0 ** (-FREQ_BASE_DIGITS * np.arange(o.head // 2) / (o.head // 2))
        self.still = np.repeat(self.theta <= STILL, 2)

    def orthogonal(self, n):
        q, r = np.linalg.qr(self.rng.standard_normal((n, n)))
        return q * np.sign(np.diag(r))

    def part(self, i):
        """[width, head]: codes of the i-th token back; behind them what is copied."""
        return self.basis[:, i * self.o.head : (i + 1) * self.o.head]

    def unit(self, n):
        v = self.rng.standard_normal(n)
        return v / np.linalg.norm(v)

    def noisy(self, matrix, useful, length, norm):
        """matrix / norm, with a random matrix that makes noise * useful of vectors of that length."""
        std = self.o.noise * useful / (length * np.sqrt(matrix.shape[0]))
        return (matrix + std * self.rng.standard_normal(matrix.shape)) / norm

    def phases(self):
        """A constant key, and the query that finds it o tokens back, for o = 1 .. match, in RoPE's turning pairs; and the
        length of both. Of the scores at all other distances the largest is `step` below."""
        turning = np.flatnonzero(self.theta > TURNING)
        weight = np.sqrt(self.theta[turning])
        distance = np.arange(1, self.o.context)[:, None]
        weight *= self.o.step / ((1 - np.cos(distance * self.theta[turning])) @ weight).min()
        size = np.sqrt(weight * np.sqrt(self.o.head))  # scores are divided by sqrt(head)
        for back in range(1, self.o.match + 1):
            angle = self.rng.uniform(0, 2 * np.pi, turning.size)
            key, query = np.zeros((2, self.o.head))
            for vector, phase in ((key, angle), (query, angle - back * self.theta[turning])):
                vector[2 * turning], vector[2 * turning + 1] = size * np.cos(phase), size * np.sin(phase)
            yield key, query, np.linalg.norm(size)

    def values(self, norm, length):
        """Codes of the token in a basis of the head's own, with their mean; and the way back into part `to`."""
        turn = self.orthogonal(self.o.head)
        mean = np.sqrt(self.o.mean_v / (1 - self.o.mean_v) * (1 + self.o.noise**2)) * self.unit(self.o.head)
        v = turn @ self.part(0).T + np.outer(mean, self.one)
        return self.noisy(v, 1, length, norm), turn

    def back(self, turn, to, share):
        """Values into a part; their mean is not taken off: it is the same everywhere."""
        return share * self.noisy(self.part(to) @ turn.T, 1, 1, 1)

    def length(self, n_layers):
        """Of the residual behind layers: the code and the constant; the heads' outputs; FFN."""
        o = self.o
        chance = (1 + o.noise**2) ** 2 / (1 - o.mean_v) - 1  # of a head's output, what is not the code
        behind = (0, o.match * (1 + chance * o.match / o.heads) + o.noise**2, 1 + chance / o.heads + o.noise**2)
        return np.sqrt(2 + sum(behind[: n_layers + 1]))

    def offset_layer(self):
        o = self.o
        length = self.length(0)
        norm = np.sqrt(self.width) / length
        q, k, v, out = [], [], [], []
        for _ in range(o.heads // o.match):
            for back, (key, query, size) in enumerate(self.phases(), 1):
                chance = np.sqrt(1 / o.mean_k - 1) * size  # which token is found is a matter of distance alone
                random = self.rng.standard_normal((o.head, self.width)) * (key == 0)[:, None]
                random *= chance / (length * np.sqrt((key == 0).sum()))
                q.append(np.outer(query, self.one) / norm)
                k.append((np.outer(key, self.one) + random) / norm)
                value, turn = self.values(norm, length)
                v.append(value)
                out.append(self.back(turn, back, o.match / o.heads))
        return q, k, v, out

    def match_layer(self):
        o = self.o
        length = self.length(1)
        norm = np.sqrt(self.width) / length
        n_still = self.still.sum()
        useful = np.sqrt(o.match)
        scale = np.sqrt(o.gain * np.sqrt(o.head))
        q, k, v, out = [], [], [], []
        for _ in range(o.heads):
            key, query = np.zeros((2, o.head, self.width))
            for i in range(o.match):
                mix = self.rng.standard_normal((n_still, o.head)) / np.sqrt(n_still)
                query[self.still] += mix @ self.part(i).T
                key[self.still] += mix @ self.part(i + 1).T
            mean = np.zeros(o.head)
            mean[self.still] = np.sqrt(o.mean_k / (1 - o.mean_k) * (1 + o.noise**2)) * useful * self.unit(n_still)
            key += np.outer(mean, self.one)
            q.append(scale * self.noisy(query, useful, length, norm))
            k.append(scale * self.noisy(key, useful, length, norm))
            value, turn = self.values(norm, length)
            v.append(value)
            out.append(self.back(turn, o.match + 1, 1 / o.heads))
        return q, k, v, out


def add_layer(writer, b, index, heads):
    q, k, v, out = heads
    for name, matrix in (("q", np.vstack(q)), ("k", np.vstack(k)), ("v", np.vstack(v)), ("output", np.hstack(out))):
        writer.add_tensor(f"blk.{index}.attn_{name}.weight", matrix.astype(np.float32))
    n_ff = b.o.head
    # inputs have length sqrt(width); silu(g) u of such g and u is about 0.5 long an element
    for name, shape, std in (
        ("gate", (n_ff, b.width), 1 / np.sqrt(b.width)),
        ("up", (n_ff, b.width), 1 / np.sqrt(b.width)),
        ("down", (b.width, n_ff), 1.8 * b.o.noise / np.sqrt(n_ff * b.width)),
    ):
        writer.add_tensor(f"blk.{index}.ffn_{name}.weight", (std * b.rng.standard_normal(shape)).astype(np.float32))
    for name in ("attn", "ffn"):
        writer.add_tensor(f"blk.{index}.{name}_norm.weight", np.ones(b.width, np.float32))


def copy_tokenizer(writer, source):
    for name, field in source.fields.items():
        if not name.startswith("tokenizer."):
            continue
        kind = field.types[0]
        value = field.contents()
        if kind == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(name, value, kind, field.types[-1])
        else:
            writer.add_key_value(name, value, kind)


def main():
    o = options()
    source = gguf.GGUFReader(o.source)
    n_vocab = len(source.fields["tokenizer.ggml.tokens"].data)
    b = Builder(o, n_vocab)
    writer = gguf.GGUFWriter(o.out, "llama")
    writer.add_name("Induction")
    for add, value in (
        (writer.add_context_length, o.context),
        (writer.add_embedding_length, b.width),
        (writer.add_block_count, 2),
        (writer.add_feed_forward_length, o.head),
        (writer.add_head_count, o.heads),
        (writer.add_head_count_kv, o.heads),
        (writer.add_key_length, o.head),
        (writer.add_value_length, o.head),
        (writer.add_rope_dimension_count, o.head),
        (writer.add_rope_freq_base, 10.0**FREQ_BASE_DIGITS),
        (writer.add_layer_norm_rms_eps, 1e-6),
        (writer.add_vocab_size, n_vocab),
        (writer.add_file_type, gguf.LlamaFileType.ALL_F32),
    ):
        add(value)
    copy_tokenizer(writer, source)
    writer.add_tensor("token_embd.weight", (b.codes @ b.part(0).T + b.one).astype(np.float32))
    add_layer(writer, b, 0, b.offset_layer())
    add_layer(writer, b, 1, b.match_layer())
    writer.add_tensor("output_norm.weight", np.ones(b.width, np.float32))
    # a code that is copied whole has the logit 15
    logit = 15 * b.length(2) / np.sqrt(b.width)
    writer.add_tensor("output.weight", (logit * b.codes @ b.part(o.match + 1).T).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
