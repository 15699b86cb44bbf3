#include "cmd/comparison.h"
#include "cmd/console.h"
#include "core/clock.h"
#include "core/progress.h"
#include "model/hparams_encoder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

pare_status cmd_open_pairs(cmd_comparison *c, pare_error *err)
{
    size_t n = cmd_has(c->args, OPT_EMBEDDING) ? cmd_count(c->args, OPT_FILE) : 0;
    pare_status st = PARE_OK;
    c->pair_files = calloc(n + 1, sizeof *c->pair_files);
    if (c->pair_files == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu files", n);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        st = cmd_pair_file_open(&c->pair_files[i].file, cmd_nth(c->args, OPT_FILE, i), err);
        c->n_pair_files += st == PARE_OK;
    }
    return st;
}

void cmd_close_pairs(cmd_comparison *c)
{
    for (size_t i = 0; i < c->n_pair_files; i++) {
        cmd_pair_file_close(&c->pair_files[i].file);
        pare_text_ids_close(&c->pair_files[i].ids);
    }
    free(c->pair_files);
}

/* Tokens of every text, cut to what all models can read. */
static pare_status tokenize(const cmd_comparison *c, cmd_pairs *p, pare_error *err)
{
    const pare_vocab *v = &c->reference.vocab;
    uint32_t most = (uint32_t)cmd_number(c->args, OPT_CONTEXT);
    pare_ids ids = {0};
    pare_status st = PARE_OK;
    for (size_t k = 0; k <= c->n; k++) {
        uint32_t n_ctx = k < c->n ? c->models[k]->hp.n_ctx_train : c->reference.hp.n_ctx_train;
        most = n_ctx > 0 && n_ctx < most ? n_ctx : most;
    }
    for (size_t i = 0; i < p->file.n_texts && st == PARE_OK; i++) {
        ids.n = 0;
        st = pare_tokenize(c->tokenizer, p->file.texts[i].data, p->file.texts[i].len,
                           PARE_TOKENIZE_BOS | PARE_TOKENIZE_SPECIAL, &ids, err);
        if (st == PARE_OK && ids.n == 0)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: line %zu: a text of no tokens", p->file.name, p->file.lines[i]);
        bool closed = st == PARE_OK && (ids.ids[ids.n - 1] == v->eos || ids.ids[ids.n - 1] == v->sep);
        if (st == PARE_OK)
            st = pare_text_ids_add(&p->ids, ids.ids, ids.n, most, closed, err);
    }
    free(ids.ids);
    return st;
}

static void show_progress(size_t n, size_t n_texts, void *user)
{
    (void)user;
    pare_progress("texts", n, n_texts, "");
}

static pare_status embed(cmd_comparison *c, const pare_model *m, const cmd_pairs *p, pare_pooling pooling,
                         pare_vectors *out, pare_error *err)
{
    size_t bytes = p->ids.n_texts * m->hp.n_embd *
                   sizeof(float); /* a text has a token and more, and the pass holds a row a token */
    float *x = malloc(bytes);
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu vectors", m->path, p->ids.n_texts);
    *out = (pare_vectors){x, p->ids.n_texts, m->hp.n_embd};
    double start = pare_clock();
    pare_status st = pare_embed(m, c->devices.backend[0], pooling, &p->ids, x, show_progress, NULL, err);
    c->run.seconds += pare_clock() - start;
    c->run.n_tokens += p->ids.n_ids;
    return st;
}

static pare_status compare_file(cmd_comparison *c, size_t i, pare_error *err)
{
    cmd_pairs *p = &c->pair_files[i];
    pare_vectors reference = {0}, model = {0};
    pare_pooling wanted = pare_pooling_find(cmd_text(c->args, OPT_POOLING));
    if (wanted == PARE_POOLING_NONE &&
        !c->reference.hp.has_pooling) /* the model may know what the reference does not */
        for (size_t k = 0; k < c->n && wanted == PARE_POOLING_NONE; k++)
            wanted = c->models[k]->hp.has_pooling ? c->models[k]->hp.pooling : wanted;
    p->pooling = pare_pooling_of(&c->reference, wanted);
    pare_status st = tokenize(c, p, err);
    if (st == PARE_OK)
        st = embed(c, &c->reference, p, p->pooling, &reference, err);
    for (size_t k = 0; k < c->n && st == PARE_OK; k++) {
        st = embed(c, c->models[k], p, p->pooling, &model, err);
        if (st == PARE_OK)
            st = pare_embedding_drift_measure(&reference, &model, p->file.pairs, p->file.n_pairs,
                                              &c->candidates[k].embeddings[i], err);
        free((void *)(uintptr_t)model.x);
        model.x = NULL;
    }
    free((void *)(uintptr_t)reference.x);
    return st;
}

pare_status cmd_compare_embeddings(cmd_comparison *c, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t k = 0; k < c->n; k++)
        if ((c->candidates[k].embeddings = calloc(c->n_pair_files + 1, sizeof *c->candidates[k].embeddings)) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for the figures of %zu models", c->n);
    for (size_t i = 0; i < c->n_pair_files && st == PARE_OK; i++)
        st = compare_file(c, i, err);
    return st;
}
