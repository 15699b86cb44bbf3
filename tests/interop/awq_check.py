#!/usr/bin/env python3
"""AWQ folders of pare against AutoAWQ's algorithm as published, written here on its own in numpy.

    awq_check.py PARE FOLDER TEXT [WINDOWS [SEQUENCES]]

FOLDER is a llama. The first half of TEXT calibrates both, the second half measures: mean KL divergence from the floats
(pare eval). pare's folder by feedback must lose at least 15 % less than the published algorithm, and the one by `--method
awq` no more than it; exit 1 if not. 4 bits, groups of 128, zero points, in all.

The published algorithm (Lin et al., arXiv 2306.00978; AutoAWQ 0.2, awq/quantize/quantizer.py, awq/models/llama.py), layer by
layer with the inputs of the unquantized prefix:
  1. for {q, k, v}, {gate, up}, {down} and, where v and o have one shape, {o}: of 20 ratios r the one whose scales
     s = x^r / (w^(1-r) + 1e-4), normalised to sqrt(max min) = 1, change the output of attention, MLP or the matrix
     least, when W s is rounded and divided by s; x: mean |input|, w: mean over rows of |W| over the largest of its group;
  2. s goes into the norm before, the rows of up, or those of v;
  3. for all but q and k: of 10 shares of a group's largest magnitude, 1 to 0.55, the one that as a bound of its
     weights changes its products with 512 inputs least;
  4. rounding: scale (max - min) / 15, zero point round(-min / scale), weights binary16.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

GROUP, LENGTH = 128, 256


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(" ".join(command) + ": " + done.stderr.strip())
    return done.stdout


def read_floats(folder):
    """Weights of a folder in F32."""
    with safe_open(os.path.join(folder, "model.safetensors"), "np") as f:
        return {name: f.get_tensor(name).astype(np.float32) for name in f.keys()}


def half(x):
    return x.astype(np.float16).astype(np.float32)


# ---- rounding ----


def round_groups(w, stored=False):
    """w as 4 bits hold it; stored: with binary16 scales."""
    x = w.reshape(-1, GROUP)
    high, low = x.max(1, keepdims=True), x.min(1, keepdims=True)
    d = np.maximum(high - low, 1e-5) / 15
    zero = np.clip(-np.round(low / d), 0, 15)
    code = np.clip(np.round(x / d) + zero, 0, 15)
    return ((code - zero) * (half(d) if stored else d)).reshape(w.shape)


def find_scales(matrices, x, output):
    w = np.concatenate(matrices)
    share = np.abs(w).reshape(-1, GROUP)
    share = (share / (share.max(1, keepdims=True) + 1e-6)).reshape(w.shape).mean(0)
    size, want = np.abs(x).reshape(-1, x.shape[-1]).mean(0), output(*matrices)
    best, scales = np.inf, None
    for i in range(20):
        r = i / 20
        s = np.maximum(size**r / (share ** (1 - r) + 1e-4), 1e-4)
        s = s / np.sqrt(s.max() * s.min())
        loss = np.mean((output(*[round_groups(m * s) / s for m in matrices]) - want) ** 2)
        if loss < best:
            best, scales = loss, s
    return scales


def clip(w, x):
    x = x.reshape(-1, x.shape[-1])
    x = x[:: max(1, len(x) // 512)].reshape(-1, w.shape[1] // GROUP, GROUP)
    products = np.einsum("tgi,tgj->gij", x, x) / len(x)
    groups = w.reshape(len(w), -1, GROUP)
    most = np.abs(groups).max(-1, keepdims=True)
    bound, least = most.copy(), np.full(most.shape, 1e9, np.float32)
    for i in range(10):
        at = most * (1 - i / 20)
        e = round_groups(np.clip(groups, -at, at).reshape(w.shape)).reshape(groups.shape) - groups
        error = np.einsum("rgi,gij,rgj->rg", e, products, e, optimize=True)[..., None]
        better = error < least
        bound[better], least[better] = at[better], error[better]
    return np.clip(groups, -bound, bound).reshape(w.shape)


# ---- the model ----


def norm(x, gain, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain


def rotate(x, base):
    n, half_dim = x.shape[-2], x.shape[-1] // 2
    angle = np.arange(n)[:, None] / base ** (np.arange(half_dim) / half_dim)
    a, b, c, s = x[..., :half_dim], x[..., half_dim:], np.cos(angle), np.sin(angle)
    return np.concatenate([a * c - b * s, b * c + a * s], -1).astype(np.float32)


def attention(x, q, k, v, config):
    heads, kv, dim = (config[n] for n in ("num_attention_heads", "num_key_value_heads", "head_dim"))

    def split(w, n):
        return (x @ w.T).reshape(*x.shape[:2], n, dim).transpose(0, 2, 1, 3)

    q, k = (rotate(split(w, n), config["rope_theta"]) for w, n in ((q, heads), (k, kv)))
    k, v = (np.repeat(t, heads // kv, 1) for t in (k, split(v, kv)))
    score = q @ k.transpose(0, 1, 3, 2) / np.sqrt(np.float32(dim))
    score = np.where(np.tril(np.ones(score.shape[-2:], bool)), score, -np.inf)
    score = np.exp(score - score.max(-1, keepdims=True))
    score /= score.sum(-1, keepdims=True)
    return (score @ v).transpose(0, 2, 1, 3).reshape(*x.shape[:2], heads * dim)


def gated(x, gate, up):
    y = x @ gate.T
    return y / (1 + np.exp(-y)) * (x @ up.T)


MATRICES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]


def awq_layer(h, names, weights, config):
    """The layer's weights replaced; the outputs that it had before."""
    q, k, v, o, gate, up, down, n1, n2 = (weights[n] for n in names)
    x = norm(h, n1, config["rms_norm_eps"])
    a = attention(x, q, k, v, config)
    h = h + a @ o.T
    y = norm(h, n2, config["rms_norm_eps"])
    f = gated(y, gate, up)
    after = h + f @ down.T
    s = find_scales([q, k, v], x, lambda q, k, v: attention(x, q, k, v, config) @ o.T)
    n1, q, k, v, x = n1 / s, q * s, k * s, v * s, x / s
    if v.shape == o.shape:
        s = find_scales([o], a, lambda o: a @ o.T)
        v, o, a = v / s[:, None], o * s, a / s
    s = find_scales([gate, up], y, lambda gate, up: gated(y, gate, up) @ down.T)
    n2, gate, up, y = n2 / s, gate * s, up * s, y / s
    s = find_scales([down], f, lambda down: f @ down.T)
    up, down, f = up / s[:, None], down * s, f / s
    v, o, gate, up, down = clip(v, x), clip(o, a), clip(gate, y), clip(up, y), clip(down, f)
    rounded = [round_groups(half(w), stored=True) for w in (q, k, v, o, gate, up, down)]
    for name, w in zip(names, rounded + [half(n1), half(n2)]):
        weights[name] = w
    return after


def published(folder, floats, tokens, out):
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    weights = read_floats(floats)
    h = weights["model.embed_tokens.weight"][tokens]
    for i in range(config["num_hidden_layers"]):
        names = [f"model.layers.{i}.{n}.weight" for n in MATRICES + ["input_layernorm", "post_attention_layernorm"]]
        h = awq_layer(h, names, weights, config)
    shutil.copytree(floats, out)
    save_file({n: np.ascontiguousarray(w) for n, w in weights.items()}, os.path.join(out, "model.safetensors"), {"format": "pt"})


def main():
    pare, folder, text = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3]
    windows, sequences = (int(v) for v in (sys.argv[4:6] + ["20", "16"][len(sys.argv[4:6]) :]))
    with tempfile.TemporaryDirectory() as work:

        def at(name):
            return os.path.join(work, name)

        with open(text, encoding="utf-8") as f:
            words = f.read()
        for name, part in (("calibration.txt", words[: len(words) // 2]), ("held-back.txt", words[len(words) // 2 :])):
            with open(at(name), "w", encoding="utf-8") as f:
                f.write(part)
        ids = json.loads(run(pare, "tokenize", folder, "-f", at("calibration.txt"), "--json"))["ids"]
        n = len(ids) // LENGTH
        tokens = np.array(ids[: n * LENGTH]).reshape(n, LENGTH)[np.linspace(0, n - 1, min(n, sequences)).astype(int)]
        run(pare, "convert", folder, "-o", at("floats"), "--dtype", "f32")
        published(folder, at("floats"), tokens, at("published"))
        run(pare, "imatrix", folder, "-f", at("calibration.txt"), "-c", str(LENGTH), "--full", "-o", at("full.gguf"))
        run(pare, "convert", folder, "-o", at("rtn"), "--format", "awq", "--method", "rtn")
        run(pare, "convert", folder, "-o", at("search"), "--format", "awq")
        run(pare, "convert", folder, "-o", at("feedback"), "--format", "awq", "--imatrix", at("full.gguf"))
        run(pare, "convert", folder, "-o", at("awq"), "--format", "awq", "--method", "awq", "--imatrix", at("full.gguf"))
        lost = {}
        for name in ("published", "rtn", "search", "awq", "feedback"):
            doc = json.loads(run(pare, "eval", at(name), "--reference", folder, "-f", at("held-back.txt"), "-c", str(LENGTH), "--chunks", str(windows), "--json", "-q"))
            lost[name] = doc["kld_mean"]
    print("awq, mean KL divergence:", ", ".join(f"{n} {v:.6f}" for n, v in lost.items()))
    good = True
    for name, most in (("awq", 1), ("feedback", 0.85)):
        share = lost[name] / lost["published"]
        good &= share <= most
        print(f"{'ok' if share <= most else 'WRONG'}: --method {name} {share:.3f} of the published algorithm")
    sys.exit(0 if good else 1)


main()
