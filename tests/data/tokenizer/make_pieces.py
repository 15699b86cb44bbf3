"""Small WordPiece and unigram vocabularies and their ids: adds to expected.json. Made with the packages `tokenizers`
(0.23.3) and `sentencepiece` (0.2.3)."""
import io
import json
import os
import sys

import sentencepiece
import sentencepiece.sentencepiece_model_pb2 as sentencepiece_pb
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from make import CORPUS, HERE, TEXTS, dump

RULES = "FB01\t66 69\n65 301\tE9\nE9\t65\n3000\t20\n9\t20\nA0\t20\n2163\t49 56\nFF12 FF13\t32 33\n2126\t3A9\n"
MORE = ["[SEP] sep", "<mask> the", "the <mask>", "Straße 中文字 end", "İstanbul IZMIR", "e\u0301\u0301 \u00a0\u0eb3x",
        "x\u200by \u00ad z", "  the   quick\t\u2028fox  ", "\u3000the\u00a0dog\u0085 ", "w" * 120, "ﬁ２３ ₤ Ⅳ ①", "[UNK] the",
        "don't-stop!(now)", "\U0001f600 fox\U0001f600\U0001f600", "\u2581the \u2581 dog", "日本", "\ufffd a", "\u0130\u0307"]


def wordpiece(**normalizer):
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(**normalizer)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tok.train_from_iterator(CORPUS + ["中 文 end ##x #"], trainers.WordPieceTrainer(
        vocab_size=150, special_tokens=specials, show_progress=False))
    tok.add_tokens([AddedToken("fox", normalized=True)])
    tok.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tok


def pieces(byte_fallback):
    model = io.BytesIO()
    path = os.path.join(HERE, "rules.tsv")
    with open(path, "w", encoding="utf-8") as f:
        f.write(RULES)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, model_type="unigram", minloglevel=2, num_threads=1,
        vocab_size=330 if byte_fallback else 74, normalization_rule_tsv=path, byte_fallback=byte_fallback,
        hard_vocab_limit=False, bos_id=0, pad_id=1, eos_id=2, unk_id=3)
    os.remove(path)
    return model.getvalue()


def unigram(model, words):
    proto = sentencepiece_pb.ModelProto.FromString(model)
    tok = Tokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], unk_id=3,
                                   byte_fallback=proto.trainer_spec.byte_fallback))
    steps = [normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)]
    space = pre_tokenizers.Metaspace(prepend_scheme="always")
    if words:
        tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space])
    else:
        steps += [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "\u2581")]
        tok.pre_tokenizer = space
    tok.normalizer = normalizers.Sequence(steps)
    tok.decoder = decoders.Metaspace()
    tok.add_special_tokens([AddedToken(t, normalized=False) for t in ("<s>", "<pad>", "</s>", "<unk>")])
    tok.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    tok.post_processor = processors.TemplateProcessing(
        single=["<s>", "$A", "</s>"], pair=["<s>", "$A", "</s>", "</s>", "$B", "</s>"],
        special_tokens=[("<s>", 0), ("</s>", 2)])
    return tok


def main():
    plain, bytes_too = pieces(False), pieces(True)
    files = {
        "wordpiece.json": wordpiece(),
        "wordpiece_cased.json": wordpiece(lowercase=False, clean_text=False, handle_chinese_chars=False),
        "unigram_words.json": unigram(plain, True),
        "unigram_trim.json": unigram(bytes_too, False),
    }
    with open(os.path.join(HERE, "expected.json"), encoding="utf-8") as f:
        expected = json.load(f)
    for name, tok in files.items():
        with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
            json.dump(json.loads(tok.to_str()), f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
        # BertNormalizer's table of accents is older than U+1ABF (Unicode 13).
        texts = [t for t in TEXTS + MORE if "wordpiece" not in name or "\u1abf" not in t]
        expected["files"]["tests/data/tokenizer/" + name] = [{"text": t, "ids": tok.encode(t).ids} for t in texts]
    for name, model in (("unigram.model", plain), ("unigram_bytes.model", bytes_too)):
        with open(os.path.join(HERE, name), "wb") as f:
            f.write(model)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        expected.setdefault("sentencepiece", {})["tests/data/tokenizer/" + name] = [
            {"text": t, "ids": processor.encode(t)} for t in TEXTS + MORE if "<" not in t]
    with open(os.path.join(HERE, "expected.json"), "w", encoding="utf-8") as f:
        f.write(dump(expected))


if __name__ == "__main__":
    sys.exit(main())
