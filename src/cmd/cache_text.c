#include "cmd/cache_text.h"

#include "cmd/console.h"
#include "cmd/input.h"
#include "cmd/summary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 16384, USUAL_WINDOW = 512 }; /* of the text, about */

/* Errors: the text is for nothing, or there is one standard input for two */
static pare_status check(const cmd_args *args, bool wanted, pare_error *err)
{
    const char *text = cmd_text(args, OPT_CACHE_TEXT);
    if (text == NULL)
        return PARE_OK;
    if (!wanted)
        return pare_fail(err, PARE_ERR_USAGE, "%s: --cache-text is for calibrated types of cache, as klt3.5",
                         args->verb->name);
    for (size_t i = 0; strcmp(text, "-") == 0 && i < cmd_count(args, OPT_FILE); i++)
        if (strcmp(cmd_nth(args, OPT_FILE, i), "-") == 0)
            return pare_fail(err, PARE_ERR_USAGE, "%s: --cache-text and --file both read standard input",
                             args->verb->name);
    return PARE_OK;
}

pare_status cmd_cache_calibrate(cmd_cache_text *t, const cmd_args *args, const pare_model *m, pare_backend *b,
                                const pare_tokenizer *tokenizer, int64_t bos, uint32_t n_ctx,
                                pare_kv_form *const *forms, size_t n_forms, pare_error *err)
{
    pare_ids ids = {0};
    pare_digest digest;
    bool wanted = false;
    for (size_t i = 0; i < n_forms; i++)
        wanted = wanted || pare_kv_wants_calibration(forms[i]);
    pare_status st = check(args, wanted, err);
    if (st != PARE_OK || !wanted)
        return st;
    t->n_ctx = n_ctx > 0 ? n_ctx : USUAL_WINDOW;
    const pare_window_plan plan = {
        .n_ctx = t->n_ctx, .n_chunks = t->n_ctx < TOKENS ? TOKENS / t->n_ctx : 1, .batch_tokens = b->batch_tokens};
    cmd_note("calibrating the cache");
    st = cmd_read_tokens(cmd_text(args, OPT_CACHE_TEXT), tokenizer, &ids, &digest, err);
    if (st == PARE_OK && ids.n < t->n_ctx)
        st = pare_fail(err, PARE_ERR_USAGE, "%s: --cache-text: the text has %zu tokens, and a window %" PRIu32,
                       args->verb->name, ids.n, t->n_ctx);
    if (st == PARE_OK) {
        const pare_kv_text text = {m, b, ids.ids, ids.n, bos, plan};
        t->n_windows = ids.n / t->n_ctx < plan.n_chunks ? (uint32_t)(ids.n / t->n_ctx) : plan.n_chunks;
        pare_hex(t->sha256, digest.sha256, sizeof digest.sha256);
        st = pare_kv_calibrate(&t->calibration, &text, err);
    }
    for (size_t i = 0; i < n_forms && st == PARE_OK; i++) {
        st = pare_kv_calibration_apply(t->calibration, forms[i], err);
        if (st == PARE_OK)
            st = pare_kv_check(forms[i], m, err);
    }
    free(ids.ids);
    return st;
}

void cmd_cache_text_close(cmd_cache_text *t)
{
    pare_kv_calibration_close(t->calibration);
    *t = (cmd_cache_text){0};
}

void cmd_cache_text_json(json_t *o, const cmd_cache_text *t)
{
    if (t->calibration != NULL)
        json_object_set_new(o, "cache_text",
                            json_pack("{s:s, s:I, s:I}", "sha256", t->sha256, "windows", (json_int_t)t->n_windows,
                                      "tokens_a_window", (json_int_t)t->n_ctx));
}
