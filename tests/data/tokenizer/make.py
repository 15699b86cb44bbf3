"""Small vocabularies of rare kinds and their ids, made with the `tokenizers` package (0.23.3): adds to expected.json."""
import json
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = ["the quick brown fox jumps over the lazy dog", "Straße café déjà vu ﬁne ２３ Ωmega Åström",
          "words, wordy and reworded: the the the end", "naïve 12345 x=1; it's e\u0301 A\u030a"] * 3
FLAGS = [AddedToken("<l>", special=True, lstrip=True, normalized=False),
         AddedToken("<r>", special=True, rstrip=True, normalized=False),
         AddedToken("\n\n", normalized=True), AddedToken("  ", normalized=False), AddedToken("a b", normalized=True),
         AddedToken("word", single_word=True, normalized=True), AddedToken("\u2581\u2581", normalized=False),
         AddedToken("é!", normalized=True)]
TEXTS = ["", " ", "  ", "a b", " a  b ", "a\u2581b", "\u2581\u2581", "word words <l> word", "<r>  x", "<r>\n\n\u3000y",
         "x\n\n<l>", "e\u0301!", "é!", "the end", " the end", "ﬁ ２３ Å Ω ½ ᄀ", "e\u0323\u0301 \u0301", "日本 語",
         "a\u0eba\u0e38 \u1abf\u0316", "it's 12345", "<r>word", "éword", "a b<r> a b", "\ta", "caf\u00e9\u0327 <l>  a b"]


def bpe(pre, normalizer=None, spm=False, **model):
    tok = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tok.normalizer = normalizer
    if pre is not None:
        tok.pre_tokenizer = pre
    specials = ["<unk>"] if model.get("unk_token") else []
    tok.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=160 if spm and specials else 330, show_progress=False, special_tokens=specials,
        initial_alphabet=[] if model.get("unk_token") else pre_tokenizers.ByteLevel.alphabet()))
    if not spm:
        tok.decoder = decoders.ByteLevel()
    for token in FLAGS:
        (tok.add_special_tokens if token.special else tok.add_tokens)([token])
    return tok


def byte_level(prefix=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=True)


def main():
    spaces = normalizers.Replace(" ", "\u2581")
    files = {
        "added.json": bpe(byte_level()),
        "nfkc.json": bpe(byte_level(), normalizers.NFKC()),
        "nfd.json": bpe(byte_level(), normalizers.NFD()),
        "prefix.json": bpe(byte_level(True)),
        "missing.json": bpe(byte_level(), unk_token="<unk>"),
        "first.json": bpe(pre_tokenizers.Metaspace(prepend_scheme="first", split=False), spm=True, unk_token="<unk>",
                          fuse_unk=True),
        "unknown.json": bpe(pre_tokenizers.Metaspace(prepend_scheme="always", split=True), spm=True,
                            unk_token="<unk>"),
        "spm_nfkc.json": bpe(None, normalizers.Sequence([normalizers.NFKC(), spaces]), spm=True, unk_token="<unk>",
                             fuse_unk=True),
        "drops.json": bpe(None, normalizers.Sequence([normalizers.Prepend("\u2581"), spaces]), spm=True),
    }
    with open(os.path.join(HERE, "expected.json"), encoding="utf-8") as f:
        expected = json.load(f)
    for name, tok in files.items():
        with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
            json.dump(json.loads(tok.to_str()), f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
        expected["files"]["tests/data/tokenizer/" + name] = [
            {"text": t, "ids": tok.encode(t).ids} for t in TEXTS]
    with open(os.path.join(HERE, "expected.json"), "w", encoding="utf-8") as f:
        f.write(dump(expected))


def dump(doc):
    rows = ['"%s":[\n%s]' % (name, ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
            for name, cases in doc["files"].items()]
    rest = {k: v for k, v in doc.items() if k != "files"}
    head = json.dumps(rest)[1:-1] + ",\n" if rest else ""
    return "{" + head + '"files":{' + ",\n".join(rows) + "}}\n"


if __name__ == "__main__":
    sys.exit(main())
