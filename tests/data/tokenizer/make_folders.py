"""Folders without tokenizer.json and their ids: folders.json. Needs transformers 5.23, mistral-common 1.13, tiktoken."""
import base64
import json
import os
import sys
import tempfile

import tiktoken
import transformers
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = ["the quick brown fox jumps over the lazy dog", "Straße café déjà vu Ωmega", "words, the the end 12345 it's"] * 3
TEXTS = ["", " ", "the  end", " the end\n\n", "caf\u00e9 cafe\u0301 \u212b", "it's 12345 DON'T", "<s>the</s> <mask> x",
         "\ta", "a\r\nb\n \n", "x=1; y+=2", "\u00a0the\u3000fox", "\u0000\u007f\u0085", "1234\u0663\u00b2", "The THE tHe",
         "a\u0323\u0307 a\u0307\u0323", "\ufeffthe", "\u00dfword words,", "over  the   lazy    dog", "\u1100\u1161\u11a8",
         "'s's'S", "the\u061dend the\u0898the e\u1734nd", "a\u166db a\u1b7db a\u0890", "caf\u00e9s caf\u00e9", "a<|x|> b  <|endoftext|>", "foo bar  [MASK] \tb", "\u65e5\u672c words", "\U0001f999\u200d\u0301", "[CLS] The [INST]fox"]
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# moonshotai/Kimi-K2-Base, tokenization_kimi.py
KIMI = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


def token(content, special=True, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False,
            "special": special, **flags}


def written(files):
    folder = tempfile.mkdtemp()
    for name, text in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="") as f:
            f.write(text)
    return folder


def hub(name, files, rows):
    cls = json.loads(files["tokenizer_config.json"])["tokenizer_class"]
    tok = getattr(transformers, cls).from_pretrained(written(files))
    return {"files": files, "rows": rows, "cases": [{"text": t, "ids": tok(t)["input_ids"]} for t in TEXTS]}


def bytes_of(alphabet, piece):
    return bytes(alphabet[c] for c in piece)


def main():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=310, show_progress=False,
                                                        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(tok.to_str())["model"]
    vocab = model["vocab"]
    n = len(vocab)
    merges = "#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in model["merges"])
    with_specials = dict(vocab, **{t: n + i for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])})
    decoder = {str(n + i): t for i, t in enumerate([
        token("<|endoftext|>"), token("<|x|>", lstrip=True), token("foo bar", False), token("[MASK]", rstrip=True),
        token("caf\u00e9", False, normalized=True, single_word=True)])}
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list("abcdefghijklmnopqrstuvwxyz12345,'\u65e5\u672c\u212b") + \
            ["##" + c for c in "abcdefghijklmnopqrstuvwxyz12345"] + ["the", "##he", "caf", "end", "word"]
    ranks = [bytes([i]) for i in range(256)]
    alphabet = {c: b for b, c in zip(sorted(range(256), key=lambda b: (not (33 <= b < 127 or 161 <= b < 173 or b > 173), b)),
                                     [chr(b) for b in range(256) if 33 <= b < 127 or 161 <= b < 173 or b > 173] +
                                     [chr(256 + i) for i in range(68)])}
    ranks += [bytes_of(alphabet, "".join(m)) for m in model["merges"]]
    tekken = {"config": {"pattern": TEKKEN, "num_vocab_tokens": len(ranks), "default_vocab_size": len(ranks) + 18,
                         "default_num_special_tokens": 22, "version": "v3"},
              "vocab": [{"rank": i, "token_bytes": base64.b64encode(r).decode(), "token_str": None}
                        for i, r in enumerate(ranks)]}
    lists = {"vocab.json": json.dumps(vocab, ensure_ascii=False), "merges.txt": merges}
    specials = {"vocab.json": json.dumps(with_specials, ensure_ascii=False), "merges.txt": merges}
    config = lambda cls, **more: {"tokenizer_config.json": json.dumps({"tokenizer_class": cls, **more})}
    folders = {
        "decoder": hub("decoder", {**lists, **config("GPT2Tokenizer", added_tokens_decoder=decoder, pad_token="<|x|>",
                                                      add_prefix_space=True)}, n + 9),
        "legacy": hub("legacy", {
            **lists, **config("CodeGenTokenizer", add_bos_token=True),
            "added_tokens.json": json.dumps({"<|endoftext|>": n, "foo bar": n + 1, "<|x|>": n + 2}),
            "special_tokens_map.json": json.dumps({
                "bos_token": token("<|endoftext|>"), "mask_token": token("[MASK]", lstrip=True),
                "additional_special_tokens": ["<|x|>", "[CLS]"]})}, n + 9),
        "qwen2": hub("qwen2", {**lists, **config("Qwen2Tokenizer", image_token="<|x|>")}, n + 9),
        "roberta": hub("roberta", {**specials, **config("RobertaTokenizer")}, n + 5),
        "words": hub("words", {"vocab.txt": "".join(w + "\n" for w in words), **config("BertTokenizer")}, len(words)),
    }
    files = {"tekken.json": json.dumps(tekken)}
    tek = Tekkenizer.from_file(os.path.join(written(files), "tekken.json"))
    plain = [t for t in TEXTS if "[INST]" not in t and "<s>" not in t]
    folders["tekken"] = {"files": files, "rows": len(ranks) + 18,
                         "cases": [{"text": t, "ids": tek.encode(t, True, False)} for t in plain]}
    n = len(ranks)
    decoder = {str(n): token("[CLS]"), str(n + 1): token("[EOS]"), str(n + 3): token("<|x|>")}
    enc = tiktoken.Encoding("k", pat_str=KIMI, mergeable_ranks={r: i for i, r in enumerate(ranks)}, special_tokens={
        decoder[str(i)]["content"] if str(i) in decoder else "<|reserved_token_%d|>" % i: i for i in range(n, n + 8)})
    folders["tiktoken"] = {
        "files": {"tiktoken.model": "".join("%s %d\n" % (base64.b64encode(r).decode(), i) for i, r in enumerate(ranks)),
                  **config("TikTokenTokenizer", added_tokens_decoder=decoder, bos_token="[CLS]", eos_token="[EOS]")},
        "rows": n + 8,
        "cases": [{"text": t, "ids": enc.encode(t, allowed_special="all")} for t in TEXTS + ["<|reserved_token_%d|>" % (n + 2)]]}
    with open(os.path.join(HERE, "folders.json"), "w", encoding="utf-8") as f:
        json.dump(folders, f, ensure_ascii=False, indent=1)
        f.write("\n")


if __name__ == "__main__":
    sys.exit(main())
