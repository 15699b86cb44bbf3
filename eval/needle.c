#include "eval/needle.h"

#include "core/random.h"
#include "eval/forward.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 100000 };

/* Keys of one depth stand at places of their own: what a codec makes of the sentence's words at one place is one case,
 * however many keys. */
enum { MAX_SPREAD = 32 };

/* Numbers of --seed: two for each key, and behind all of them its place. */
static const uint64_t first_place = (uint64_t)1 << 40;

/* Tokens of the text before the sentence. */
static size_t place(const pare_needle_job *job, size_t hay, uint32_t depth, uint64_t number)
{
    const size_t share = hay / (4 * (size_t)job->n_depths), spread = share < MAX_SPREAD ? share : MAX_SPREAD;
    const size_t from = job->n_depths > 1 ? (hay - spread) * depth / (job->n_depths - 1) : 0;
    return from + (size_t)pare_random_below(job->seed, first_place + number, spread + 1);
}

typedef struct pieces {
    pare_ids needle, question, answer; /* answer: question and key */
} pieces;

static pare_status add(const pare_needle_job *job, pare_ids *out, const char *text, pare_error *err)
{
    return pare_tokenize(job->tokenizer, text, strlen(text), 0, out, err);
}

static pare_status make_pieces(pieces *p, const pare_needle_job *job, uint64_t number, pare_error *err)
{
    char text[160];
    const char *question = "\nWhat is the pass key? The pass key is";
    const uint64_t key = DIGITS / 10 + pare_random_below(job->seed, 2 * number, DIGITS - DIGITS / 10);
    snprintf(text, sizeof text, "\nThe pass key is %" PRIu64 ". Remember it. %" PRIu64 " is the pass key.\n", key, key);
    pare_status st = add(job, &p->needle, text, err);
    if (st == PARE_OK)
        st = add(job, &p->question, question, err);
    snprintf(text, sizeof text, "%s %" PRIu64, question, key);
    return st == PARE_OK ? add(job, &p->answer, text, err) : st;
}

static void close_pieces(pieces *p)
{
    free(p->needle.ids);
    free(p->question.ids);
    free(p->answer.ids);
}

pare_status pare_needle_make(const pare_needle_job *job, uint32_t depth, uint32_t key, int32_t **out, uint32_t *n_key,
                             pare_error *err)
{
    pieces p = {0};
    const uint64_t number = (uint64_t)depth * job->n_keys + key;
    const size_t bos = job->bos >= 0 ? 1 : 0;
    int32_t *ids = NULL;
    size_t same = 0;
    pare_status st = make_pieces(&p, job, number, err);
    const size_t fixed = bos + p.needle.n + p.answer.n, hay = job->n_ctx > fixed ? job->n_ctx - fixed : 0;
    if (st == PARE_OK && hay == 0)
        st = pare_fail(err, PARE_ERR_USAGE, "a haystack of %" PRIu32 " tokens: needle and question alone take %zu",
                       job->n_ctx, fixed);
    if (st == PARE_OK && hay > job->n)
        st = pare_fail(err, PARE_ERR_USAGE, "a haystack of %" PRIu32 " tokens takes %zu of the text, which has %zu",
                       job->n_ctx, hay, job->n);
    if (st == PARE_OK && (ids = malloc(job->n_ctx * sizeof *ids)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " tokens", job->n_ctx);
    if (st == PARE_OK) {
        const size_t from = (size_t)pare_random_below(job->seed, 2 * number + 1, job->n - hay + 1);
        const size_t before = place(job, hay, depth, number);
        int32_t *at = ids;
        if (bos != 0)
            *at++ = (int32_t)job->bos;
        memcpy(at, job->ids + from, before * sizeof *at);
        memcpy(at + before, p.needle.ids, p.needle.n * sizeof *at);
        memcpy(at + before + p.needle.n, job->ids + from + before, (hay - before) * sizeof *at);
        memcpy(at + hay + p.needle.n, p.answer.ids, p.answer.n * sizeof *at);
        while (same < p.question.n && same < p.answer.n && p.question.ids[same] == p.answer.ids[same])
            same++;
        *n_key = (uint32_t)(p.answer.n - same);
        if (*n_key == 0)
            st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: its tokenizer has no tokens for a key of digits",
                           job->m->path);
    }
    if (st == PARE_OK)
        *out = ids;
    else
        free(ids);
    close_pieces(&p);
    return st;
}

pare_status pare_needle_least(const pare_needle_job *job, uint32_t *least, pare_error *err)
{
    size_t most = 0;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < (uint64_t)job->n_depths * job->n_keys && st == PARE_OK; i++) {
        pieces p = {0};
        st = make_pieces(&p, job, i, err);
        most = p.needle.n + p.answer.n > most ? p.needle.n + p.answer.n : most;
        close_pieces(&p);
    }
    *least = (uint32_t)(most + (job->bos >= 0) + 1);
    return st;
}

/* Where haystacks are read, some at once. */
typedef struct reader {
    pare_forward *f;
    uint32_t n_seq, n_vocab;
    int32_t *ids;    /* [n_seq, n_ctx] */
    uint32_t *n_key; /* [n_seq] tokens of the key at the end of each */
    float *logits;   /* [room, n_vocab] */
    size_t room;
} reader;

/* ln p of a token, and whether none is more likely. */
static pare_status score(const float *row, uint32_t n_vocab, int32_t token, double *ln_p, bool *is_first,
                         pare_error *err)
{
    double most = -(double)INFINITY, sum = 0;
    uint32_t best = 0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (!isfinite(row[i]))
            return pare_fail(err, PARE_ERR_NUMBER, "the logit of token %" PRIu32 " behind a haystack is not finite", i);
        if ((double)row[i] > most) {
            most = (double)row[i];
            best = i;
        }
    }
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += exp((double)row[i] - most);
    *ln_p = (double)row[token] - most - log(sum);
    *is_first = best == (uint32_t)token;
    return PARE_OK;
}

/* Look for the key of sequence i of the last run. */
static pare_status look_for(reader *r, const pare_needle_job *job, uint32_t i, pare_needle_cell *cell, pare_error *err)
{
    const uint32_t n_key = r->n_key[i], first = job->n_ctx - n_key - 1;
    const int32_t *ids = r->ids + (size_t)i * job->n_ctx;
    bool found = true;
    double sum = 0;
    if (n_key > r->room) {
        free(r->logits);
        r->room = (r->logits = malloc((size_t)n_key * r->n_vocab * sizeof(float))) != NULL ? n_key : 0;
    }
    if (r->room == 0)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for logits of %" PRIu32 " tokens", n_key);
    pare_status st = pare_forward_logits(r->f, i, first, n_key, r->logits, err);
    for (uint32_t k = 0; k < n_key && st == PARE_OK; k++) {
        double ln_p = 0;
        bool is_first = false;
        st = score(r->logits + (size_t)k * r->n_vocab, r->n_vocab, ids[first + 1 + k], &ln_p, &is_first, err);
        sum += ln_p;
        found = found && is_first;
    }
    cell->n_found += found;
    cell->ln_p += sum / job->n_keys;
    return st;
}

/* Haystacks [from, from + n) in one pass. */
static pare_status read_some(reader *r, const pare_needle_job *job, uint32_t from, uint32_t n, pare_needle_cell *out,
                             pare_error *err)
{
    uint32_t longest = 0;
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < n && st == PARE_OK; i++) {
        int32_t *ids = NULL;
        st = pare_needle_make(job, (from + i) / job->n_keys, (from + i) % job->n_keys, &ids, &r->n_key[i], err);
        if (st == PARE_OK)
            memcpy(r->ids + (size_t)i * job->n_ctx, ids, job->n_ctx * sizeof *ids);
        free(ids);
        longest = st == PARE_OK && r->n_key[i] > longest ? r->n_key[i] : longest;
    }
    if (st == PARE_OK)
        st = pare_forward_run_from(r->f, r->ids, n, job->n_ctx, job->n_ctx - longest - 1, err);
    for (uint32_t i = 0; i < n && st == PARE_OK; i++)
        st = look_for(r, job, i, &out[(from + i) / job->n_keys], err);
    return st;
}

static pare_status open_reader(reader *r, const pare_needle_job *job, size_t form, pare_error *err)
{
    const uint32_t n = job->n_depths * job->n_keys, wanted = job->b->batch_tokens / job->n_ctx;
    r->n_vocab = job->m->hp.n_vocab;
    r->n_seq = wanted > n ? n : wanted > 1 ? wanted : 1;
    r->ids = malloc((size_t)r->n_seq * job->n_ctx * sizeof *r->ids);
    r->n_key = calloc(r->n_seq, sizeof *r->n_key);
    if (r->ids == NULL || r->n_key == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " haystacks", r->n_seq);
    pare_status st = pare_forward_open(&r->f, job->m, job->b, job->n_ctx, r->n_seq, err);
    return st == PARE_OK && form > 0 ? pare_forward_keep(r->f, &job->forms[form - 1], err) : st;
}

static pare_status read_all(const pare_needle_job *job, size_t form, pare_needle_cell *out, pare_error *err)
{
    const uint32_t n = job->n_depths * job->n_keys, n_all = n * (uint32_t)(1 + job->n_forms);
    reader r = {0};
    for (uint32_t d = 0; d < job->n_depths; d++)
        out[d] = (pare_needle_cell){0};
    pare_status st = open_reader(&r, job, form, err);
    for (uint32_t from = 0; from < n && st == PARE_OK; from += r.n_seq) {
        const uint32_t n_some = n - from < r.n_seq ? n - from : r.n_seq;
        st = read_some(&r, job, from, n_some, out, err);
        if (job->each != NULL && st == PARE_OK)
            job->each(n * (uint32_t)form + from + n_some, n_all, job->user);
    }
    pare_forward_close(r.f);
    free(r.ids);
    free(r.n_key);
    free(r.logits);
    return st;
}

pare_status pare_needle(const pare_needle_job *job, pare_needle_cell *out, pare_error *err)
{
    if (job->n_depths == 0 || job->n_keys == 0)
        return pare_fail(err, PARE_ERR_USAGE, "no depth, or no key a depth, to hide");
    pare_status st = PARE_OK;
    for (size_t i = 0; i <= job->n_forms && st == PARE_OK; i++)
        st = read_all(job, i, out + i * job->n_depths, err);
    return st;
}
