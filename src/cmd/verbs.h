/* cmd/verbs.h - the verbs: one row a verb, one file a verb (cmd_<verb>.c) */
#ifndef PARE_CMD_VERBS_H
#define PARE_CMD_VERBS_H

#include "core/error.h"

typedef enum cmd_verb_id {
    CMD_INSPECT,
    CMD_CONVERT,
    CMD_QUANTIZE,
    CMD_FIT,
    CMD_IMATRIX,
    CMD_EVAL,
    CMD_COMPARE,
    CMD_REPORT,
    CMD_PIN,
    CMD_VERIFY,
    CMD_REPRODUCE,
    CMD_TOKENIZE,
    CMD_LOGITS,
    CMD_GENERATE,
    CMD_KV,
    CMD_ENV,
    CMD_HELP,
    CMD_VERB_COUNT
} cmd_verb_id;

struct cmd_args;

/* A command to show in help: what it does, then how to type it. */
typedef struct cmd_example {
    const char *text, *command;
} cmd_example;

enum { CMD_MAX_EXAMPLES = 5, CMD_ANY_NUMBER = 1 << 30 };

typedef struct cmd_verb {
    cmd_verb_id id;
    const char *name;
    const char *operands; /* as in a synopsis: "MODEL -o OUT" */
    const char *summary;  /* one line, lower case, no full stop */
    const char *text;     /* paragraphs, divided by newlines */
    cmd_example examples[CMD_MAX_EXAMPLES];
    int min_operands, max_operands;
    bool lists_presets; /* help shows the quantization presets */

    /* Does the work and prints the result to stdout. A failure comes back in err, and main prints it; a difference that
     * was found and printed comes back as PARE_ERR_DIFFERENCE with an empty text. */
    pare_status (*run)(const struct cmd_args *args, pare_error *err);
} cmd_verb;

const cmd_verb *cmd_verb_at(size_t i); /* NULL behind the last */
const cmd_verb *cmd_verb_find(const char *name);

/* The same, failing with PARE_ERR_USAGE and the nearest verb when there is none of that name. */
pare_status cmd_verb_require(const cmd_verb **verb, const char *name, pare_error *err);

pare_status cmd_inspect(const struct cmd_args *args, pare_error *err);
pare_status cmd_convert(const struct cmd_args *args, pare_error *err);
pare_status cmd_quantize(const struct cmd_args *args, pare_error *err);
pare_status cmd_fit(const struct cmd_args *args, pare_error *err);
pare_status cmd_imatrix(const struct cmd_args *args, pare_error *err);
pare_status cmd_eval(const struct cmd_args *args, pare_error *err);
pare_status cmd_compare(const struct cmd_args *args, pare_error *err);
pare_status cmd_report(const struct cmd_args *args, pare_error *err);
pare_status cmd_pin(const struct cmd_args *args, pare_error *err);
pare_status cmd_verify(const struct cmd_args *args, pare_error *err);
pare_status cmd_reproduce(const struct cmd_args *args, pare_error *err);
pare_status cmd_tokenize(const struct cmd_args *args, pare_error *err);
pare_status cmd_logits(const struct cmd_args *args, pare_error *err);
pare_status cmd_generate(const struct cmd_args *args, pare_error *err);
pare_status cmd_kv(const struct cmd_args *args, pare_error *err);
pare_status cmd_env(const struct cmd_args *args, pare_error *err);
pare_status cmd_help(const struct cmd_args *args, pare_error *err);

#endif
