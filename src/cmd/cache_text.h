/* cmd/cache_text.h - --cache-text: the text that calibrated types of keys and values are made from */
#ifndef PARE_CMD_CACHE_TEXT_H
#define PARE_CMD_CACHE_TEXT_H

#include "cmd/options.h"
#include "core/hash.h"
#include "eval/kv_calibrate.h"
#include "eval/tokenizer.h"

#include <jansson.h>

/* Zeroed is closed. */
typedef struct cmd_cache_text {
    pare_kv_calibration *calibration; /* NULL: no form wanted one */
    char sha256[PARE_SHA256_HEX];     /* of the text */
    uint32_t n_windows, n_ctx;        /* that were read of it */
} cmd_cache_text;

/* Calibrate by windows of up to n_ctx tokens if one of the forms wants it: they then have their codecs, which are t's.
 * Errors: PARE_ERR_USAGE (--cache-text for nothing, or standard input twice), those of cmd_read_tokens, pare_kv_calibrate and
 * pare_kv_check; to be closed then too */
pare_status cmd_cache_calibrate(cmd_cache_text *t, const cmd_args *args, const pare_model *m, pare_backend *b,
                                const pare_tokenizer *tokenizer, int64_t bos, uint32_t n_ctx,
                                pare_kv_form *const *forms, size_t n_forms, pare_error *err);
void cmd_cache_text_close(cmd_cache_text *t);

/* {sha256, windows, tokens_a_window} as member "cache_text" of o, if there was one. */
void cmd_cache_text_json(json_t *o, const cmd_cache_text *t);

#endif
