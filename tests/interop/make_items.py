#!/usr/bin/env python3
"""Made-up benchmark items out of the words of a text, in the fields of the Hub, for lm_eval_check.py: what they say is
nonsense, but spaces, brackets, capitals, accents and lengths vary as in the real ones.

    make_items.py TEXT FOLDER [N]
"""
import json
import pathlib
import random
import re
import sys

text, folder, n_items = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 60
random.seed(7)
words = re.findall(r"[^\W\d_][\w',.;]*", open(text, encoding="utf-8", errors="ignore").read()[:400000])


def span(least, most):
    n = random.randint(least, most)
    at = random.randrange(len(words) - n)
    return " ".join(words[at:at + n])


def write(name, make):
    with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as out:
        for i in range(n_items):
            out.write(json.dumps(make(i), ensure_ascii=random.random() < 0.5) + "\n")


def hellaswag(i):
    ctx_a = span(8, 25) + random.choice(["", " [title] How", " [step] do  it", " café", " "])
    return {"ind": i, "activity_label": span(1, 3), "ctx_a": ctx_a, "ctx_b": random.choice([span(1, 4), "ÉTUDE Then He", ""]), "ctx": "",
            "endings": [random.choice(["", "[substeps] "]) + span(4, 16) for _ in range(4)], "label": str(random.randrange(4)),
            "source_id": f"s{i // 2}"}


def letters(i, question):
    labels = random.choice(["ABCDE", "12345"])[:random.choice([3, 4, 4, 5])]
    return {"id": f"Q{i}", question: span(6, 20) + "?", "choices": {"text": [span(1, 6) for _ in labels], "label": list(labels)},
            "answerKey": random.choice(labels)}


folder.mkdir(exist_ok=True)
write("hellaswag", hellaswag)
write("arc", lambda i: letters(i, "question"))
write("openbookqa", lambda i: letters(i, "question_stem"))
write("piqa", lambda i: {"goal": span(4, 14), "sol1": span(5, 20), "sol2": span(5, 20), "label": random.randrange(2)})
write("winogrande", lambda i: {"qID": f"X{i // 2}-{i % 2 + 1}", "sentence": span(3, 9) + " _ " + span(2, 9), "option1": span(1, 2),
                               "option2": span(1, 2), "answer": str(random.randrange(1, 3))})
write("boolq", lambda i: {"passage": span(40, 120), "question": span(5, 10), "idx": i, "label": random.randrange(2)})
write("lambada", lambda i: {"text": span(30, 80)})
