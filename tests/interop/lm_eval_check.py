#!/usr/bin/env python3
"""Score benchmark files with lm-eval (transformers, float32) and with pare, and compare them item by item.

    lm_eval_check.py --pare build/pare --model FOLDER [--shots FILE --n-shot N] [--limit N] [--tsv OUT] FILE...

Needs the packages lm_eval, accelerate, transformers and torch. Nothing is taken from the network: tasks are lm-eval's
own definitions with the data replaced by local files. Files are known by their fields: MMLU csv, TruthfulQA.csv
(scored twice, MC1 and MC2) and jsonl in the fields of the Hub. --tsv writes what lm-eval found: file, item, choice,
log-likelihood, whether the choice is what greedy decoding gives. Exit code 1 when an item is answered differently
although its best two choices are more than 1e-3 apart in lm-eval.
"""
import argparse
import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
MARGIN = 1e-3
# fields of a record: lm-eval's definition, pare's format
KNOWN = [
    ({"activity_label", "ctx_a", "endings"}, "hellaswag/hellaswag.yaml", "hellaswag"),
    ({"question_stem", "choices"}, "openbookqa/openbookqa.yaml", "openbookqa"),
    ({"question", "answerKey"}, "arc/arc_easy.yaml", "arc"),
    ({"goal", "sol1", "sol2"}, "piqa/piqa.yaml", "piqa"),
    ({"sentence", "option1", "option2"}, "winogrande/default.yaml", "winogrande"),
    ({"passage", "question", "label"}, "super_glue/boolq/default.yaml", "boolq"),
    ({"question", "mc1_targets"}, "truthfulqa/truthfulqa_mc1.yaml", "truthfulqa-mc1"),
    ({"question", "choices", "answer"}, "mmlu/default/_default_template_yaml", "mmlu"),
    ({"text"}, "lambada/lambada_openai.yaml", "lambada"),
]


def split_line(line):
    """A csv line whose quotes are not doubled: a field ends at a quote in front of a comma and a quote, of a last
    field without quotes, or of the end."""
    fields, at = [], 0
    while True:
        if line[at:at + 1] == '"':
            end = at + 1
            while True:
                end = line.index('"', end)
                rest = line[end + 1:]
                if rest == "" or rest.startswith(',"') or re.fullmatch(r',[^",]*', rest):
                    break
                end += 1
            fields.append(line[at + 1:end])
            at = end + 1
        else:
            end = line.find(",", at)
            fields.append(line[at:end if end >= 0 else len(line)])
            at = end if end >= 0 else len(line)
        if at >= len(line):
            return fields
        at += 1


def read_csv(path):
    lines = open(path, newline="", encoding="utf-8-sig").read().split("\n")
    rows = list(csv.reader(open(path, newline="", encoding="utf-8-sig")))
    rows = [r if len(r) == len(rows[0]) else split_line(lines[i].rstrip("\r")) for i, r in enumerate(rows)]
    if "Best Answer" in rows[0]:
        return [truthfulqa(dict(zip(rows[0], r))) for r in rows[1:]]
    if rows[0][0] == "question":
        rows = rows[1:]
    return [{"question": r[0], "choices": r[1:5], "answer": int(r[5]) if r[5].isdigit() else "ABCD".index(r[5])} for r in rows]


def truthfulqa(row):
    def split(text):
        return [a if a.endswith(".") else a + "." for a in (s.strip() for s in text.split(";")) if a]
    best, right, wrong = split(row["Best Answer"])[:1], split(row["Correct Answers"]), split(row["Incorrect Answers"])
    return {"question": row["Question"],
            "mc1_targets": {"choices": best + wrong, "labels": [1] + [0] * len(wrong)},
            "mc2_targets": {"choices": right + wrong, "labels": [1] * len(right) + [0] * len(wrong)}}


def read_docs(path):
    if str(path).endswith(".csv"):
        return read_csv(path)
    return [json.loads(line) for line in open(path, encoding="utf-8") if line.strip()]


def subject_of(path):
    return re.sub(r"_(test|dev|val|validation|train)$", "", pathlib.Path(path).name.split(".")[0])


def write_task(work, definitions, task, template, path, shots, n_shot):
    """lm-eval's definition with its data replaced."""
    text = (definitions / template).read_text()
    for key in ("task", "tag", "dataset_name", "training_split", "validation_split", "test_split", "fewshot_split"):
        text = re.sub(rf"^{key}:.*\n((  .*|- .*)\n)*", "", text, flags=re.M)
    text = re.sub(r"^metric_list:\n(  .*\n)+", "", text, flags=re.M)
    files = f"    test: {path}\n" + (f"    dev: {shots}\n" if shots else "")
    text = re.sub(r"^dataset_path:.*\n", f"dataset_path: json\ndataset_kwargs:\n  data_files:\n{files}", text, flags=re.M)
    text += f"\ntask: {task}\ntest_split: test\nnum_fewshot: {n_shot}\n"
    if shots:
        text += "fewshot_split: dev\nfewshot_config:\n  sampler: first_n\n"
    if template.startswith("mmlu"):
        subject = subject_of(path).replace("_", " ")
        text += f'description: "The following are multiple choice questions (with answers) about {subject}.\\n\\n"\n'
    if task.endswith("-mc2"):
        text = text.replace("mc1", "mc2") + "process_results: !function functions.mc2\n"
    metrics = ["acc"] + (["perplexity"] if template.startswith("lambada") else ["acc_norm"] if "mc2" not in task else [])
    text += "metric_list:\n" + "".join(f"  - metric: {m}\n" for m in metrics)
    for name in re.findall(r"!function (\w+)\.", text):
        source = definitions / pathlib.Path(template).parent / f"{name}.py"
        if source.exists():
            (work / f"{name}.py").write_text(source.read_text())
    (work / f"{task}.yaml").write_text(text)


MC2 = """import numpy
def mc2(doc, results):
    p = numpy.exp(numpy.array([ll for ll, _ in results]))
    return {"acc": float(p[numpy.array(doc["mc2_targets"]["labels"]) == 1].sum() / p.sum())}
"""


def run_lm_eval(args, work, tasks):
    import lm_eval
    from lm_eval.tasks import TaskManager
    found = lm_eval.simple_evaluate(model="hf", model_args=f"pretrained={args.model},dtype=float32", tasks=tasks,
                                    task_manager=TaskManager(include_path=str(work)), device="cpu", batch_size=args.batch,
                                    limit=args.limit, log_samples=True, bootstrap_iters=0)
    return {t: sorted(found["samples"][t], key=lambda s: s["doc_id"]) for t in tasks}


def run_pare(args, path, form):
    command = [args.pare, "eval", args.model, "--task", path, "--task-format", form, "--task-items", "--json", "--quiet"]
    if args.limit:
        command += ["--limit", str(args.limit)]
    if args.shots:
        command += ["--shots", args.shots, "--n-shot", str(args.n_shot)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["tasks"][0]


def margin(values):
    best = sorted(values, reverse=True)
    return best[0] - best[1] if len(best) > 1 else float("inf")


def compare(task, samples, ours):
    """One line of the table; the number of items that are answered differently without being near a draw."""
    worst, wrong, draws = 0.0, 0, 0
    items = [i for i in zip(samples, ours["items"]) if not i[1]["too_long"]]
    assert len(samples) == len(ours["items"]), (len(samples), len(ours["items"]))
    for sample, item in items:
        ll = [float(r[0][0]) for r in sample["resps"]]
        mine = [c["loglik"] for c in item["choices"]]
        assert len(ll) == len(mine), (task, sample["doc_id"])
        worst = max([worst] + [abs(a - b) for a, b in zip(ll, mine)])
        if "mc2" in task:
            continue
        if len(ll) == 1:
            wrong += bool(sample["acc"]) != item["choices"][0]["greedy"]
            continue
        for key, rule, per in (("acc", 0, [1] * len(ll)), ("acc_norm", 1, [c["n_chars"] for c in item["choices"]])):
            if key not in ours: # acc_norm of WinoGrande
                continue
            right = item["choices"][item["picks"][rule]]["right"]
            near = margin([a / n for a, n in zip(ll, per)]) < MARGIN
            wrong += not near and right != bool(sample[key])
            draws += near
    theirs = sum(float(s["acc"]) for s, _ in items) / max(len(items), 1)
    print(f"| {task} | {len(items)} | {ours['n_shot']} | {theirs:.6f} | {ours['accuracy']:.6f} | {worst:.2e} | {draws} | {wrong} |",
          flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pare", default="build/pare")
    parser.add_argument("--model", required=True)
    parser.add_argument("--shots")
    parser.add_argument("--n-shot", type=int, default=0)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tsv")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    import lm_eval
    definitions = pathlib.Path(lm_eval.__file__).parent / "tasks"
    work = pathlib.Path(tempfile.mkdtemp(prefix="pare-lm-eval."))
    (work / "functions.py").write_text(MC2)
    tasks = {}

    def copy(path, folder):
        (work / folder).mkdir(exist_ok=True)
        out = work / folder / (subject_of(path) + ".jsonl")
        docs = read_docs(path)
        out.write_text("".join(json.dumps(d) + "\n" for d in docs), encoding="utf-8")
        return out, docs[0]

    shots = copy(args.shots, "shots")[0] if args.shots else None
    for path in args.files:
        data, first = copy(path, "docs")
        fields, template, form = next(k for k in KNOWN if k[0] <= set(first))
        for f in [form, "truthfulqa-mc2"] if form == "truthfulqa-mc1" else [form]:
            task = f"{subject_of(path)}-{f}"
            write_task(work, definitions, task, template, data, shots, args.n_shot)
            tasks[task] = (path, f)
    samples = run_lm_eval(args, work, list(tasks))
    print("| task | items | shots | lm-eval | pare | largest difference of a log-likelihood | near draws | answered differently |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    wrong = sum(compare(t, samples[t], run_pare(args, *tasks[t])) for t in tasks)
    if args.tsv:
        with open(args.tsv, "w") as out:
            for task, (path, form) in tasks.items():
                for s in samples[task]:
                    for i, r in enumerate(s["resps"]):
                        out.write(f"{pathlib.Path(path).name}\t{form}\t{s['doc_id']}\t{i}\t{float(r[0][0]):.6f}\t{int(r[0][1] in (True, 'True'))}\n")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
