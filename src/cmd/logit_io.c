#include "cmd/logit_io.h"
#include "cmd/console.h"
#include "cmd/outputs.h"
#include "formats/model_hash.h"
#include "model/vocab.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static pare_status check_options(const cmd_args *args, pare_error *err)
{
    bool saves = cmd_has(args, OPT_SAVE_LOGITS);
    if (cmd_has(args, OPT_LOGITS) && cmd_has(args, OPT_REFERENCE))
        return pare_fail(err, PARE_ERR_USAGE, "%s: --logits takes the place of --reference; give one of them",
                         args->verb->name);
    if (!saves && (cmd_has(args, OPT_LOGITS_BITS) || cmd_has(args, OPT_LOGITS_FORMAT)))
        return pare_fail(err, PARE_ERR_USAGE, "%s: --%s needs --save-logits", args->verb->name,
                         cmd_has(args, OPT_LOGITS_BITS) ? "logits-bits" : "logits-format");
    if (cmd_has(args, OPT_LOGITS_BITS) && strcmp(cmd_text(args, OPT_LOGITS_FORMAT), "pare") != 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: --logits-bits is for pare's own format; llama's has 16",
                         args->verb->name);
    if (saves && cmd_count(args, OPT_FILE) > 1 && strcmp(cmd_text(args, OPT_LOGITS_FORMAT), "pare") != 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: llama's format has room for one text; --save-logits was given %zu",
                         args->verb->name, cmd_count(args, OPT_FILE));
    return PARE_OK;
}

static void set_compute(pare_logit_info *info, const cmd_logit_io *l)
{
    snprintf(info->compute, sizeof info->compute, "%s", l->compute);
}

/* What a new store will say that it is of. */
static pare_status describe(cmd_logit_io *l, const pare_model *reference, pare_error *err)
{
    const pare_model *of = reference != NULL ? reference : l->model;
    pare_model_hash hash = {0};
    l->info = (pare_logit_info){.format = strcmp(cmd_text(l->args, OPT_LOGITS_FORMAT), "llama") == 0 ? PARE_LOGITS_LLAMA
                                                                                                     : PARE_LOGITS_PARE,
                                .bits = (uint32_t)cmd_number(l->args, OPT_LOGITS_BITS)};
    memcpy(l->info.tokenizer_sha256, l->tokenizer_sha256, sizeof l->tokenizer_sha256);
    if (l->store != NULL) {
        const pare_logit_info *old = pare_logit_store_info(l->store);
        l->info.model = old->model;
        memcpy(l->info.compute, old->compute, sizeof old->compute);
        memcpy(l->info.model_sha256, old->model_sha256, sizeof old->model_sha256);
        return PARE_OK;
    }
    l->info.model = cmd_base_name(of->path);
    set_compute(&l->info, l);
    cmd_note("hashing %s", of->path);
    pare_status st = pare_model_hash_open(&hash, of, err);
    if (st == PARE_OK)
        memcpy(l->info.model_sha256, hash.files_sha256, sizeof l->info.model_sha256);
    pare_model_hash_close(&hash);
    return st;
}

pare_status cmd_logit_io_open(cmd_logit_io *l, const cmd_args *args, const pare_model *model,
                              const pare_model *reference, const char *compute, pare_error *err)
{
    const char *path = cmd_text(args, OPT_LOGITS);
    *l = (cmd_logit_io){.args = args, .model = model, .compute = compute};
    pare_status st = check_options(args, err);
    if (st != PARE_OK || (path == NULL && !cmd_has(args, OPT_SAVE_LOGITS)))
        return st;
    st = pare_tokenizer_hash(l->tokenizer_sha256, &model->vocab, err);
    if (st == PARE_OK && path != NULL)
        st = pare_logit_store_open(&l->store, path, err);
    if (st == PARE_OK && path != NULL && pare_logit_store_info(l->store)->format == PARE_LOGITS_LLAMA)
        cmd_warning(
            "%s: llama-perplexity's file: log-probabilities are cut 16 nats below the most likely token, so the "
            "reference's perplexity comes out too small, and divergences of single tokens below about 1e-4 are noise",
            cmd_safe(path, strlen(path)));
    if (st == PARE_OK && cmd_has(args, OPT_SAVE_LOGITS))
        st = describe(l, reference, err);
    return st;
}

void cmd_logit_io_close(cmd_logit_io *l)
{
    pare_logit_writer_close(l->writer);
    pare_logit_store_close(l->store);
    *l = (cmd_logit_io){0};
}

static pare_logit_info info_of_run(const cmd_logit_io *l, const pare_windows *w)
{
    pare_logit_info info = l->info;
    info.n_vocab = l->model->hp.n_vocab;
    info.n_ctx = w->n_ctx;
    info.stride = w->step;
    info.bos = w->bos;
    memcpy(info.tokenizer_sha256, l->tokenizer_sha256, sizeof info.tokenizer_sha256);
    return info;
}

static pare_status open_store(pare_source **out, const pare_windows *w, void *user, pare_error *err)
{
    const cmd_logit_io *l = user;
    pare_logit_info run = info_of_run(l, w);
    set_compute(&run, l);
    pare_status st = pare_logit_store_check(l->store, &run, err);
    return st == PARE_OK ? pare_source_of_store(out, l->store, w, err) : st;
}

/* The tokens of the windows before BOS takes the place of the first of each. */
static pare_status windows_text(const pare_windows *w, int32_t **out, pare_error *err)
{
    size_t n_ctx = w->n_ctx;
    int32_t *text = *out = malloc((w->n_windows * n_ctx + 1) * sizeof *text);
    if (text == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " windows", w->n_windows);
    for (uint32_t i = 0; i < w->n_windows; i++)
        memcpy(text + i * n_ctx, w->ids + (size_t)w->number[i] * w->step, n_ctx * sizeof *text);
    return PARE_OK;
}

static pare_status begin_text(const cmd_corpus *text, void *user, pare_error *err)
{
    cmd_logit_io *l = user;
    const pare_windows *w = &text->windows;
    int32_t *ids = NULL;
    if (l->writer != NULL)
        return PARE_OK;
    pare_logit_info info = info_of_run(l, w);
    pare_status st = PARE_OK;
    if (info.format == PARE_LOGITS_LLAMA && (st = windows_text(w, &ids, err)) == PARE_OK) {
        info.n_windows = w->n_windows;
        info.text = ids;
    }
    if (st == PARE_OK)
        st = pare_logit_writer_open(&l->writer, cmd_text(l->args, OPT_SAVE_LOGITS), &info, cmd_has(l->args, OPT_FORCE),
                                    err);
    free(ids);
    return st;
}

static pare_status take_logits(const pare_logit_rows *rows, void *user, pare_error *err)
{
    cmd_logit_io *l = user;
    const pare_windows *w = rows->w;
    pare_status st = PARE_OK;
    if (rows->pos == w->first)
        st = pare_logit_writer_window(l->writer, rows->ids, w->first, w->n_scored, err);
    return st == PARE_OK ? pare_logit_writer_rows(l->writer, rows->rows, rows->lse, rows->n, err) : st;
}

void cmd_logit_io_attach(cmd_logit_io *l, cmd_text_run *run)
{
    if (l->store != NULL) {
        run->open_reference = open_store;
        run->open_user = l;
    }
    if (l->args != NULL && cmd_has(l->args, OPT_SAVE_LOGITS))
        cmd_listen(run, &(cmd_listener){.begin = begin_text, .logits = take_logits, .user = l});
}

pare_status cmd_logit_io_finish(cmd_logit_io *l, pare_error *err)
{
    return l->writer != NULL ? pare_logit_writer_commit(l->writer, &l->info, err) : PARE_OK;
}

static double bits_a_logit(const pare_logit_info *info)
{
    return 8.0 * (double)info->n_bytes / ((double)info->n_rows * info->n_vocab);
}

void cmd_logit_io_print(const cmd_logit_io *l)
{
    const pare_logit_info *info = &l->info;
    if (l->writer == NULL)
        return;
    const char *path = cmd_text(l->args, OPT_SAVE_LOGITS);
    printf("%s: %" PRIu64 " positions of %" PRIu32 " logits, %s, %.2f bits a logit\n"
           "  its noise: KL divergence %.3g nat a token (largest %.3g), ln(perplexity) %+.3g\n",
           cmd_safe(path, strlen(path)), info->n_rows, info->n_vocab, cmd_bytes(info->n_bytes), bits_a_logit(info),
           info->noise_kld, info->noise_max, info->noise_nll);
}

static json_t *info_json(const pare_logit_info *info, const char *path)
{
    json_t *o = json_object();
    json_object_set_new(o, "path", cmd_json_text(path, strlen(path)));
    json_object_set_new(o, "format", json_string(info->format == PARE_LOGITS_LLAMA ? "llama" : "pare"));
    cmd_json_u64(o, "bytes", info->n_bytes);
    cmd_json_u64(o, "positions", info->n_rows);
    cmd_json_real(o, "bits_per_logit", bits_a_logit(info));
    cmd_json_real(o, "noise_kld", info->noise_kld);
    cmd_json_real(o, "noise_kld_max", info->noise_max);
    cmd_json_real(o, "noise_ln_perplexity", info->noise_nll);
    if (info->model_sha256[0] != '\0')
        json_object_set_new(o, "model_sha256", json_string(info->model_sha256));
    if (info->model[0] != '\0')
        json_object_set_new(o, "model", cmd_json_text(info->model, strlen(info->model)));
    return o;
}

void cmd_logit_io_json(const cmd_logit_io *l, json_t *doc)
{
    if (l->store != NULL)
        json_object_set_new(doc, "logits", info_json(pare_logit_store_info(l->store), cmd_text(l->args, OPT_LOGITS)));
    if (l->writer != NULL)
        json_object_set_new(doc, "saved_logits", info_json(&l->info, cmd_text(l->args, OPT_SAVE_LOGITS)));
}

pare_status cmd_logit_io_record(const cmd_logit_io *l, json_t *head, pare_error *err)
{
    char sha256[PARE_SHA256_HEX];
    if (l->store == NULL || head == NULL)
        return PARE_OK;
    const pare_logit_info *info = pare_logit_store_info(l->store);
    pare_status st = pare_file_hash(sha256, cmd_text(l->args, OPT_LOGITS), NULL, err);
    if (st != PARE_OK)
        return st;
    json_t *reference = json_object(), *store = info_json(info, cmd_text(l->args, OPT_LOGITS));
    json_object_set_new(store, "sha256", json_string(sha256));
    if (info->model_sha256[0] != '\0')
        json_object_set_new(reference, "sha256", json_string(info->model_sha256));
    if (info->tokenizer_sha256[0] != '\0')
        json_object_set_new(reference, "tokenizer_sha256", json_string(info->tokenizer_sha256));
    json_object_set_new(reference, "store", store);
    if (json_object_set_new(head, "reference", reference) != 0)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
    return PARE_OK;
}
