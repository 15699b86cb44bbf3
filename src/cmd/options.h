/* cmd/options.h - the one table of options; parsing, help, man pages and completion all grow from it */
#ifndef PARE_CMD_OPTIONS_H
#define PARE_CMD_OPTIONS_H

#include "cmd/verbs.h"
#include "quant/preset.h"

#include <stdint.h>

typedef enum cmd_option_id {
    OPT_OUTPUT,
    OPT_TYPE,
    OPT_PURE,
    OPT_TENSOR,
    OPT_OUTPUT_TYPE,
    OPT_EMBEDDING_TYPE,
    OPT_DTYPE,
    OPT_FORMAT,
    OPT_BITS,
    OPT_GROUP_SIZE,
    OPT_WHOLE_ROWS,
    OPT_SYMMETRIC,
    OPT_VRAM,
    OPT_GPU,
    OPT_RAM,
    OPT_SIZE,
    OPT_PARETO,
    OPT_RESERVE,
    OPT_SEQUENCES,
    OPT_KV,
    OPT_CACHE_K,
    OPT_CACHE_V,
    OPT_CACHE_ROTATE,
    OPT_CACHE_PROTECT,
    OPT_CACHE_SINKS,
    OPT_CACHE_RECENT,
    OPT_CACHE_TEXT,
    OPT_CACHE,
    OPT_LIST,
    OPT_ROTATE,
    OPT_MEAN,
    OPT_DEPTHS,
    OPT_HEADS,
    OPT_NEEDLE,
    OPT_RESEARCH,
    OPT_NO_FLASH_ATTN,
    OPT_UBATCH,
    OPT_PROJECTOR,
    OPT_DRAFT,
    OPT_RUNTIME,
    OPT_PLAN_ONLY,
    OPT_TABLE,
    OPT_MEASURE,
    OPT_MEASURE_LOG,
    OPT_MEASURED,
    OPT_TEST,
    OPT_KEEP,
    OPT_TYPES,
    OPT_MIN_BITS,
    OPT_PREFER_FAST,
    OPT_STATE,
    OPT_IMATRIX,
    OPT_METHOD,
    OPT_SEQUENTIAL,
    OPT_SEQUENTIAL_MEMORY,
    OPT_EFFORT,
    OPT_REFIT,
    OPT_KV_READY,
    OPT_KV_TEXT,
    OPT_SPLIT_SIZE,
    OPT_KEEP_SPLIT,
    OPT_ALLOW_REQUANTIZE,
    OPT_REQUANTIZE,
    OPT_ALLOW_NONFINITE,
    OPT_NO_TENSOR_SCALE,
    OPT_DRY_RUN,
    OPT_FORCE,
    OPT_PIN,
    OPT_LOCK,
    OPT_SUMS,
    OPT_MEASUREMENTS,
    OPT_RECIPE,
    OPT_SIGN,
    OPT_SIGNATURE,
    OPT_CYCLONEDX,
    OPT_HF,
    OPT_INPUTS,
    OPT_FILE,
    OPT_IN,
    OPT_OUTPUT_WEIGHT,
    OPT_FULL,
    OPT_FULL_MEMORY,
    OPT_FULL_EXPERTS,
    OPT_KEEP_EVERY,
    OPT_CONTEXT,
    OPT_CHUNKS,
    OPT_STRIDE,
    OPT_SAMPLE,
    OPT_SEED,
    OPT_CHUNK_RANGE,
    OPT_WORST,
    OPT_CURVE,
    OPT_REFERENCE,
    OPT_RECORD,
    OPT_RESUME,
    OPT_LOGITS,
    OPT_SAVE_LOGITS,
    OPT_LOGITS_BITS,
    OPT_LOGITS_FORMAT,
    OPT_MERGE,
    OPT_QUANTIZE,
    OPT_COMPARISON,
    OPT_TITLE,
    OPT_TASK,
    OPT_TASK_FORMAT,
    OPT_SHOTS,
    OPT_N_SHOT,
    OPT_LIMIT,
    OPT_DESCRIPTION,
    OPT_TASK_CTX,
    OPT_TASK_ITEMS,
    OPT_COMPLETIONS,
    OPT_FAIL_OVER,
    OPT_FAIL_DROP,
    OPT_FAIL_UNDER,
    OPT_EMBEDDING,
    OPT_POOLING,
    OPT_NO_WEIGHTS,
    OPT_REPORT,
    OPT_DEVICE,
    OPT_COMPUTE,
    OPT_DEVICE_MEMORY,
    OPT_BATCH,
    OPT_TENSORS,
    OPT_METADATA,
    OPT_DIFF,
    OPT_FAST,
    OPT_WHOLE,
    OPT_ALLOW_EXTRA,
    OPT_KEY,
    OPT_IGNORE_UNSIGNED,
    OPT_LINES,
    OPT_NO_SPECIAL,
    OPT_NO_BOS,
    OPT_TOKENS,
    OPT_LENGTH,
    OPT_PROMPT,
    OPT_MAX_TOKENS,
    OPT_TEMPERATURE,
    OPT_STOP,
    OPT_MAN,
    OPT_COMPLETION,
    OPT_JSON,
    OPT_THREADS,
    OPT_STRICT,
    OPT_QUIET,
    OPT_VERBOSE,
    OPT_PROGRESS,
    OPT_COLOR,
    OPT_HELP,
    OPT_COUNT
} cmd_option_id;

typedef enum cmd_kind {
    CMD_KIND_FLAG,
    CMD_KIND_TEXT,   /* taken as it is */
    CMD_KIND_PATH,   /* a file or folder, for completion */
    CMD_KIND_NUMBER, /* a whole number >= 1 */
    CMD_KIND_SIZE,   /* bytes: 24G and 24GiB are 24 * 2^30, 24GB is 24 * 10^9 */
    CMD_KIND_REAL,   /* a decimal number >= 0 */
    CMD_KIND_CHOICE, /* one of `choices` */
    CMD_KIND_PRESET  /* a preset or block type, checked by the verb */
} cmd_kind;

typedef enum cmd_trait {
    CMD_REPEATS = 1,  /* may be given several times */
    CMD_MAY_LACK = 2, /* the argument is optional: --metadata[=KEY] */
    CMD_REQUIRED = 4,
    CMD_HIDDEN = 8,        /* works, but help does not list it */
    CMD_SHAPES_BYTES = 16, /* changes the bytes of the output: part of the recipe that a lock records */
    CMD_BYTES_BY_CPU = 32, /* with it the bytes may depend on the kind of CPU, which the recipe says then */
    CMD_MAY_BE_ZERO = 64   /* a size that may be 0 */
} cmd_trait;

/* The same id may have several rows, with help that fits the verbs of each. */
typedef struct cmd_option {
    cmd_option_id id;
    const char *name;
    char letter;          /* 0: none */
    const char *argument; /* its name in help; NULL for a flag */
    cmd_kind kind;
    const char *choices;   /* divided by spaces, or NULL */
    const char *otherwise; /* the value when it is not given, or NULL */
    const char *help;
    unsigned verbs; /* bit 1 << cmd_verb_id */
    unsigned traits;
} cmd_option;

/* The options of a verb, in the order of the table: NULL behind the last. */
const cmd_option *cmd_option_at(cmd_verb_id verb, size_t i);

typedef struct cmd_given {
    const cmd_option *option;
    const char *text; /* NULL: a flag, or an optional argument that is lacking */
} cmd_given;

typedef struct cmd_source cmd_source;

/* A parsed command line; texts are views into argv. Zeroed is closed. */
typedef struct cmd_args {
    const cmd_verb *verb;
    cmd_given *given; /* in the order of the command line */
    size_t n_given;
    char **operands;
    size_t n_operands;
    const char **words; /* [n_words] argv in its own order, the verb first */
    size_t n_words;
    const char *folder_name; /* what the folder of the model is taken to be called, borrowed; NULL: as it is */
    char **owned;            /* [n_owned] paths that names of stores stand for */
    size_t n_owned;
    cmd_source *sources;  /* [n_sources] what is read, as it was at the start: cmd/sources.h */
    size_t n_sources;
} cmd_args;

/* Does the option name what is read? Else, if it is a path, what is written, or a folder to look in. */
bool cmd_option_is_read(const cmd_option *option);

/* Parse argv[1..] (argv[0] is the verb) against the verb's options. Operands are moved to the end of argv.
 * Errors: PARE_ERR_USAGE with the nearest option when one is close; PARE_ERR_MEMORY. */
pare_status cmd_args_parse(cmd_args *args, const cmd_verb *verb, int argc, char **argv, pare_error *err);

/* The same, with names of stores left as they are: for words that nobody typed here, and paths that are found. Reads no
 * file. */
pare_status cmd_args_parse_words(cmd_args *args, const cmd_verb *verb, int argc, char **argv, pare_error *err);
void cmd_args_close(cmd_args *args);

/* Values, checked by cmd_args_parse. An option without its default that was not given: false, NULL, 0. */
bool cmd_has(const cmd_args *args, cmd_option_id id);
size_t cmd_count(const cmd_args *args, cmd_option_id id);
const char *cmd_nth(const cmd_args *args, cmd_option_id id, size_t i); /* i-th of a repeated option */
const char *cmd_text(const cmd_args *args, cmd_option_id id);
uint64_t cmd_number(const cmd_args *args, cmd_option_id id); /* NUMBER and SIZE */
double cmd_real(const cmd_args *args, cmd_option_id id);

/* "24G", "24GiB" -> 24 * 2^30, "24GB" -> 24 * 10^9, "1.5M", "512"; false when it is no size or overflows. */
bool cmd_parse_size(const char *text, uint64_t *out);

/* The presets that this version can write, for help and completion: NULL behind the last. */
const pare_preset *cmd_preset_at(size_t i);

/* The candidate with the smallest number of edits from text, NULL when none is close. next(i, ctx) walks through the
 * candidates and gives NULL behind the last. */
const char *cmd_nearest(const char *text, const char *(*next)(size_t i, const void *ctx), const void *ctx);

#endif
