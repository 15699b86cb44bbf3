/* cmd/fit_options.h - what the options of fit say of memory, of how a model is to be run, and of what may be chosen */
#ifndef PARE_CMD_FIT_OPTIONS_H
#define PARE_CMD_FIT_OPTIONS_H

#include "cmd/options.h"
#include "fit/slowness.h"
#include "memory/placement.h"
#include "recipe/recipe.h"

enum { CMD_FIT_MAX_BUDGETS = 64 };

/* Cards that one budget is. */
typedef struct cmd_fit_memory {
    pare_memory_device devices[PARE_MEMORY_MAX_DEVICES]; /* [n_devices] */
    uint32_t n_devices;
} cmd_fit_memory;

/* Zeroed is closed. */
typedef struct cmd_fit_request {
    pare_memory_device devices[PARE_MEMORY_MAX_DEVICES]; /* [n_devices] of a list of budgets those of the smallest */
    uint32_t n_devices;
    cmd_fit_memory *memories; /* [n_memories] owned: several budgets, ascending; none: what is above is the one */
    size_t n_memories;
    bool pareto;  /* sizes are found in the types' range */
    uint64_t ram; /* of the host, for what does not fit on the devices; 0: nothing may lie there */
    uint64_t sizes[CMD_FIT_MAX_BUDGETS]; /* [n_sizes] --size: of files, ascending */
    size_t n_sizes;
    const pare_memory_runtime *runtime;
    pare_memory_run run;              /* n_ctx 0: what the model was trained for */
    const pare_preset *preset;        /* --type: nothing is chosen; NULL: it is */
    pare_type types[PARE_TYPE_COUNT]; /* [n_types] --types; none: all */
    size_t n_types;
    pare_type_override *keep; /* [n_keep] owned, as their patterns */
    size_t n_keep;
    double min_bits;
    pare_fit_target prefer_fast;
    pare_effort effort;
    bool allow_requantize; /* sources that are quantized already */
} cmd_fit_request;

/* Are types chosen by a text? Else memory is planned. */
bool cmd_fit_chooses(const cmd_args *args);

/* How many budgets files are to be made for; of --pareto as soon as the sizes are known. */
size_t cmd_fit_n_budgets(const cmd_fit_request *r);

/* Errors: PARE_ERR_USAGE (no budget, or two kinds of one; an unknown card, with near names; lists that say nothing;
 * options that would do nothing; a type that no cache or file may have), PARE_ERR_MEMORY; to be closed then too. */
pare_status cmd_fit_request_parse(cmd_fit_request *r, const cmd_args *args, pare_error *err);

/* Of these options those of memory alone: what is there, and how a model is run in it by --runtime, else by llama.cpp.
 * For other commands; nothing may be there. Errors: PARE_ERR_USAGE, PARE_ERR_FORMAT (--projector, --draft) */
pare_status cmd_fit_memory_parse(cmd_fit_request *r, const cmd_args *args, pare_error *err);
void cmd_fit_request_close(cmd_fit_request *r);

#endif
