#include "cmd/verbs.h"
#include "cmd/options.h"

#include <string.h>

/* clang-format off */
static const cmd_verb verbs[] = {
    {.id = CMD_INSPECT,
         .name = "inspect", .operands = "MODEL", .summary = "show what is in a model",
         .text = "Prints format, architecture, sizes, types, bits per weight and the tokenizer. Works for architectures "
                "that pare cannot run, and for damaged files as far as they can be read: then the first error follows "
                "and the exit code is 3.",
         .examples = {{"what is it?", "pare inspect model.gguf"},
                     {"every tensor, for a program", "pare inspect ./model --tensors --json"},
                     {"one metadata value, whole", "pare inspect model.gguf --metadata=tokenizer.chat_template"},
                     {"what changed?", "pare inspect new.gguf --diff old.gguf"}},
         .min_operands = 1, .max_operands = 1, .run = cmd_inspect},
    {.id = CMD_CONVERT,
         .name = "convert", .operands = "MODEL -o OUT", .summary = "turn one format into another",
         .text = "Hub folder to GGUF and back, or one float type to another. OUT ending in .gguf becomes a GGUF file, any "
                "other OUT a folder with config.json, safetensors and tokenizer files. The output appears whole or not "
                "at all, and peak memory does not grow with the model.",
         .examples = {{"a Hub folder to one GGUF file", "pare convert ./model -o model.gguf"},
                     {"16-bit floats, in parts of 4 GiB", "pare convert ./model -o model.gguf --dtype f16 --split-size 4G"},
                     {"back to a folder", "pare convert model.gguf -o ./model-hf"}},
         .min_operands = 1, .max_operands = 1, .run = cmd_convert},
    {.id = CMD_QUANTIZE,
         .name = "quantize", .operands = "MODEL -t TYPE -o OUT", .summary = "write a model with fewer bits a weight",
         .text = "TYPE is a preset, which chooses the type of each tensor, or with --pure one block type for all. MODEL may "
                "be a Hub folder: it need not be converted first. The same input and options give the same bytes with any "
                "number of threads and, but for --sequential, on any machine.",
         .examples = {{"the usual choice, pinned", "pare quantize ./model -t q4_k_m -o model-q4_k_m.gguf --pin"},
                     {"how large would it be?", "pare quantize ./model -t q5_k_m -o out.gguf --dry-run"},
                     {"with calibration statistics", "pare quantize ./model -t q3_k_m --imatrix imatrix.gguf -o out.gguf"},
                     {"keep one kind of tensor at 8 bits", "pare quantize ./model -t q4_k_m --tensor 'attn_v=q8_0' -o out.gguf"}},
         .min_operands = 1, .max_operands = 1, .lists_presets = true, .run = cmd_quantize},
    {.id = CMD_FIT,
         .name = "fit", .operands = "MODEL... --vram SIZE [-f TEXT -o OUT]", .summary = "plan and make the best model for a memory budget",
         .text = "Says what running MODEL takes, part by part: weights, KV cache, compute buffers, driver, reserve; which preset "
                "fits on the cards, where its layers and experts go, how long a context may be, and with which options to run it. "
                "With -f TEXT it chooses the type of each tensor itself, so that the whole file diverges least from MODEL "
                "within the budget: every tensor is encoded in every type and its effect measured on TEXT, the last tenth of "
                "which is kept back to measure the result on. With several models it says which of them is the best under the same budget.",
         .examples = {{"what can this card run?", "pare fit ./model --gpu rtx-4090 --ctx 32768"},
                     {"the best file for it", "pare fit ./model --vram 24G --ctx 32768 --kv q8_0 -f corpus.txt -o model.gguf"},
                     {"the best file of a size", "pare fit ./model --size 4.2G -f corpus.txt -o model.gguf"},
                     {"a front over sizes", "pare fit ./model --size 3G,3.5G,4G,5G -f corpus.txt --state ./model.fit"},
                     {"bigger and more quantized, or smaller?", "pare fit ./8b ./14b --vram 12G -f corpus.txt --state ./fit"}},
         .min_operands = 0, .max_operands = CMD_ANY_NUMBER, .run = cmd_fit},
    {.id = CMD_IMATRIX,
         .name = "imatrix", .operands = "MODEL -f TEXT -o OUT", .summary = "collect calibration statistics for quantize --imatrix",
         .text = "Runs a text through the model and sums, for each input column of each matrix of the layers, the squares of "
                "the inputs. quantize --imatrix then spends its bits where inputs are large. MODEL should be the unquantized "
                "one, and TEXT not the one that quality is measured on. The file has the layout of llama-imatrix.",
         .examples = {{"statistics of a text", "pare imatrix ./model -f calibration.txt -o imatrix.gguf"},
                     {"use them", "pare quantize ./model -t q4_k_m --imatrix imatrix.gguf -o model-q4_k_m.gguf"},
                     {"add a second text to an earlier file",
                      "pare imatrix ./model -f code.txt --in imatrix.gguf -o both.gguf"}},
         .min_operands = 1, .max_operands = 1, .run = cmd_imatrix},
    {.id = CMD_EVAL,
         .name = "eval", .operands = "MODEL -f TEXT | --task FILE", .summary = "measure perplexity, divergence from a reference, benchmarks",
         .text = "Perplexity over windows of --ctx tokens, second half scored. With --reference both models run side by side "
                "and are compared at every scored position: KL divergence, how often the most likely token is the same, "
                "change of the true token's probability. --task scores a benchmark from its owner's file, as lm-eval does: "
                "accuracy by the sum of log-probabilities, by characters and by tokens. Every figure comes with its standard error.",
         .examples = {{"perplexity", "pare eval model.gguf -f wiki.test.txt"},
                     {"what quantization cost", "pare eval model-q4_k_m.gguf --reference ./model -f text.txt"},
                     {"the reference run once, for many candidates",
                      "pare eval ./model -f text.txt --save-logits ref.lgt && pare eval q.gguf -f text.txt --logits ref.lgt"},
                     {"a benchmark, with five examples in each prompt",
                      "pare eval q.gguf --task astronomy_test.csv --shots astronomy_dev.csv"},
                     {"a gate for a script: exit 1 above 0.02", "pare eval q.gguf --reference ./model -f text.txt --fail-over 0.02"}},
         .min_operands = 1, .max_operands = 1, .run = cmd_eval},
    {.id = CMD_COMPARE,
         .name = "compare", .operands = "REFERENCE MODEL...", .summary = "measure how models drift from a reference",
         .text = "Lays one or more models beside REFERENCE. On texts: KL divergence, ratio of perplexities, how often the most "
                "likely token is the same. On tasks: each item is paired, with the answers lost and gained, an exact McNemar "
                "test and the smallest change that so many items can show; a smaller one is not called a change. And the "
                "weights, tensor by tensor. REFERENCE runs once for all models. Without texts and tasks only weights are "
                "compared.",
         .examples = {{"three sizes of one model", "pare compare ./model q8_0.gguf q5_k_m.gguf q4_k_m.gguf -f text.txt"},
                     {"do its answers change?", "pare compare ./model q4.gguf --task mmlu/astronomy_test.csv"},
                     {"check somebody's claim", "pare compare ./original ./modified -f text.txt --task prompts.jsonl"},
                     {"a gate for a script, and a page to look at",
                      "pare compare ./model q4.gguf -f text.txt --fail-over 0.02 --report q4.html"}},
         .min_operands = 2, .max_operands = CMD_ANY_NUMBER, .run = cmd_compare},
    {.id = CMD_REPORT,
         .name = "report", .operands = "RECORD... -o OUT", .summary = "show records of evaluations as a page, or merge them",
         .text = "Reads records of pare eval --record and writes Markdown, or one HTML page with plots that works offline, on "
                 "a phone and in print. Records of parts of one evaluation, measured on several machines, become one with "
                 "--merge: its figures are those of an undivided run to the last bit. A record that was changed is refused.",
         .examples = {{"three models beside one another", "pare report q8.json q5.json q4.json -o report.html"},
                     {"with the error of each layer",
                      "pare quantize ./model -t q4_k_m -o q4.gguf --json >q4-tensors.json && "
                      "pare report q4.json --quantize q4-tensors.json -o report.html"},
                     {"two halves, measured on two machines", "pare report part1.json part2.json --merge whole.json"}},
         .min_operands = 0, .max_operands = CMD_ANY_NUMBER, .run = cmd_report},
    {.id = CMD_PIN,
         .name = "pin", .operands = "PATH... -o LOCK", .summary = "record SHA-256 of files, tensors and metadata",
         .text = "Writes a lock file (JSON) with hashes of every file, and of every tensor and metadata key of the models "
                "among them, and beside it SHA256SUMS, which sha256sum -c --strict accepts. A PATH is a model, a folder or "
                "any file in the folder of the lock or below.",
         .examples = {{"pin a folder", "pare pin ./model -o ./model/pare.lock"},
                     {"then, with coreutils alone", "pare pin model.gguf && sha256sum -c --strict SHA256SUMS"},
                     {"and sign it", "pare pin ./model -o ./model/pare.lock --sign key.pem"},
                     {"add what was measured",
                      "pare pin q.gguf -o pare.lock --force --recipe pare.lock --measurements eval.json"}},
         .min_operands = 1, .max_operands = CMD_ANY_NUMBER, .run = cmd_pin},
    {.id = CMD_VERIFY,
         .name = "verify", .operands = "LOCK|RECORD|MODEL", .summary = "compare files with what was pinned or recorded",
         .text = "Checks files against a pare.lock or a SHA256SUMS file, or the structure of a model without a lock. Prints "
                "three verdicts (bytes, structure, signature) and names each file, tensor or metadata key that differs; "
                "exit code 1 when any does. With --key the third is told by the OpenSSF Model Signing bundle in the folder.\n"
                "Of a record of pare eval it computes every figure again from the scores beside it, and compares models and "
                "texts that are there with the record's hashes.",
         .examples = {{"is it still what I pinned?", "pare verify pare.lock"},
                     {"did the owner of this key sign it?", "pare verify ./model --key owner.pub"},
                     {"do these figures follow from what was measured?", "pare verify eval.json"},
                     {"is this file sound?", "pare verify model.gguf"}},
         .min_operands = 1, .max_operands = 1, .run = cmd_verify},
    {.id = CMD_REPRODUCE,
         .name = "reproduce", .operands = "LOCK", .summary = "make pinned files again from their inputs, and compare the bytes",
         .text = "Repeats the recipe that convert, quantize, fit or imatrix recorded with --pin: finds its inputs by name, beside "
                "LOCK and in the folders of --inputs, checks each by its SHA-256, runs the same options on them, and says of each "
                "file whether it has the same bytes, else which tensors and metadata keys differ. The number of threads plays "
                "no part. What the lock says is never a name to write to or a program to run: of its command line only options "
                "that shape the bytes are used. The work needs as much disk as the output, in --output or TMPDIR, and is removed "
                "without --output.",
         .examples = {{"is it what the recipe makes?", "pare reproduce q/pare.lock --inputs ./model"},
                     {"inputs in several places", "pare reproduce q/pare.lock --inputs ./models --inputs ./statistics"},
                     {"keep what was made", "pare reproduce q/pare.lock --inputs ./model -o again"},
                     {"with a text that was piped in", "pare reproduce im/pare.lock --inputs ./model <text.txt"}},
         .min_operands = 1, .max_operands = 1, .run = cmd_reproduce},
    {.id = CMD_TOKENIZE,
         .name = "tokenize", .operands = "MODEL -f TEXT", .summary = "turn text into token ids",
         .text = "Prints the ids as one JSON array, or with --lines the ids of each line of the text on a line, divided by "
                "spaces. Uses the model's own tokenizer.",
         .examples = {{"ids of a text", "pare tokenize model.gguf -f text.txt"},
                     {"from a pipe", "echo 'Hello world' | pare tokenize ./model -f - --lines --no-bos"}},
         .min_operands = 1, .max_operands = 1, .run = cmd_tokenize},
    {.id = CMD_LOGITS,
         .name = "logits", .operands = "MODEL --tokens IDS -o OUT", .summary = "write a model's logits for given token ids",
         .text = "For checking pare against another implementation: IDS holds int32 little endian, OUT receives float32 "
                "little endian [sequences, length, vocabulary]. Each sequence starts at position 0.",
         .examples = {{"sequences of 64 tokens", "pare logits model.gguf --tokens ids.bin --length 64 -o logits.bin"}},
         .min_operands = 1, .max_operands = 1, .run = cmd_logits},
    {.id = CMD_GENERATE,
         .name = "generate", .operands = "MODEL -p TEXT", .summary = "write text behind a prompt: does the model still speak?",
         .text = "Takes the most likely token each time, or with --temperature draws from the distribution. The text ends by "
                "the model's own end token, a --stop string, --max-tokens or a full context. One prompt is printed as it is "
                "written, several one behind the other. --reference has a second model continue the same prompts and shows "
                "the first token that differs, and by how much each model's choice led: a small lead turns at any change of "
                "arithmetic.",
         .examples = {{"the next 50 tokens", "pare generate model.gguf -p 'The capital of France' -n 50"},
                     {"where does quantization lead elsewhere?", "pare generate q.gguf --reference ./model -p 'Once upon a time' -n 200"},
                     {"a prompt from a file, drawn", "pare generate ./model -f prompt.txt --temperature 0.8 --seed 7"}},
         .min_operands = 1, .max_operands = 1, .run = cmd_generate},
    {.id = CMD_KV,
         .name = "kv", .operands = "MODEL -f TEXT", .summary = "find the smallest cache of keys and values that costs little",
         .text = "Runs the model over windows of the text with each cache, rotated and not, and with floats: bytes for 1,024 "
                "tokens, KL divergence from the floats (mean, 99.9 %, by position), same top token, perplexity ratio, for each "
                "length of --depths. Then the error of attention's output layer by layer and head by head: a head breaks when "
                "it is above a tenth and above four times the median, and what its keys are like says why. --needle hides pass "
                "keys in the text and asks for them.\n"
                "Recommends the smallest cache whose mean KL divergence stays at or below --limit at every length, and with "
                "--vram or --gpu says what context it leaves room for; exit code 1 when there is none. Caches that no known "
                "program keeps are marked 'research' and recommended with --research only.",
         .examples = {{"llama.cpp's caches at two lengths", "pare kv model.gguf -f text.txt --depths 512,4096"},
                     {"what context does a card hold with it?", "pare kv model.gguf -f text.txt --gpu rtx-4090 --report kv.html"},
                     {"keys exact, values smaller, keys found again?", "pare kv model.gguf -f text.txt --cache q8_0,q8_0/q5_0,q8_0/q4_0 --needle 4"},
                     {"everything that there is", "pare kv model.gguf -f text.txt --cache all --limit 0.02 --research"},
                     {"the table of caches", "pare kv --list"}},
         .min_operands = 0, .max_operands = 1, .run = cmd_kv},
    {.id = CMD_ENV,
         .name = "env", .operands = "", .summary = "show version, CPU, threads, libraries and environment",
         .text = "Everything that a report about pare should contain.",
         .examples = {{"for a bug report", "pare env"}},
         .min_operands = 0, .max_operands = 0, .run = cmd_env},
    {.id = CMD_HELP,
         .name = "help", .operands = "[COMMAND]", .summary = "explain a command",
         .text = "Without COMMAND, lists the commands. Can also print completion scripts for shells.",
         .examples = {{"how to quantize", "pare help quantize"},
                     {"completion in this shell", "source <(pare help --completion bash)"}},
         .min_operands = 0, .max_operands = 1, .run = cmd_help},
};
/* clang-format on */

const cmd_verb *cmd_verb_at(size_t i)
{
    return i < sizeof verbs / sizeof verbs[0] ? &verbs[i] : NULL;
}

const cmd_verb *cmd_verb_find(const char *name)
{
    const cmd_verb *verb;
    for (size_t i = 0; (verb = cmd_verb_at(i)) != NULL; i++)
        if (strcmp(verb->name, name) == 0)
            return verb;
    return NULL;
}

static const char *next_name(size_t i, const void *ctx)
{
    const cmd_verb *verb = cmd_verb_at(i);
    (void)ctx;
    return verb != NULL ? verb->name : NULL;
}

pare_status cmd_verb_require(const cmd_verb **verb, const char *name, pare_error *err)
{
    if ((*verb = cmd_verb_find(name)) != NULL)
        return PARE_OK;
    const char *kind = name[0] == '-' ? "option" : "command";
    const char *near = name[0] == '-' ? NULL : cmd_nearest(name, next_name, NULL);
    if (near != NULL)
        return pare_fail(err, PARE_ERR_USAGE, "unknown %s '%s'; did you mean '%s'?", kind, name, near);
    return pare_fail(err, PARE_ERR_USAGE, "unknown %s '%s'", kind, name);
}
