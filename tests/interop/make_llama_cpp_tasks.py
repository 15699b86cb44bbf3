#!/usr/bin/env python3
"""TruthfulQA.csv as llama.cpp's task files, for comparing acc_token with llama-perplexity --multiple-choice (mc.bin) and
--hellaswag (six.txt, the questions with three wrong answers or more).

    make_llama_cpp_tasks.py TruthfulQA.csv FOLDER [N]
"""
import csv
import pathlib
import random
import struct
import sys

path, folder, n_items = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 120
random.seed(3)


def text(s):
    return struct.pack("<I", len(s.encode())) + s.encode()


def split(answers):
    return [a if a.endswith(".") else a + "." for a in (s.strip() for s in answers.split(";")) if a]


records, lines = [], []
for row in list(csv.DictReader(open(path, newline="", encoding="utf-8")))[:n_items]:
    answers = split(row["Best Answer"])[:1] + split(row["Incorrect Answers"])
    order = random.sample(range(len(answers)), len(answers))
    records.append(text("Q: " + row["Question"] + "\nA:") + struct.pack("<I", len(answers)) + b"".join(text(answers[i]) for i in order) +
                   b"".join(struct.pack("<i", i == 0) for i in order) + struct.pack("<I", 0))
    if len(answers) >= 4:
        order = random.sample(range(4), 4)
        lines += ["Q: " + row["Question"] + " A:", str(order.index(0))] + [answers[i] for i in order]
offsets, at = [], 4 + 4 * len(records)
for r in records:
    offsets.append(at)
    at += len(r)
folder.mkdir(exist_ok=True)
(folder / "mc.bin").write_bytes(struct.pack(f"<{1 + len(offsets)}I", len(offsets), *offsets) + b"".join(records))
(folder / "six.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
