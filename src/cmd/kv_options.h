/* cmd/kv_options.h - the caches that `pare kv` measures, and at which lengths */
#ifndef PARE_CMD_KV_OPTIONS_H
#define PARE_CMD_KV_OPTIONS_H

#include "cmd/options.h"
#include "eval/kv.h"

enum { CMD_KV_MAX_DEPTHS = 16 };

typedef struct cmd_kv_form {
    pare_kv_form form;   /* key_mean is set by who has the means: where has_mean is */
    char name[64];       /* "q8_0/q4_0", "q4_0 llama", "q4_0 full -mean": type, rotation unless off */
    char programs[64];   /* that keep such a cache, "llama.cpp, ik_llama.cpp"; "": none is known, for research */
    uint64_t bytes_1024; /* of so many tokens */
    bool has_mean;       /* keys are kept without their mean */
} cmd_kv_form;

/* A cache that the model cannot be kept in. */
typedef struct cmd_kv_left {
    char name[64]; /* as in --cache, " -mean" behind it where it is kept with its mean */
    char why[256]; /* the error's text */
} cmd_kv_left;

/* Zeroed is closed. */
typedef struct cmd_kv_request {
    cmd_kv_form *forms; /* [n_forms] owned, the largest first */
    size_t n_forms;
    cmd_kv_left *left_out; /* [n_left_out] owned, in the order of the list */
    size_t n_left_out;
    uint32_t depths[CMD_KV_MAX_DEPTHS]; /* [n_depths] tokens a window, ascending */
    size_t n_depths;
} cmd_kv_request;

/* --cache, --rotate and --mean, for m. What --cache all or the list without --cache has and m cannot be kept in is left
 * out and told, as are rows of --mean; what --rotate both has in silence. Of forms that come to the same thing the
 * first one stays. Errors: PARE_ERR_USAGE (an unknown type, one for the other side; nothing is left),
 * PARE_ERR_UNSUPPORTED (a model without a cache), those of pare_kv_check, PARE_ERR_MEMORY; to be closed then too */
pare_status cmd_kv_forms(cmd_kv_request *r, const cmd_args *args, const pare_model *m, pare_error *err);

/* --depths, or what m and a text of n_tokens have room for. Errors: PARE_ERR_USAGE (no number; one twice; below 4; too
 * many; more than half of the text) */
pare_status cmd_kv_depths(cmd_kv_request *r, const cmd_args *args, const pare_model *m, size_t n_tokens,
                          pare_error *err);

void cmd_kv_request_close(cmd_kv_request *r);

/* Print the table of codecs, or as JSON. */
pare_status cmd_kv_list(const cmd_args *args, pare_error *err);

#endif
