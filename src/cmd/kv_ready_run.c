#include "cmd/kv_ready_run.h"

#include "cmd/console.h"
#include "cmd/input.h"
#include "cmd/summary.h"
#include "eval/backend.h"
#include "eval/key_collect.h"
#include "recipe/calibration.h"
#include "recipe/kv_ready.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOWS = 16 }; /* of the text, at most */

/* Keys and queries of the first windows of a text. */
static pare_status collect(cmd_kv_ready *told, const char *text, const pare_model *in, pare_key_sample *out,
                           cmd_pinning *pinning, pare_error *err)
{
    const pare_window_plan plan = {.n_chunks = WINDOWS};
    pare_tokenizer *tokenizer = NULL;
    pare_backend *backend = NULL;
    pare_ids ids = {0};
    pare_digest digest;
    int64_t bos;
    pare_status st = cmd_open_tokenizer(&tokenizer, in, &bos, err);
    if (st == PARE_OK)
        st = cmd_read_tokens(text, tokenizer, &ids, &digest, err);
    if (st == PARE_OK)
        st = pare_backend_cpu(&backend, err);
    if (st == PARE_OK)
        st = pare_key_collect(out, in, backend, ids.ids, ids.n, bos, &plan, err);
    if (st == PARE_ERR_USAGE)
        pare_fail_in(err, st, text);
    if (st == PARE_OK) {
        pare_hex(told->text, digest.sha256, sizeof digest.sha256);
        if (strcmp(text, "-") == 0)
            memcpy(pinning->standard_input, told->text, sizeof told->text);
    }
    if (backend != NULL)
        backend->close(backend);
    free(ids.ids);
    pare_tokenizer_close(tokenizer);
    return st;
}

static pare_status fit(cmd_kv_ready *told, pare_kv_ready *r, const cmd_args *args, const pare_model *in,
                       cmd_pinning *pinning, pare_error *err)
{
    const char *text = cmd_text(args, OPT_KV_TEXT);
    pare_key_sample *samples = NULL;
    pare_status st = PARE_OK;
    if (text != NULL) {
        if ((samples = calloc((size_t)in->hp.n_layer + 1, sizeof *samples)) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for keys of %" PRIu32 " layers", in->hp.n_layer);
        st = collect(told, text, in, samples, pinning, err);
    }
    if (st == PARE_OK)
        st = pare_kv_ready_fit(r, in, samples, err);
    for (uint32_t i = 0; samples != NULL && i < in->hp.n_layer; i++)
        pare_key_sample_close(&samples[i]);
    free(samples);
    return st;
}

static pare_status turn_statistics(const pare_kv_ready *r, const pare_model *in, pare_imatrix *im, const char *output,
                                   pare_error *err)
{
    uint32_t n_spread = 0;
    pare_status st = pare_calibration_check(im, in, err);
    if (st == PARE_OK)
        st = pare_kv_ready_statistics(r, in, im, output, &n_spread, err);
    if (st == PARE_OK && n_spread > 0)
        st =
            pare_warn(err,
                      "%s: values are rotated: importances of %" PRIu32 " attention outputs are spread over the heads. "
                      "With those of pare imatrix --full, or of the model that pare convert --kv-ready writes, they "
                      "are exact",
                      im->path, n_spread);
    return st;
}

pare_status cmd_kv_ready_apply(cmd_kv_ready *told, const cmd_args *args, pare_model *in, pare_imatrix *im,
                               const char *output, cmd_pinning *pinning, pare_error *err)
{
    pare_kv_ready r = {0};
    *told = (cmd_kv_ready){.ratio = NAN};
    if (!cmd_has(args, OPT_KV_READY))
        return !cmd_has(args, OPT_KV_TEXT)
                   ? PARE_OK
                   : pare_fail(err, PARE_ERR_USAGE, "%s: --kv-text is for --kv-ready", args->verb->name);
    pare_status st = pare_kv_ready_find(&r, in, err);
    if (st == PARE_OK && r.left != NULL)
        st = pare_warn(err, "%s: %s", in->path, r.left);
    if (st == PARE_OK && !cmd_has(args, OPT_DRY_RUN))
        st = fit(told, &r, args, in, pinning, err);
    if (st == PARE_OK && im != NULL)
        st = turn_statistics(&r, in, im, output, err);
    if (st == PARE_OK)
        st = pare_kv_ready_apply(in, &r, err);
    told->done = st == PARE_OK;
    told->n_keys = r.n_keys;
    told->n_values = r.n_values;
    told->ratio = r.mean_ratio;
    pare_kv_ready_close(&r);
    return st;
}

void cmd_kv_ready_json(json_t *doc, const cmd_kv_ready *told)
{
    if (!told->done)
        return;
    json_t *item = json_object();
    cmd_json_u64(item, "layers_scaled", told->n_keys);
    cmd_json_u64(item, "layers_rotated", told->n_values);
    cmd_json_real(item, "ratio", told->ratio);
    json_object_set_new(doc, "kv_ready", item);
}

void cmd_kv_ready_print(const cmd_kv_ready *told)
{
    if (!told->done)
        return;
    printf("ready for a quantized cache: values of %" PRIu32 " layers rotated, keys of %" PRIu32 " scaled",
           told->n_values, told->n_keys);
    if (isfinite(told->ratio))
        printf(", which left %.3f of the error of q.k in q4_0", told->ratio);
    putchar('\n');
}
