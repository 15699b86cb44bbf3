#include "cmd/options.h"
#include "formats/store.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define V(verb) (1u << CMD_##verb)

enum {
    WRITERS = V(CONVERT) | V(QUANTIZE),
    PINNERS = WRITERS | V(FIT) | V(IMATRIX),
    RUNNERS = V(EVAL) | V(COMPARE) | V(LOGITS) | V(IMATRIX) | V(GENERATE) | V(FIT) | V(KV),
    READERS = V(INSPECT) | V(REPORT) | WRITERS | RUNNERS | V(PIN) | V(VERIFY) | V(REPRODUCE) | V(TOKENIZE),
    ALL = READERS | V(ENV) | V(HELP)
};

/* clang-format off */
static const cmd_option table[] = {
    {OPT_TYPE, "type", 't', "TYPE", CMD_KIND_PRESET, NULL, NULL,
     "what to quantize to: a preset (see below), or with --pure a block type such as q4_k", V(QUANTIZE), CMD_REQUIRED | CMD_SHAPES_BYTES},
    {OPT_VRAM, "vram", 0, "SIZE", CMD_KIND_TEXT, NULL, NULL,
     "memory of the graphics card that may be taken: 24G and 24GiB are 24 * 2^30 bytes, 24GB is 24 * 10^9; of several cards divided by commas. Given several times, with -f and without -o, these are budgets: the front of memory and divergence is shown", V(FIT), CMD_REPEATS | CMD_SHAPES_BYTES},
    {OPT_GPU, "gpu", 0, "NAME", CMD_KIND_TEXT, NULL, NULL,
     "the card by name, rtx-4090; several divided by commas. list shows all. Given several times: as --vram", V(FIT), CMD_REPEATS | CMD_SHAPES_BYTES},
    {OPT_RAM, "ram", 0, "SIZE", CMD_KIND_SIZE, NULL, NULL,
     "memory of the host that may be taken, for experts and layers that find no room on the cards. Without it all of them have to be there", V(FIT) | V(KV), CMD_SHAPES_BYTES},
    {OPT_SIZE, "size", 0, "SIZE", CMD_KIND_TEXT, NULL, NULL,
     "in place of memory: bytes of the file. Several, divided by commas and without -o, show the front of size and divergence", V(FIT), CMD_SHAPES_BYTES},
    {OPT_PARETO, "pareto", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "in place of a budget: show the front of size and divergence at 8 sizes, in equal ratios from the smallest file that the types allow to the largest; writes no file", V(FIT), CMD_SHAPES_BYTES},
    {OPT_RESERVE, "reserve", 0, "SIZE", CMD_KIND_SIZE, NULL, "1G",
     "memory of each card to leave free, without a card of the RAM", V(FIT) | V(KV), CMD_SHAPES_BYTES | CMD_MAY_BE_ZERO},
    {OPT_CONTEXT, "ctx", 'c', "N", CMD_KIND_NUMBER, NULL, NULL,
     "tokens of context, of all sequences together; what the model was trained for when it is not given", V(FIT), CMD_SHAPES_BYTES},
    {OPT_SEQUENCES, "sequences", 0, "N", CMD_KIND_NUMBER, NULL, "1",
     "texts at once", V(FIT) | V(KV), CMD_SHAPES_BYTES},
    {OPT_KV, "kv", 0, "TYPE", CMD_KIND_TEXT, NULL, NULL,
     "type of the cache of keys and values: f16 when it is not given", V(FIT), CMD_SHAPES_BYTES},
    {OPT_CACHE_K, "cache-k", 0, "TYPE", CMD_KIND_TEXT, NULL, NULL,
     "what keys are kept in: f16 and the like, q8_0 ... of llama.cpp's caches, and for eval and generate those of pare kv --list", V(FIT) | V(EVAL) | V(GENERATE), CMD_SHAPES_BYTES},
    {OPT_CACHE_V, "cache-v", 0, "TYPE", CMD_KIND_TEXT, NULL, NULL,
     "what values are kept in", V(FIT) | V(EVAL) | V(GENERATE), CMD_SHAPES_BYTES},
    {OPT_CACHE_ROTATE, "cache-rotate", 0, "HOW", CMD_KIND_CHOICE, "on off llama full", "on",
     "rotate keys and values before they are quantized: llama as llama.cpp does, full with signs and whole heads, on what suits the type", V(EVAL) | V(GENERATE), CMD_SHAPES_BYTES},
    {OPT_CACHE_PROTECT, "cache-protect", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "layers at both ends that keep f16", V(EVAL) | V(GENERATE) | V(KV), CMD_SHAPES_BYTES},
    {OPT_CACHE_SINKS, "cache-sinks", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "tokens at the beginning that stay in f16", V(EVAL) | V(GENERATE) | V(KV), CMD_SHAPES_BYTES},
    {OPT_CACHE_RECENT, "cache-recent", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "last tokens that stay in f16 until as many came behind them; what the type itself keeps so if that is more, as kivi2 128", V(EVAL) | V(GENERATE) | V(KV), CMD_SHAPES_BYTES},
    {OPT_CACHE_TEXT, "cache-text", 0, "TEXT", CMD_KIND_PATH, NULL, NULL,
     "text that calibrated types, klt4 and the like, are made from: its first 16,384 tokens. Not the text that is measured on", V(EVAL) | V(GENERATE) | V(KV), CMD_SHAPES_BYTES},
    {OPT_FILE, "file", 'f', "TEXT", CMD_KIND_PATH, NULL, NULL,
     "UTF-8 text to measure on, - for standard input", V(KV), 0},
    {OPT_CACHE, "cache", 0, "LIST", CMD_KIND_TEXT, NULL, NULL,
     "caches to measure, divided by commas: a type for both, or KEYS/VALUES. all: every type of --list, calibrated ones with --cache-text. Without it llama.cpp's: f16,q8_0,q8_0/q5_0,q8_0/q4_0, q5_1,q5_0,q5_0/q4_0,q4_1,q4_0,iq4_nl", V(KV), 0},
    {OPT_LIST, "list", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "show the types that keys and values can be kept in, their bits, and which programs keep them so", V(KV), 0},
    {OPT_ROTATE, "rotate", 0, "HOW", CMD_KIND_CHOICE, "both on off llama full", "both",
     "rotate keys and values before they are quantized: both measures each cache with and without, the others are those of eval --cache-rotate", V(KV), 0},
    {OPT_MEAN, "mean", 0, "TEXT", CMD_KIND_PATH, NULL, NULL,
     "measure each cache with quantized keys also with keys kept without their mean, which TEXT is read for; research", V(KV), 0},
    {OPT_DEPTHS, "depths", 0, "LIST", CMD_KIND_TEXT, NULL, NULL,
     "tokens a window, divided by commas; the second half of each window is scored. Without it 512 and 2048, as far as the model was trained for them and the text has two windows", V(KV), 0},
    {OPT_CHUNKS, "chunks", 0, "N", CMD_KIND_NUMBER, NULL, "16",
     "measure on the first N windows of each length", V(KV), 0},
    {OPT_HEADS, "heads", 0, "N", CMD_KIND_NUMBER, NULL, "2",
     "windows, of the shortest length, for the errors of heads", V(KV), 0},
    {OPT_NEEDLE, "needle", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "hide N pass keys at each of 0, 10, .. 100 % of a stretch of the text of each length, and count those that each cache finds", V(KV), 0},
    {OPT_LIMIT, "limit", 0, "KLD", CMD_KIND_REAL, NULL, "0.01",
     "largest mean KL divergence, nat a token, of a cache that is recommended", V(KV), 0},
    {OPT_RESEARCH, "research", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "recommend caches too that no known program keeps", V(KV), 0},
    {OPT_VRAM, "vram", 0, "SIZE", CMD_KIND_TEXT, NULL, NULL,
     "memory of the graphics card that may be taken, as for fit; of several cards divided by commas: shows the context that each cache leaves room for", V(KV), 0},
    {OPT_GPU, "gpu", 0, "NAME", CMD_KIND_TEXT, NULL, NULL,
     "the card by name, as for fit (pare fit --gpu list)", V(KV), 0},
    {OPT_CONTEXT, "ctx", 'c', "N", CMD_KIND_NUMBER, NULL, NULL,
     "recommend no cache that leaves room for fewer than N tokens in that memory", V(KV), 0},
    {OPT_SEED, "seed", 0, "N", CMD_KIND_NUMBER, NULL, "1",
     "seed of the bootstrap and of --needle", V(KV), 0},
    {OPT_NO_FLASH_ATTN, "no-flash-attn", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "run without flash attention", V(FIT), CMD_SHAPES_BYTES},
    {OPT_UBATCH, "ubatch", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "tokens of a prompt that go through the layers together; 512 when it is not given", V(FIT) | V(KV), CMD_SHAPES_BYTES},
    {OPT_PROJECTOR, "projector", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "a multimodal projector that runs beside the model", V(FIT), CMD_SHAPES_BYTES},
    {OPT_DRAFT, "draft", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "a draft model that runs beside the model", V(FIT), CMD_SHAPES_BYTES},
    {OPT_RUNTIME, "runtime", 0, "NAME", CMD_KIND_CHOICE, "llama.cpp vllm plain", "llama.cpp",
     "the program whose memory is planned", V(FIT), CMD_SHAPES_BYTES},
    {OPT_TYPE, "type", 't', "TYPE", CMD_KIND_PRESET, NULL, NULL,
     "plan for this preset; without it all are looked at", V(FIT), 0},
    {OPT_PLAN_ONLY, "plan-only", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "plan memory, and choose and write nothing", V(FIT), 0},
    {OPT_FILE, "file", 'f', "TEXT", CMD_KIND_PATH, NULL, NULL,
     "UTF-8 text to calibrate with and to choose types by, - for standard input", V(FIT), CMD_SHAPES_BYTES | CMD_BYTES_BY_CPU},
    {OPT_TABLE, "table", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "show the context that fits by memory of the card and type of the cache, for --type or the largest preset that fits", V(FIT), 0},
    {OPT_MEASURE, "measure", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "take what was planned on the CUDA devices, part by part, and compare with what their driver says; then give it back. Of --type, or the largest preset that fits", V(FIT), 0},
    {OPT_MEASURE_LOG, "measure-log", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "with --measure: append what was predicted and measured to FILE, a line of JSON a run, for pare report --measured", V(FIT), 0},
    {OPT_TEST, "test", 0, "TEXT", CMD_KIND_PATH, NULL, NULL,
     "text to measure the result on, other than that of --file; without it the last tenth of that one, which then plays no part in the choice", V(FIT), CMD_SHAPES_BYTES},
    {OPT_OUTPUT, "output", 'o', "OUT", CMD_KIND_PATH, NULL, NULL,
     "the GGUF file to write; without it what would be written is shown", V(FIT), 0},
    {OPT_STATE, "state", 0, "FOLDER", CMD_KIND_PATH, NULL, NULL,
     "where encoded tensors and measurements stay, for other budgets: OUT.fit when it is not given", V(FIT), 0},
    {OPT_IMATRIX, "imatrix", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "statistics of pare imatrix --full; without it they are collected from the text of --file", V(FIT), CMD_SHAPES_BYTES},
    {OPT_KEEP, "keep", 0, "REGEX=TYPE", CMD_KIND_TEXT, NULL, NULL,
     "give tensors whose GGUF name matches REGEX (PCRE2, searched) the block type TYPE; the first match counts. May be repeated", V(FIT), CMD_REPEATS | CMD_SHAPES_BYTES},
    {OPT_TYPES, "types", 0, "LIST", CMD_KIND_TEXT, NULL, NULL,
     "choose among these block types, divided by commas; without it among all that stock llama.cpp loads, but for those of models trained to them (tq1_0, tq2_0, q1_0, q2_0)", V(FIT), CMD_SHAPES_BYTES},
    {OPT_MIN_BITS, "min-bits", 0, "BITS", CMD_KIND_REAL, NULL, NULL,
     "choose no type of fewer bits a weight", V(FIT), CMD_SHAPES_BYTES},
    {OPT_PREFER_FAST, "prefer-fast", 0, "WHERE", CMD_KIND_CHOICE, "cpu", NULL,
     "leave out types that are slow there", V(FIT), CMD_SHAPES_BYTES},
    {OPT_OUTPUT, "output", 'o', "OUT", CMD_KIND_PATH, NULL, NULL,
     "where to write: a GGUF file when OUT ends in .gguf, else a folder with config.json and safetensors", V(CONVERT), CMD_REQUIRED},
    {OPT_OUTPUT, "output", 'o', "OUT", CMD_KIND_PATH, NULL, NULL,
     "the GGUF file to write", V(QUANTIZE), CMD_REQUIRED},
    {OPT_OUTPUT, "output", 'o', "LOCK", CMD_KIND_PATH, NULL, "pare.lock",
     "the lock file to write; what is pinned must lie in its folder or below", V(PIN), 0},
    {OPT_OUTPUT, "output", 'o', "OUT", CMD_KIND_PATH, NULL, NULL,
     "where to write the logits: float32 little endian [sequences, length, vocabulary]; of an encoder its states [sequences, length, width]", V(LOGITS), CMD_REQUIRED},
    {OPT_OUTPUT, "output", 'o', "OUT", CMD_KIND_PATH, NULL, NULL,
     "the GGUF file of statistics to write; llama-quantize reads it too", V(IMATRIX), CMD_REQUIRED},
    {OPT_OUTPUT, "output", 'o', "OUT", CMD_KIND_PATH, NULL, NULL,
     "the page to write: one HTML file that needs nothing beside it (OUT.html), or Markdown (OUT.md)", V(REPORT), 0},
    {OPT_MERGE, "merge", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "put the records, parts of one evaluation (pare eval --chunk-range), together into one at FILE", V(REPORT), 0},
    {OPT_QUANTIZE, "quantize", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "what pare quantize --json printed: adds the error of each tensor, layer by layer. May be repeated", V(REPORT), CMD_REPEATS},
    {OPT_COMPARISON, "comparison", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "what pare compare --json printed: adds changed answers and changed weights", V(REPORT), 0},
    {OPT_MEASURED, "measured", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "what pare fit --measure-log wrote: adds device memory, predicted and measured", V(REPORT), 0},
    {OPT_TITLE, "title", 0, "TEXT", CMD_KIND_TEXT, NULL, NULL,
     "title of the page", V(REPORT), 0},
    {OPT_DTYPE, "dtype", 0, "TYPE", CMD_KIND_CHOICE, "auto f32 f16 bf16 q8_0", "auto",
     "type of the weights; auto keeps the source's. Norms and other vectors become f32 in a GGUF file", V(CONVERT), CMD_SHAPES_BYTES},
    {OPT_FORMAT, "format", 0, "FORMAT", CMD_KIND_CHOICE, "gguf safetensors awq gptq compressed-tensors fp8 nvfp4 mxfp4 mxfp4-experts", NULL,
     "format of the output, when its name should not decide. awq, gptq and compressed-tensors are folders whose layers hold packed integers, fp8, nvfp4 and mxfp4 such with small floats (compressed-tensors, too); mxfp4-experts packs experts alone, as gpt-oss is published", V(CONVERT), CMD_SHAPES_BYTES},
    {OPT_BITS, "bits", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "bits of a packed weight, where the format has a choice: gptq 2, 3, 4 or 8, compressed-tensors 4 or 8; the default is 4", V(CONVERT), CMD_SHAPES_BYTES},
    {OPT_GROUP_SIZE, "group-size", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "columns of a weight that share a scale in a packed format; the default is 128", V(CONVERT), CMD_SHAPES_BYTES},
    {OPT_WHOLE_ROWS, "whole-rows", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "one scale a row of a weight in a packed format, which says group size -1", V(CONVERT), CMD_SHAPES_BYTES},
    {OPT_SYMMETRIC, "symmetric", 0, "CHOICE", CMD_KIND_CHOICE, "yes no", NULL,
     "whether packed weights are symmetric around zero or have zero points; the default is yes, no for awq", V(CONVERT), CMD_SHAPES_BYTES},
    {OPT_PURE, "pure", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "give every tensor that can be quantized the same block type", V(QUANTIZE), CMD_SHAPES_BYTES},
    {OPT_TENSOR, "tensor", 0, "REGEX=TYPE", CMD_KIND_TEXT, NULL, NULL,
     "give tensors whose GGUF name matches REGEX (PCRE2, searched) the block type TYPE; the first match counts. May be repeated", V(QUANTIZE), CMD_REPEATS | CMD_SHAPES_BYTES},
    {OPT_OUTPUT_TYPE, "output-type", 0, "TYPE", CMD_KIND_TEXT, NULL, NULL,
     "block type of the output matrix", V(QUANTIZE), CMD_SHAPES_BYTES},
    {OPT_EMBEDDING_TYPE, "embedding-type", 0, "TYPE", CMD_KIND_TEXT, NULL, NULL,
     "block type of the token embedding", V(QUANTIZE), CMD_SHAPES_BYTES},
    {OPT_IMATRIX, "imatrix", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "calibration statistics of pare imatrix or llama-imatrix: errors count where the inputs are large", V(QUANTIZE), CMD_SHAPES_BYTES},
    {OPT_METHOD, "method", 0, "METHOD", CMD_KIND_CHOICE, "auto feedback search rtn", "auto",
     "rtn rounds each weight under scales that cover the largest ones, for types that have such a rule; search looks for the smallest error; feedback lets each weight make up for the errors of others, with statistics of pare imatrix --full; auto is feedback where there are such, else search", V(QUANTIZE), CMD_SHAPES_BYTES},
    {OPT_SEQUENTIAL, "sequential", 0, "TEXT", CMD_KIND_PATH, NULL, NULL,
     "with feedback: quantize layer by layer, and let each matrix take back what those before it did to its inputs, as windows of the calibration text TEXT (UTF-8, - for standard input) show it. Takes about four passes over 32 windows of 512 tokens. Other than without it, two kinds of CPU need not give the same bytes", V(QUANTIZE), CMD_SHAPES_BYTES | CMD_BYTES_BY_CPU},
    {OPT_SEQUENTIAL, "sequential", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "encode the chosen types in the order of a pass, each matrix taking back what those before it did to its inputs, as the text of the statistics shows it: as quantize --sequential. Other than without it, two kinds of CPU need not give the same bytes", V(FIT), CMD_SHAPES_BYTES | CMD_BYTES_BY_CPU},
    {OPT_SEQUENTIAL_MEMORY, "sequential-memory", 0, "SIZE", CMD_KIND_SIZE, NULL, "2G",
     "with --sequential: states of TEXT, 8 bytes a token and element of the residual stream, lie in memory up to SIZE, else in a file beside OUT; of fit in the folder of --state", V(QUANTIZE) | V(FIT), 0},
    {OPT_IMATRIX, "imatrix", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "for packed integers (awq, gptq, compressed-tensors): calibration statistics of pare imatrix, best with --full: errors count where the inputs are large", V(CONVERT), CMD_SHAPES_BYTES},
    {OPT_METHOD, "method", 0, "METHOD", CMD_KIND_CHOICE, "auto feedback search rtn awq awq-feedback", "auto",
     "how packed integers are chosen: rtn rounds under scales that cover the largest weights; search looks for the smallest error; awq rounds, too, after input channels were scaled and large weights clipped, both by a search with statistics of pare imatrix --full; awq-feedback scales and goes on with feedback; feedback lets each weight make up for the errors of others, with statistics of pare imatrix --full; auto is feedback where there are such, else search", V(CONVERT), CMD_SHAPES_BYTES},
    {OPT_EFFORT, "effort", 0, "EFFORT", CMD_KIND_CHOICE, "fast default best", "default",
     "how long to search, and how often feedback looks at each weight again: best takes several times as long for a little less error, fast a third of the time", V(QUANTIZE) | V(CONVERT) | V(FIT), CMD_SHAPES_BYTES},
    {OPT_NO_TENSOR_SCALE, "no-tensor-scale", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "do not give nvfp4 matrices a scale of their own (tensors NAME.scale), for readers that know none", V(QUANTIZE), CMD_SHAPES_BYTES},
    {OPT_REFIT, "refit", 0, "CHOICE", CMD_KIND_CHOICE, "yes no", "yes",
     "fit the gains of the first norm to the encoded weights around it, where these are encoded with feedback; costs no bytes. Not with --sequential, whose matrices make up for it", V(QUANTIZE), CMD_SHAPES_BYTES},
    {OPT_KV_READY, "kv-ready", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "before anything else, for runtimes that quantize keys and values and do not rotate them: rotate values, and scale pairs of keys against those of queries, in the weights. What the model says stays the same. Factors are chosen by the weights, or by --kv-text", WRITERS, CMD_SHAPES_BYTES},
    {OPT_KV_TEXT, "kv-text", 0, "TEXT", CMD_KIND_PATH, NULL, NULL,
     "with --kv-ready: choose factors by the keys and queries of 16 windows of TEXT (UTF-8, - for standard input). Other than without it, two kinds of CPU need not give the same bytes", WRITERS, CMD_SHAPES_BYTES | CMD_BYTES_BY_CPU},
    {OPT_SPLIT_SIZE, "split-size", 0, "SIZE", CMD_KIND_SIZE, NULL, NULL,
     "start a new file when the tensors of one exceed SIZE: 24G and 24GiB are 24 * 2^30 bytes, 24GB is 24 * 10^9", WRITERS, CMD_SHAPES_BYTES},
    {OPT_KEEP_SPLIT, "keep-split", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "divide the output as the GGUF set that MODEL is: the same tensors in each part", V(QUANTIZE), CMD_SHAPES_BYTES},
    {OPT_METADATA, "metadata", 0, "KEY=TYPE:VALUE", CMD_KIND_TEXT, NULL, NULL,
     "set a value of the metadata; TYPE is int, float, bool, str or one of GGUF's: u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 string. May be repeated", V(QUANTIZE), CMD_REPEATS | CMD_SHAPES_BYTES},
    {OPT_ALLOW_REQUANTIZE, "allow-requantize", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "accept a source that is quantized already; its errors add up", V(QUANTIZE) | V(FIT), CMD_SHAPES_BYTES},
    {OPT_REQUANTIZE, "requantize", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "the same as --allow-requantize", V(QUANTIZE) | V(FIT), CMD_SHAPES_BYTES},
    {OPT_ALLOW_NONFINITE, "allow-nonfinite", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "encode NaN and infinite weights as zero instead of refusing them", V(QUANTIZE), CMD_SHAPES_BYTES},
    {OPT_PIN, "pin", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "write SHA256SUMS and pare.lock beside the output (in it, when it is a folder), hashed in the same pass", PINNERS, 0},
    {OPT_LOCK, "lock", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "name of the lock file that --pin writes", PINNERS, 0},
    {OPT_SUMS, "sums", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "name of the SHA256SUMS file that --pin writes", PINNERS, 0},
    {OPT_SUMS, "sums", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "where to write the checksums for sha256sum -c; the default is SHA256SUMS in the folder of the lock", V(PIN), 0},
    {OPT_MEASUREMENTS, "measurements", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "record in the lock what pare eval --json measured", V(PIN), 0},
    {OPT_RECIPE, "recipe", 0, "LOCK", CMD_KIND_PATH, NULL, NULL,
     "take over the recipe that an earlier lock records", V(PIN), 0},
    {OPT_SIGN, "sign", 0, "KEY", CMD_KIND_PATH, NULL, NULL,
     "sign the files, the lock and the checksums with this private key (PEM; P-256, P-384 or P-521, not encrypted), as OpenSSF "
     "Model Signing does",
     V(PIN), 0},
    {OPT_SIGN, "sign", 0, "KEY", CMD_KIND_PATH, NULL, NULL,
     "with --pin: sign the output, the lock and the checksums with this private key, as pare pin --sign: model.sig beside the lock", PINNERS, 0},
    {OPT_HF, "hf", 0, "NAME@REVISION", CMD_KIND_TEXT, NULL, NULL,
     "record the Hub's repository that the files are from: its name (org/name) and its commit, 40 hexadecimal digits. Of a snapshot in the Hub's cache this is done without it", V(PIN), 0},
    {OPT_SIGNATURE, "signature", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "where to write what --sign makes; the default is model.sig in the folder of the lock", V(PIN), 0},
    {OPT_SIGNATURE, "signature", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "the bundle to verify with --key; the default is model.sig in the folder", V(VERIFY), 0},
    {OPT_CYCLONEDX, "cyclonedx", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "write a CycloneDX 1.6 bill of materials of the model", V(PIN), 0},
    {OPT_INPUTS, "inputs", 0, "FOLDER", CMD_KIND_PATH, NULL, NULL,
     "look for inputs in FOLDER, before the folder of the lock: a model's folder, or one that it lies in. May be repeated", V(REPRODUCE), CMD_REPEATS},
    {OPT_OUTPUT, "output", 'o', "FOLDER", CMD_KIND_PATH, NULL, NULL,
     "make the files in FOLDER, new or empty, and keep them; without it in a temporary one", V(REPRODUCE), 0},
    {OPT_DEVICE, "device", 0, "DEVICE", CMD_KIND_TEXT, "auto cpu cuda", NULL,
     "where to compute, in place of what is recorded: cpu, cuda, cuda:1", V(REPRODUCE), 0},
    {OPT_DRY_RUN, "dry-run", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "write nothing; show the plan: the type of each tensor, the exact bytes of the output, the free disk", WRITERS, 0},
    {OPT_FORCE, "force", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "replace outputs that exist; an input is never replaced", WRITERS | V(FIT) | V(PIN) | V(LOGITS) | V(IMATRIX) | V(EVAL) | V(COMPARE) | V(REPORT) | V(KV), 0},
    {OPT_FILE, "file", 'f', "TEXT", CMD_KIND_PATH, NULL, NULL,
     "UTF-8 text to measure on, - for standard input; several are reported one by one and averaged", V(EVAL), CMD_REPEATS},
    {OPT_FILE, "file", 'f', "TEXT", CMD_KIND_PATH, NULL, NULL,
     "UTF-8 text to measure on, or with --embedding sentences, - for standard input. May be repeated", V(COMPARE), CMD_REPEATS},
    {OPT_REPORT, "report", 0, "OUT", CMD_KIND_PATH, NULL, NULL,
     "write what was measured to a file: a page with plots when OUT ends in .html, Markdown for .md, the document of --json for .json", V(COMPARE) | V(FIT) | V(KV), 0},
    {OPT_NO_WEIGHTS, "no-weights", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "do not compare the weights", V(COMPARE), 0},
    {OPT_FILE, "file", 'f', "TEXT", CMD_KIND_PATH, NULL, NULL,
     "text to turn into tokens, - for standard input", V(TOKENIZE), CMD_REQUIRED},
    {OPT_FILE, "file", 'f', "TEXT", CMD_KIND_PATH, NULL, NULL,
     "UTF-8 text to run through the model, - for standard input; statistics of several add up", V(IMATRIX), CMD_REPEATS | CMD_REQUIRED | CMD_SHAPES_BYTES | CMD_BYTES_BY_CPU},
    {OPT_IN, "in", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "add to the statistics of an earlier file, GGUF or legacy .dat. May be repeated", V(IMATRIX), CMD_REPEATS | CMD_SHAPES_BYTES},
    {OPT_OUTPUT_WEIGHT, "output-weight", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "collect for the output matrix too; llama-imatrix calls it --process-output", V(IMATRIX), CMD_SHAPES_BYTES},
    {OPT_FULL, "full", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "collect how the inputs of each matrix go together (X^T X), which pare quantize makes much smaller errors with; the output matrix too", V(IMATRIX), CMD_SHAPES_BYTES},
    {OPT_FULL_MEMORY, "full-memory", 0, "SIZE", CMD_KIND_SIZE, NULL, "8G",
     "with --full: sum as many layers in one run over the text as SIZE of memory holds", V(IMATRIX), CMD_SHAPES_BYTES},
    {OPT_FULL_EXPERTS, "full-experts", 0, "HOW", CMD_KIND_CHOICE, "auto own shared", "auto",
     "with --full: the experts of a tensor have products of their own, or share those of all; own takes as many times the room and makes smaller errors. auto is own where all sums fit in --full-memory at once", V(IMATRIX), CMD_SHAPES_BYTES},
    {OPT_RESUME, "resume", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "go on where an interrupted or failed run with --full and the same options stopped: it left what it had summed in OUT with .unfinished-1.gguf for .gguf", V(IMATRIX), 0},
    {OPT_KEEP_EVERY, "keep-every", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "with --full: keep what is summed for --resume behind every N batches of windows. Without it once a minute, but for no more than a twentieth of the time", V(IMATRIX), 0},
    {OPT_CONTEXT, "ctx", 'c', "N", CMD_KIND_NUMBER, NULL, "512",
     "tokens a window; the second half of each is scored", V(EVAL) | V(COMPARE), 0},
    {OPT_CONTEXT, "ctx", 'c', "N", CMD_KIND_NUMBER, NULL, "512",
     "tokens a window; all of them count", V(IMATRIX), CMD_SHAPES_BYTES},
    {OPT_CHUNKS, "chunks", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "measure on the first N windows only", V(EVAL) | V(COMPARE), 0},
    {OPT_CHUNKS, "chunks", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "use the first N windows of each text only", V(IMATRIX), CMD_SHAPES_BYTES},
    {OPT_STRIDE, "stride", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "start a window every N tokens and score the last N of each, so that every token has a long context; without it windows do not overlap", V(EVAL) | V(COMPARE), 0},
    {OPT_SAMPLE, "sample", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "measure on N windows spread over the text, one drawn from each of N equal stretches", V(EVAL) | V(COMPARE), 0},
    {OPT_SEED, "seed", 0, "N", CMD_KIND_NUMBER, NULL, "1",
     "seed of --sample and of the bootstrap", V(EVAL) | V(COMPARE), 0},
    {OPT_CHUNK_RANGE, "chunk-range", 0, "A:B", CMD_KIND_TEXT, NULL, NULL,
     "of the windows, measure those from A to before B, numbered from 0: machines can share one evaluation", V(EVAL), 0},
    {OPT_WORST, "worst", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "list the N tokens whose distributions differ most, with the text before them", V(EVAL), 0},
    {OPT_CURVE, "curve", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "show the figures by position in the window", V(EVAL) | V(KV), 0},
    {OPT_REFERENCE, "reference", 0, "MODEL", CMD_KIND_PATH, NULL, NULL,
     "the model to compare with, usually the unquantized one: KL divergence, same top token, change of probability", V(EVAL), 0},
    {OPT_LOGITS, "logits", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "compare with a store of --save-logits, or a llama-perplexity --kl-divergence-base file, in place of --reference", V(EVAL), 0},
    {OPT_SAVE_LOGITS, "save-logits", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "write the log-probabilities of the reference (without one: of MODEL) at every scored position, for --logits", V(EVAL), 0},
    {OPT_LOGITS_BITS, "logits-bits", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "a store of about N bits a logit, 4 to 14, that says how large its noise is. Without it the noise is below 1e-6 nat", V(EVAL), 0},
    {OPT_LOGITS_FORMAT, "logits-format", 0, "FORMAT", CMD_KIND_CHOICE, "pare llama", "pare",
     "format of the store: pare's own, or the one that llama-perplexity --kl-divergence reads", V(EVAL), 0},
    {OPT_RECORD, "record", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "write what was measured, on what and how: FILE (JSON), and beside it every score (FILE with .jsonl for .json). pare verify computes its figures again, pare report shows them", V(EVAL), 0},
    {OPT_RESUME, "resume", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "go on where an interrupted or failed run with --record and the same options stopped: it left what it had measured in FILE with .unfinished.json for .json", V(EVAL), 0},
    {OPT_RESUME, "resume", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "go on where an interrupted or failed run with the same model, statistics and options stopped: what it had encoded with feedback is kept in OUT.pare-state", V(QUANTIZE), 0},
    {OPT_TASK, "task", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "score a benchmark: MMLU csv, HellaSwag, ARC, PIQA, OpenBookQA, WinoGrande, BoolQ, TruthfulQA, LAMBADA, GSM8K, HumanEval jsonl, llama.cpp's files. The format is seen from the file", V(EVAL) | V(COMPARE) | V(FIT), CMD_REPEATS},
    {OPT_TASK_FORMAT, "task-format", 0, "NAME", CMD_KIND_TEXT, NULL, NULL,
     "format of the --task files, where the file does not tell: openbookqa, truthfulqa-mc2, ...", V(EVAL) | V(COMPARE) | V(FIT), 0},
    {OPT_SHOTS, "shots", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "begin each prompt with examples out of FILE, in the format of the task", V(EVAL) | V(COMPARE) | V(FIT), 0},
    {OPT_N_SHOT, "n-shot", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "how many examples of --shots, the first ones; 5 when it is not given", V(EVAL) | V(COMPARE) | V(FIT), 0},
    {OPT_LIMIT, "limit", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "score the first N items of each task only", V(EVAL) | V(COMPARE) | V(FIT), 0},
    {OPT_DESCRIPTION, "description", 0, "TEXT", CMD_KIND_TEXT, NULL, NULL,
     "begin each prompt of a task with TEXT; without it MMLU prompts begin with the owner's sentence about the subject. An empty TEXT leaves that out", V(EVAL) | V(COMPARE) | V(FIT), 0},
    {OPT_TASK_CTX, "task-ctx", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "most tokens that the model reads of an item; longer items are counted and not scored. What the model was trained for when it is not given", V(EVAL) | V(COMPARE) | V(FIT), 0},
    {OPT_TASK_ITEMS, "task-items", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "list every item of the tasks in the JSON document, with the log-likelihood of each answer", V(EVAL), 0},
    {OPT_COMPLETIONS, "completions", 0, "FILE", CMD_KIND_PATH, NULL, NULL,
     "write the texts of a task that the model answers in its own words, as the jsonl that human-eval scores: {task_id, completion}", V(EVAL), 0},
    {OPT_FAIL_OVER, "fail-over", 0, "KLD", CMD_KIND_REAL, NULL, NULL,
     "exit with 1 when the mean KL divergence is above KLD; needs --reference or --logits", V(EVAL), 0},
    {OPT_FAIL_OVER, "fail-over", 0, "KLD", CMD_KIND_REAL, NULL, NULL,
     "exit with 1 when a model's mean KL divergence over the texts is above KLD", V(COMPARE), 0},
    {OPT_FAIL_DROP, "fail-drop", 0, "POINTS", CMD_KIND_REAL, NULL, NULL,
     "exit with 1 when a model's accuracy in any task is more than POINTS percentage points below the reference's, whether or not the items can resolve it", V(COMPARE), 0},
    {OPT_EMBEDDING, "embedding", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "compare embeddings: each TEXT holds sentence pairs, one a line with a tab between (and perhaps a score behind another), or texts alone, which are paired with each other", V(COMPARE), 0},
    {OPT_EMBEDDING, "embedding", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "write one vector a sequence, its states pooled, in place of logits", V(LOGITS), 0},
    {OPT_POOLING, "pooling", 0, "KIND", CMD_KIND_CHOICE, "mean cls last", NULL,
     "how the states of a text's tokens become one vector; without it as the model says, else mean", V(COMPARE) | V(LOGITS), 0},
    {OPT_FAIL_UNDER, "fail-under", 0, "COSINE", CMD_KIND_REAL, NULL, NULL,
     "exit with 1 when the mean cosine of a model's embeddings with the reference's is below COSINE; needs --embedding", V(COMPARE), 0},
    {OPT_DEVICE, "device", 0, "DEVICE", CMD_KIND_TEXT, "auto cpu cuda cuda:all", "auto",
     "where to compute: cpu; cuda, cuda:1 (counted from 0; CUDA_VISIBLE_DEVICES hides some), cuda:0,1 or cuda:all (their windows are shared out); auto is the first CUDA device of use, else the CPU, and says why", V(EVAL) | V(COMPARE), 0},
    {OPT_DEVICE, "device", 0, "DEVICE", CMD_KIND_TEXT, "auto cpu cuda", "auto",
     "where to compute: cpu; cuda, or cuda:1 (counted from 0; CUDA_VISIBLE_DEVICES hides some); auto is the first CUDA device of use, else the CPU, and says why", V(LOGITS) | V(IMATRIX) | V(GENERATE) | V(FIT) | V(KV), CMD_SHAPES_BYTES},
    {OPT_COMPUTE, "compute", 0, "TYPE", CMD_KIND_CHOICE, "f32 bf16 ggml", NULL,
     "numbers that matrix products multiply; sums are float32. The CPU's default is f32, that of a CUDA device bf16, which is faster and rounds weights and activations: "
     "compare its figures only with figures in bf16. ggml, of the CPU only, rounds activations as llama.cpp's kernels do, so that figures include what its arithmetic costs", RUNNERS, CMD_SHAPES_BYTES},
    {OPT_DEVICE_MEMORY, "device-memory", 0, "SIZE", CMD_KIND_SIZE, NULL, NULL,
     "use no more memory of a CUDA device: 24G and 24GiB are 24 * 2^30 bytes, 24GB is 24 * 10^9. Weights that find no room are read anew for each batch", RUNNERS, 0},
    {OPT_BATCH, "batch", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "tokens of windows that go through the layers together, about: more is faster and needs more memory. The device decides when it is not given", V(EVAL) | V(COMPARE) | V(IMATRIX) | V(FIT) | V(KV), CMD_SHAPES_BYTES},
    {OPT_TENSORS, "tensors", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "list the tensors: type, shape, offset, bytes", V(INSPECT), 0},
    {OPT_METADATA, "metadata", 0, "KEY", CMD_KIND_TEXT, NULL, NULL,
     "print the metadata; with KEY the whole value of that key", V(INSPECT), CMD_MAY_LACK},
    {OPT_DIFF, "diff", 0, "OTHER", CMD_KIND_PATH, NULL, NULL,
     "list the metadata and tensors in which MODEL and OTHER differ; exit with 1 when there are any", V(INSPECT), 0},
    {OPT_FAST, "fast", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "compare XXH3 instead of SHA-256: finds accidents, not tampering", V(VERIFY), 0},
    {OPT_WHOLE, "whole", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "compute the hash of every file as a whole. Without it one of more than 256 MiB is verified by the lock's hashes of its tensors and of what lies in none, on all threads; that of the file is the lock's word then", V(VERIFY), 0},
    {OPT_ALLOW_EXTRA, "allow-extra", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "accept files beside the pinned ones that the lock does not know", V(VERIFY), 0},
    {OPT_KEY, "key", 0, "KEY", CMD_KIND_PATH, NULL, NULL,
     "verify the signature of the folder with this public key (PEM; P-256, P-384 or P-521)", V(VERIFY), 0},
    {OPT_IGNORE_UNSIGNED, "ignore-unsigned", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "accept files in the folder that the signature does not cover", V(VERIFY), 0},
    {OPT_LINES, "lines", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "treat each line as a text of its own and print its ids on one line", V(TOKENIZE), 0},
    {OPT_NO_SPECIAL, "no-special", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "keep the text of special tokens literal", V(TOKENIZE) | V(GENERATE), 0},
    {OPT_NO_BOS, "no-bos", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "do not add the tokens that the model wants around a text", V(TOKENIZE), 0},
    {OPT_TOKENS, "tokens", 0, "IDS", CMD_KIND_PATH, NULL, NULL,
     "file of token ids, int32 little endian, - for standard input", V(LOGITS), CMD_REQUIRED},
    {OPT_LENGTH, "length", 0, "N", CMD_KIND_NUMBER, NULL, NULL,
     "tokens a sequence; the ids are cut into sequences of N. Without it all ids are one sequence", V(LOGITS), 0},
    {OPT_PROMPT, "prompt", 'p', "TEXT", CMD_KIND_TEXT, NULL, NULL,
     "text to continue; may be repeated, the prompts then share their passes", V(GENERATE), CMD_REPEATS},
    {OPT_FILE, "file", 'f', "FILE", CMD_KIND_PATH, NULL, NULL,
     "a prompt from a file, - for standard input. May be repeated", V(GENERATE), CMD_REPEATS},
    {OPT_MAX_TOKENS, "max-tokens", 'n', "N", CMD_KIND_NUMBER, NULL, "128",
     "write at most N tokens", V(GENERATE), 0},
    {OPT_CONTEXT, "ctx", 'c', "N", CMD_KIND_NUMBER, NULL, NULL,
     "most tokens of prompt and text together; the default is what the model was trained for", V(GENERATE), 0},
    {OPT_STOP, "stop", 0, "TEXT", CMD_KIND_TEXT, NULL, NULL,
     "end in front of TEXT when the model writes it. May be repeated", V(GENERATE), CMD_REPEATS},
    {OPT_TEMPERATURE, "temperature", 0, "T", CMD_KIND_REAL, NULL, NULL,
     "draw tokens from softmax(logits / T); without it, or with 0, the most likely one is taken", V(GENERATE), 0},
    {OPT_SEED, "seed", 0, "N", CMD_KIND_NUMBER, NULL, "1",
     "seed of the draws of --temperature: the same seed gives the same text", V(GENERATE), 0},
    {OPT_REFERENCE, "reference", 0, "MODEL", CMD_KIND_PATH, NULL, NULL,
     "continue the same prompts with this model too, and show where the texts first differ", V(GENERATE), 0},
    {OPT_MAN, "man", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "print the manual page in troff", V(HELP), CMD_HIDDEN},
    {OPT_COMPLETION, "completion", 0, "SHELL", CMD_KIND_CHOICE, "bash zsh fish", NULL,
     "print the completion script for a shell", V(HELP), 0},
    {OPT_JSON, "json", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "print one JSON document", READERS | V(ENV), 0},
    {OPT_THREADS, "threads", 'j', "N", CMD_KIND_NUMBER, NULL, NULL,
     "use N threads; the default is OMP_NUM_THREADS, else the CPUs that the system grants. The output does not depend on it", READERS, 0},
    {OPT_STRICT, "strict", 0, NULL, CMD_KIND_FLAG, NULL, NULL,
     "treat warnings about inputs as errors", READERS, 0},
    {OPT_QUIET, "quiet", 'q', NULL, CMD_KIND_FLAG, NULL, NULL,
     "no progress, no warnings", ALL, 0},
    {OPT_VERBOSE, "verbose", 'v', NULL, CMD_KIND_FLAG, NULL, NULL,
     "say more on standard error", ALL, 0},
    {OPT_PROGRESS, "progress", 0, "WHEN", CMD_KIND_CHOICE, "auto always never", "auto",
     "show progress on standard error; auto: when it is a terminal", READERS, 0},
    {OPT_COLOR, "color", 0, "WHEN", CMD_KIND_CHOICE, "auto always never", "auto",
     "colour messages; auto: on a terminal, subject to NO_COLOR and CLICOLOR_FORCE", ALL, 0},
    {OPT_HELP, "help", 'h', NULL, CMD_KIND_FLAG, NULL, NULL, "show this text", ALL, 0},
};
/* clang-format on */

enum { N_ROWS = sizeof table / sizeof table[0], MAX_NAME = 64 };

const cmd_option *cmd_option_at(cmd_verb_id verb, size_t i)
{
    for (size_t row = 0; row < N_ROWS; row++)
        if ((table[row].verbs & 1u << verb) && i-- == 0)
            return &table[row];
    return NULL;
}

/* Edits (insert, drop, replace, exchange neighbours) that turn a into b, when both are shorter than MAX_NAME. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), d[3][MAX_NAME + 1];
    if (n > MAX_NAME || m > MAX_NAME)
        return MAX_NAME;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = d[i % 3], *last = d[(i + 2) % 3], *before = d[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
    }
    return d[n % 3][m];
}

const char *cmd_nearest(const char *text, const char *(*next)(size_t i, const void *ctx), const void *ctx)
{
    size_t len = strlen(text), least = len / 3 + 1;
    const char *found = NULL, *name;
    for (size_t i = 0; (name = next(i, ctx)) != NULL; i++) {
        /* a cut-off or continued word is near whatever the number of letters */
        size_t common = strncmp(name, text, len < strlen(name) ? len : strlen(name)) == 0 && len > 2;
        size_t distance = common ? 1 : edit_distance(text, name);
        if (distance < least || (distance == least && found == NULL)) {
            least = distance;
            found = name;
        }
    }
    return found;
}

static const char *next_option_name(size_t i, const void *ctx)
{
    const cmd_option *option = cmd_option_at(((const cmd_verb *)ctx)->id, i);
    return option != NULL ? option->name : NULL;
}

const pare_preset *cmd_preset_at(size_t i)
{
    const pare_preset *preset;
    for (size_t k = 0; (preset = pare_preset_at(k)) != NULL; k++) {
        if (pare_encoder(preset->base) != NULL && i-- == 0)
            return preset;
    }
    return NULL;
}

bool cmd_parse_size(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || text[strspn(text, "0123456789.")] == 'x' || strcspn(text, "eE") < (size_t)(end - text))
        return false;
    const char *unit = *end != '\0' ? strchr(units, toupper((unsigned char)*end)) : NULL;
    double step = 1;
    if (unit != NULL) {
        bool decimal = strcmp(end + 1, "B") == 0;
        if (!decimal && end[1] != '\0' && strcmp(end + 1, "iB") != 0)
            return false;
        step = pow(decimal ? 1000 : 1024, (double)(unit - units) + 1);
    } else if (*end != '\0' && strcmp(end, "B") != 0)
        return false;
    value *= step;
    if (!(value >= 1 && value < 9007199254740992.0)) /* 2^53: exact in a double */
        return false;
    *out = (uint64_t)value;
    return true;
}

static bool parse_number(const char *text, uint64_t *out)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 9 || text[digits] != '\0')
        return false;
    *out = strtoul(text, NULL, 10);
    return *out > 0;
}

static bool parse_real(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*out) && *out >= 0;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);
    for (const char *at = choices; *at != '\0'; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        if (n == len && memcmp(at, text, n) == 0)
            return true;
        at += n;
    }
    return false;
}

static pare_status check_value(const cmd_verb *verb, const cmd_option *option, const char *text, pare_error *err)
{
    uint64_t number;
    double real;
    const char *expected = NULL;
    if (text == NULL)
        return PARE_OK;
    if (option->kind == CMD_KIND_NUMBER && !parse_number(text, &number))
        expected = "a whole number from 1 to 999999999";
    else if (option->kind == CMD_KIND_SIZE && !((option->traits & CMD_MAY_BE_ZERO) != 0 && strcmp(text, "0") == 0) &&
             !cmd_parse_size(text, &number))
        expected = "a size such as 500M, 24G (2^30) or 24GB (10^9)";
    else if (option->kind == CMD_KIND_REAL && !parse_real(text, &real))
        expected = "a number that is not negative";
    else if (option->kind == CMD_KIND_CHOICE && !is_choice(option->choices, text))
        expected = option->choices;
    else if (option->kind == CMD_KIND_PATH && *text == '\0')
        expected = "a name";
    if (expected == NULL)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE, "%s: --%s '%s': expected %s%s", verb->name, option->name, text,
                     option->kind == CMD_KIND_CHOICE ? "one of: " : "", expected);
}

/* The array for getopt_long and the string of short options, from the rows of the verb. */
typedef struct getopt_form {
    struct option longs[N_ROWS + 1];
    const cmd_option *rows[N_ROWS];
    char shorts[2 * N_ROWS + 2];
} getopt_form;

static void make_form(getopt_form *form, cmd_verb_id verb)
{
    const cmd_option *option;
    char *letter = form->shorts;
    *form = (getopt_form){0};
    *letter++ = ':'; /* getopt says ':' for a lacking argument */
    for (size_t i = 0; (option = cmd_option_at(verb, i)) != NULL; i++) {
        int argument = option->argument == NULL        ? no_argument
                       : option->traits & CMD_MAY_LACK ? optional_argument
                                                       : required_argument;
        form->longs[i] = (struct option){option->name, argument, NULL, 256 + (int)i};
        form->rows[i] = option;
        if (option->letter != 0) {
            *letter++ = option->letter;
            if (argument == required_argument)
                *letter++ = ':';
        }
    }
}

static const cmd_option *by_letter(const getopt_form *form, int letter)
{
    for (size_t i = 0; form->rows[i] != NULL; i++)
        if (form->rows[i]->letter == letter)
            return form->rows[i];
    return NULL;
}

/* getopt_long takes any prefix that fits one option only. A script that relies on one breaks when a longer list of
 * options makes it ambiguous, so the whole name is asked for. */
static bool is_whole_name(const cmd_option *option, char **argv)
{
    const char *word = argv[optind - 1];
    if (optarg != NULL && optarg == word)
        word = argv[optind - 2];
    size_t len = strcspn(word + 2, "=");
    return len == strlen(option->name) && memcmp(word + 2, option->name, len) == 0;
}

static pare_status unknown_option(const cmd_verb *verb, const char *word, pare_error *err)
{
    char name[MAX_NAME + 1] = "";
    if (strncmp(word, "--", 2) != 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: unknown option '-%c'", verb->name, optopt);
    size_t len = strcspn(word + 2, "=");
    memcpy(name, word + 2, len < MAX_NAME ? len : MAX_NAME);
    const char *near = cmd_nearest(name, next_option_name, verb);
    if (near == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "%s: unknown option '--%s'", verb->name, name);
    return pare_fail(err, PARE_ERR_USAGE, "%s: unknown option '--%s'; did you mean '--%s'?", verb->name, name, near);
}

static pare_status add_given(cmd_args *args, const cmd_option *option, const char *text, pare_error *err)
{
    bool single = option->argument != NULL && !(option->traits & CMD_REPEATS);
    if (single && cmd_has(args, option->id))
        return pare_fail(err, PARE_ERR_USAGE, "%s: --%s is given twice", args->verb->name, option->name);
    pare_status st = check_value(args->verb, option, text, err);
    if (st == PARE_OK)
        args->given[args->n_given++] = (cmd_given){option, text};
    return st;
}

static pare_status parse_options(cmd_args *args, const getopt_form *form, int argc, char **argv, pare_error *err)
{
    pare_status st = PARE_OK;
    opterr = 0;
    optind = 0; /* glibc: start afresh */
    while (st == PARE_OK) {
        int c = getopt_long(argc, argv, form->shorts, form->longs, NULL);
        if (c == -1)
            break;
        const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
        if (c == '?' && optopt >= 256) /* --flag=value */
            st = pare_fail(err, PARE_ERR_USAGE, "%s: --%s takes no value", args->verb->name,
                           form->rows[optopt - 256]->name);
        else if (c == '?')
            st = unknown_option(args->verb, optopt == 0 ? word : "-", err);
        else if (c == ':') {
            const cmd_option *option = optopt >= 256 ? form->rows[optopt - 256] : by_letter(form, optopt);
            st = pare_fail(err, PARE_ERR_USAGE, "%s: --%s needs %s", args->verb->name, option->name, option->argument);
        } else if (c >= 256 && !is_whole_name(form->rows[c - 256], argv))
            st = unknown_option(args->verb, optarg == word ? argv[optind - 2] : word, err);
        else
            st = add_given(args, c >= 256 ? form->rows[c - 256] : by_letter(form, c), optarg, err);
    }
    return st;
}

static pare_status check_presence(const cmd_args *args, const getopt_form *form, pare_error *err)
{
    const cmd_verb *verb = args->verb;
    if (args->n_operands < (size_t)verb->min_operands)
        return pare_fail(err, PARE_ERR_USAGE, "%s: %s is missing", verb->name, verb->operands);
    if (args->n_operands > (size_t)verb->max_operands)
        return pare_fail(err, PARE_ERR_USAGE, "%s: one argument too many: '%s'", verb->name,
                         args->operands[verb->max_operands]);
    for (size_t i = 0; form->rows[i] != NULL; i++)
        if ((form->rows[i]->traits & CMD_REQUIRED) && !cmd_has(args, form->rows[i]->id))
            return pare_fail(err, PARE_ERR_USAGE, "%s: --%s %s is missing", verb->name, form->rows[i]->name,
                             form->rows[i]->argument);
    return PARE_OK;
}

/* Names that begin with a store's scheme, and the Hub's folder of a repository, become paths (formats/store.h). */
static pare_status resolve(cmd_args *args, const char **text, pare_error *err)
{
    char *path = NULL;
    pare_status st = pare_store_resolve(&path, *text, err);
    if (path != NULL)
        *text = args->owned[args->n_owned++] = path;
    return st;
}

static bool names_input(const cmd_option *option)
{
    static const char *const read[] = {"MODEL", "OTHER", "TEXT"};
    for (size_t i = 0; i < sizeof read / sizeof *read && option->argument != NULL; i++)
        if (strcmp(option->argument, read[i]) == 0)
            return true;
    return option->id == OPT_INPUTS || option->id == OPT_IMATRIX || option->id == OPT_PROJECTOR ||
           option->id == OPT_DRAFT;
}

bool cmd_option_is_read(const cmd_option *option)
{
    static const cmd_option_id others[] = {OPT_FILE, OPT_IN, OPT_LOGITS, OPT_TASK, OPT_SHOTS, OPT_TOKENS};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (option->id == others[i])
            return true;
    return names_input(option) && option->id != OPT_INPUTS;
}

/* A store is never written to: only what is read has a name of one. */
static pare_status resolve_all(cmd_args *args, pare_error *err)
{
    pare_status st = PARE_OK;
    if ((args->owned = calloc(args->n_operands + args->n_given + 1, sizeof *args->owned)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu names", args->n_operands + args->n_given);
    for (size_t i = 0; i < args->n_operands && st == PARE_OK; i++) {
        const char *text = args->operands[i];
        st = resolve(args, &text, err);
        args->operands[i] = (char *)(uintptr_t)text;
    }
    for (size_t i = 0; i < args->n_given && st == PARE_OK; i++)
        if (args->given[i].text != NULL && names_input(args->given[i].option))
            st = resolve(args, &args->given[i].text, err);
        else if (args->given[i].text != NULL && args->given[i].option->kind == CMD_KIND_PATH &&
                 pare_store_has_name(args->given[i].text))
            st = pare_fail(err, PARE_ERR_USAGE, "%s: --%s %s: nothing is written to a store; give a path",
                           args->verb->name, args->given[i].option->name, args->given[i].text);
    return st;
}

pare_status cmd_args_parse_words(cmd_args *args, const cmd_verb *verb, int argc, char **argv, pare_error *err)
{
    getopt_form form;
    *args = (cmd_args){.verb = verb,
                       .given = calloc((size_t)argc + 1, sizeof *args->given),
                       .words = calloc((size_t)argc + 1, sizeof *args->words)};
    if (args->given == NULL || args->words == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %d arguments", argc);
    for (; args->n_words < (size_t)argc; args->n_words++)
        args->words[args->n_words] = argv[args->n_words]; /* getopt_long moves operands */
    make_form(&form, verb->id);
    pare_status st = parse_options(args, &form, argc, argv, err);
    if (st == PARE_OK) {
        args->operands = argv + optind;
        args->n_operands = (size_t)(argc - optind);
        if (!cmd_has(args, OPT_HELP))
            st = check_presence(args, &form, err);
    }
    return st;
}

pare_status cmd_args_parse(cmd_args *args, const cmd_verb *verb, int argc, char **argv, pare_error *err)
{
    pare_status st = cmd_args_parse_words(args, verb, argc, argv, err);
    return st == PARE_OK && !cmd_has(args, OPT_HELP) ? resolve_all(args, err) : st;
}

void cmd_args_close(cmd_args *args)
{
    for (size_t i = 0; i < args->n_owned; i++)
        free(args->owned[i]);
    free(args->owned);
    free(args->given);
    free(args->words);
    *args = (cmd_args){0};
}

size_t cmd_count(const cmd_args *args, cmd_option_id id)
{
    size_t n = 0;
    for (size_t i = 0; i < args->n_given; i++)
        n += args->given[i].option->id == id;
    return n;
}

bool cmd_has(const cmd_args *args, cmd_option_id id)
{
    return cmd_count(args, id) > 0;
}

const char *cmd_nth(const cmd_args *args, cmd_option_id id, size_t n)
{
    for (size_t i = 0; i < args->n_given; i++)
        if (args->given[i].option->id == id && n-- == 0)
            return args->given[i].text;
    return NULL;
}

const char *cmd_text(const cmd_args *args, cmd_option_id id)
{
    const cmd_option *option;
    if (cmd_has(args, id))
        return cmd_nth(args, id, 0);
    for (size_t i = 0; args->verb != NULL && (option = cmd_option_at(args->verb->id, i)) != NULL; i++)
        if (option->id == id)
            return option->otherwise;
    return NULL;
}

uint64_t cmd_number(const cmd_args *args, cmd_option_id id)
{
    uint64_t value = 0;
    const char *text = cmd_text(args, id);
    if (text != NULL && !parse_number(text, &value))
        cmd_parse_size(text, &value);
    return value;
}

double cmd_real(const cmd_args *args, cmd_option_id id)
{
    double value = 0;
    const char *text = cmd_text(args, id);
    if (text != NULL)
        parse_real(text, &value);
    return value;
}
