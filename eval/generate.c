#include "eval/generate.h"
#include "eval/cpu_kernels.h"

#include "core/checked.h"
#include "core/random.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* MAX_SEQUENCES: a step of 16 texts takes little longer than one of a single text, for decoding weights dominates.
 * BATCH_TOKENS: of prompts that are read in one step. MIN_SHARED: a shorter common start is read with each prompt. */
enum { MAX_SEQUENCES = 16, BATCH_TOKENS = 2048, MIN_SHARED = 16 };
#define MAX_CACHE_BYTES ((uint64_t)1 << 30)

/* A sequence of the cache and the prompt that it works on. */
typedef struct slot {
    bool busy;
    size_t prompt;
    size_t n_sent; /* bytes of the text that `text` has had */
} slot;

typedef struct run {
    const pare_generate_job *job;
    pare_completion *out;
    uint32_t n_ctx;
    pare_forward *f;
    pare_cache cache;
    slot *slots;          /* [n_slots]; one more sequence of the cache holds what all prompts begin with */
    pare_extension *list; /* [n_slots] of the step */
    float *logits;        /* [n_slots, n_vocab] */
    uint32_t n_slots, n_list;
    uint32_t n_shared; /* tokens that all prompts begin with, or 0 */
    size_t next;       /* the first prompt that has no slot yet */
} run;

const char *pare_ending_name(pare_ending e)
{
    static const char *const names[] = {"token", "stop", "count", "context", "unasked"};
    return (size_t)e < PARE_N_ENDINGS ? names[e] : "unknown";
}

void pare_completion_close(pare_completion *c)
{
    free(c->ids);
    free(c->lead);
    pare_buf_close(&c->text);
    *c = (pare_completion){0};
}

pare_status pare_prompt_ids(const pare_tokenizer *t, const pare_vocab *v, pare_str text, unsigned flags, pare_ids *out,
                            pare_error *err)
{
    size_t first = out->n;
    pare_status st = pare_tokenize(t, text.data, text.len, flags | PARE_TOKENIZE_BOS, out, err);
    const int64_t behind[] = {v->add_sep > 0 ? v->sep : PARE_TOKEN_NONE, v->add_eos > 0 ? v->eos : PARE_TOKEN_NONE};
    for (size_t i = 0; i < 2 && st == PARE_OK; i++)
        if (behind[i] != PARE_TOKEN_NONE && out->n > first && out->ids[out->n - 1] == behind[i])
            out->n--;
    int32_t *ids = out->ids + first;
    if (st == PARE_OK && v->bos != PARE_TOKEN_NONE && out->n - first >= 2 && ids[0] == v->bos && ids[1] == v->bos)
        memmove(ids, ids + 1, (--out->n - first) * sizeof *ids);
    return st;
}

static bool ends_text(const pare_vocab *v, int32_t id)
{
    bool end = id == v->eos || id == v->eot || id == v->eom;
    for (uint32_t i = 0; i < v->n_ends && !end; i++)
        end = id == v->ends[i];
    return end;
}

/* Where the first stop string starts that ends behind byte `from` of the text; the text's length when none does. */
static size_t find_stop(const pare_generate_job *job, const pare_buf *text, size_t from)
{
    size_t first = text->len;
    for (size_t i = 0; i < job->n_stops; i++) {
        const pare_str *stop = &job->stops[i];
        size_t start = from >= stop->len ? from - stop->len + 1 : 0;
        const char *found =
            text->len > start ? memmem(text->data + start, text->len - start, stop->data, stop->len) : NULL;
        if (found != NULL && (size_t)(found - text->data) < first)
            first = (size_t)(found - text->data);
    }
    return first;
}

/* Bytes at the end of the text that a stop string may begin with. */
static size_t held_back(const pare_generate_job *job, const pare_buf *text)
{
    size_t most = 0;
    for (size_t i = 0; i < job->n_stops; i++) {
        size_t n = job->stops[i].len - 1;
        for (n = n < text->len ? n : text->len; n > most; n--)
            if (memcmp(text->data + text->len - n, job->stops[i].data, n) == 0)
                most = n;
    }
    return most;
}

static pare_status send(run *r, slot *s, size_t n_sure, pare_error *err)
{
    const pare_buf *text = &r->out[s->prompt].text;
    size_t from = s->n_sent;
    if (r->job->text == NULL || n_sure <= from)
        return PARE_OK;
    s->n_sent = n_sure;
    return r->job->text(s->prompt, text->data + from, n_sure - from, r->job->user, err);
}

static pare_status finish(run *r, slot *s, pare_ending ending, pare_error *err)
{
    pare_completion *c = &r->out[s->prompt];
    c->ending = ending;
    s->busy = false;
    pare_status st = pare_cache_cut(&r->cache, (uint32_t)(s - r->slots), 0, err);
    if (st == PARE_OK)
        st = send(r, s, c->text.len, err);
    return st == PARE_OK && r->job->done != NULL ? r->job->done(s->prompt, c, r->job->user, err) : st;
}

/* Draw from softmax(logits / T). */
static size_t draw(const float *logits, size_t n, size_t largest, double temperature, uint64_t bits)
{
    double max = (double)logits[largest], sum = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp(((double)logits[i] - max) / temperature);
    double goal = (double)(bits >> 11) * 0x1p-53 * sum;
    for (size_t i = 0; i < n; i++) {
        at += exp(((double)logits[i] - max) / temperature);
        if (at > goal)
            return i;
    }
    return largest; /* the sums rounded otherwise: one draw in 2^50 */
}

static pare_status choose(const run *r, const slot *s, const float *logits, int32_t *id, float *lead, pare_error *err)
{
    const pare_generate_job *job = r->job;
    size_t n_vocab = job->m->hp.n_vocab;
    uint32_t n = r->out[s->prompt].n;
    pare_peak peak;
    if (!pare_cpu_peak(logits, n_vocab, &peak))
        return pare_fail(err, PARE_ERR_NUMBER,
                         "%s: a logit of token %" PRIu32 " behind prompt %zu (%zu tokens) is not finite", job->m->path,
                         n, s->prompt, job->prompts[s->prompt].n);
    size_t largest = peak.at;
    float second = -INFINITY;
    for (size_t i = 0; i < n_vocab; i++)
        if (i != largest && logits[i] > second)
            second = logits[i];
    *lead = logits[largest] - second;
    *id = (int32_t)largest;
    if (job->temperature > 0)
        *id = (int32_t)draw(logits, n_vocab, largest, job->temperature,
                            pare_random(pare_random(job->seed, s->prompt), n));
    return PARE_OK;
}

/* Append the next token to the text of a slot whose logits these are. */
static pare_status append(run *r, slot *s, const float *logits, pare_error *err)
{
    const pare_generate_job *job = r->job;
    pare_completion *c = &r->out[s->prompt];
    size_t was = c->text.len;
    int32_t id = 0;
    float lead = 0;
    pare_status st = choose(r, s, logits, &id, &lead, err);
    if (st != PARE_OK)
        return st;
    if (ends_text(job->vocab, id))
        return finish(r, s, PARE_ENDS_BY_TOKEN, err);
    c->ids[c->n] = id;
    c->lead[c->n++] = lead;
    if ((uint32_t)id < job->vocab->n_tokens) /* rows of the embedding behind the vocabulary have no text */
        if ((st = pare_detokenize(job->tokenizer, id, false, &c->text, err)) != PARE_OK)
            return st;
    size_t stop = find_stop(job, &c->text, was);
    if (stop < c->text.len) {
        c->text.len = stop;
        c->text.data[stop] = '\0';
        return finish(r, s, PARE_ENDS_BY_STOP, err);
    }
    if (c->n == job->max_tokens)
        return finish(r, s, PARE_ENDS_BY_COUNT, err);
    if (job->prompts[s->prompt].n + c->n == r->n_ctx)
        return finish(r, s, PARE_ENDS_BY_CONTEXT, err);
    return send(r, s, c->text.len - held_back(job, &c->text), err);
}

/* Room for the tokens of a text. */
static pare_status reserve(run *r, size_t prompt, pare_error *err)
{
    pare_completion *c = &r->out[prompt];
    size_t most = r->n_ctx - r->job->prompts[prompt].n;
    if (r->job->max_tokens != 0 && most > r->job->max_tokens)
        most = r->job->max_tokens;
    c->ids = malloc(most * sizeof *c->ids);
    c->lead = malloc(most * sizeof *c->lead);
    if (c->ids == NULL || c->lead == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tokens", most);
    return PARE_OK;
}

/* Give the next prompt to slot i; prompts that leave no room for a token are passed over. */
static pare_status take_prompt(run *r, uint32_t i, pare_error *err)
{
    const pare_generate_job *job = r->job;
    slot *s = &r->slots[i];
    pare_status st = PARE_OK;
    while (!s->busy && r->next < job->n_prompts && st == PARE_OK) {
        *s = (slot){.busy = true, .prompt = r->next++};
        if (job->prompts[s->prompt].n >= r->n_ctx) {
            st = finish(r, s, PARE_ENDS_UNASKED, err);
            continue;
        }
        st = reserve(r, s->prompt, err);
        if (st == PARE_OK && r->n_shared > 0)
            st = pare_cache_copy(&r->cache, r->n_slots, i, r->n_shared, err);
    }
    return st;
}

/* The tokens of slot i that are known and have not gone through the model. */
static pare_extension rest_of(const run *r, uint32_t i)
{
    const slot *s = &r->slots[i];
    const pare_ids *prompt = &r->job->prompts[s->prompt];
    const pare_completion *c = &r->out[s->prompt];
    uint32_t had = r->cache.n[i];
    if (had < prompt->n)
        return (pare_extension){i, (uint32_t)(prompt->n - had), prompt->ids + had};
    return (pare_extension){i, 1, c->ids + (had - prompt->n)};
}

/* What the next step runs: a token of each text that is being written, then as much of prompts as there is room for. */
static void plan(run *r)
{
    uint32_t room = BATCH_TOKENS;
    r->n_list = 0;
    for (int reading = 0; reading < 2; reading++)
        for (uint32_t i = 0; i < r->n_slots && room > 0; i++) {
            if (!r->slots[i].busy || (r->cache.n[i] < r->job->prompts[r->slots[i].prompt].n) != (reading == 1))
                continue;
            pare_extension e = rest_of(r, i);
            e.n = e.n < room ? e.n : room;
            room -= e.n;
            r->list[r->n_list++] = e;
        }
}

static pare_status step(run *r, pare_error *err)
{
    size_t n_vocab = r->job->m->hp.n_vocab;
    pare_status st = pare_cache_extend(&r->cache, r->list, r->n_list, err);
    if (st == PARE_OK)
        st = pare_cache_logits(&r->cache, r->logits, err);
    for (uint32_t i = 0; i < r->n_list && st == PARE_OK; i++) {
        uint32_t at = r->list[i].seq;
        slot *s = &r->slots[at];
        if (r->cache.n[at] >= r->job->prompts[s->prompt].n)
            st = append(r, s, r->logits + i * n_vocab, err);
    }
    return st;
}

/* Read what all prompts begin with into the last sequence of the cache. */
static pare_status read_shared(run *r, pare_error *err)
{
    pare_status st = PARE_OK;
    for (uint32_t done = 0; done < r->n_shared && st == PARE_OK; done = r->cache.n[r->n_slots]) {
        uint32_t n = r->n_shared - done < BATCH_TOKENS ? r->n_shared - done : BATCH_TOKENS;
        const pare_extension e = {r->n_slots, n, r->job->prompts[0].ids + done};
        st = pare_cache_extend(&r->cache, &e, 1, err);
    }
    return st;
}

/* How many tokens all prompts have in common, the last of each aside: its logits are needed. */
static uint32_t count_shared(const pare_generate_job *job, uint32_t n_ctx)
{
    const pare_ids *first = &job->prompts[0];
    size_t n = first->n - 1;
    for (size_t p = 1; p < job->n_prompts; p++) {
        const pare_ids *other = &job->prompts[p];
        n = n < other->n - 1 ? n : other->n - 1;
        for (size_t i = 0; i < n; i++)
            if (other->ids[i] != first->ids[i])
                n = i;
    }
    n = n < n_ctx - 1 ? n : n_ctx - 1;
    return job->n_prompts > 1 && n >= MIN_SHARED ? (uint32_t)n : 0;
}

/* The longest sequence that can come about, which is what the cache has room for. */
static uint32_t longest(const pare_generate_job *job, uint32_t n_ctx)
{
    size_t most = 1;
    for (size_t p = 0; p < job->n_prompts; p++) {
        size_t n = job->prompts[p].n;
        if (n >= n_ctx)
            continue;
        n = job->max_tokens == 0 || job->max_tokens > n_ctx - n ? n_ctx : n + job->max_tokens;
        most = most > n ? most : n;
    }
    return (uint32_t)most;
}

static pare_status open_run(run *r, pare_error *err)
{
    const pare_generate_job *job = r->job;
    const pare_hparams *hp = &job->m->hp;
    uint32_t n_rows = longest(job, r->n_ctx);
    pare_status st = pare_forward_open_tokens(&r->f, job->m, job->b, n_rows, BATCH_TOKENS, err);
    if (st == PARE_OK && job->form != NULL)
        st = pare_forward_keep(r->f, job->form, err);
    if (st != PARE_OK)
        return st;
    uint64_t width = 0, bytes = 0; /* up to 2^12 layers of 2^31 */
    for (uint32_t i = 0; i < hp->n_layer; i++)
        width += pare_cache_width(hp, i);
    if (!pare_mul_u64(width, sizeof(float) * (uint64_t)n_rows, &bytes))
        bytes = MAX_CACHE_BYTES;
    uint64_t fit = bytes > 0 ? MAX_CACHE_BYTES / bytes : MAX_SEQUENCES;
    r->n_slots = fit < 1 ? 1 : fit < MAX_SEQUENCES ? (uint32_t)fit : MAX_SEQUENCES;
    if (r->n_slots > job->n_prompts)
        r->n_slots = (uint32_t)job->n_prompts;
    r->n_shared = count_shared(job, n_rows);
    size_t n_logits;
    r->slots = calloc(r->n_slots, sizeof *r->slots);
    r->list = calloc(r->n_slots, sizeof *r->list);
    if (pare_mul_size(hp->n_vocab, r->n_slots * sizeof *r->logits, &n_logits))
        r->logits = malloc(n_logits);
    if (r->slots == NULL || r->list == NULL || r->logits == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for the logits of %" PRIu32 " texts", job->m->path,
                         r->n_slots);
    return pare_cache_open(&r->cache, r->f, r->n_slots + (r->n_shared > 0), err);
}

static pare_status check(const pare_generate_job *job, pare_error *err)
{
    const char *path = job->m->path;
    if (job->m->arch == NULL)
        return pare_arch_refuse_unknown(job->m, err);
    if (!(job->temperature >= 0) || isinf(job->temperature))
        return pare_fail(err, PARE_ERR_USAGE, "a temperature of %g; 0 (greedy) and above are possible",
                         job->temperature);
    for (size_t i = 0; i < job->n_stops; i++)
        if (job->stops[i].len == 0)
            return pare_fail(err, PARE_ERR_USAGE, "stop string %zu is empty", i);
    for (size_t i = 0; i < job->n_prompts; i++)
        if (job->prompts[i].n == 0)
            return pare_fail(err, PARE_ERR_USAGE, "%s: prompt %zu has no tokens, and the model starts with none", path,
                             i);
    return PARE_OK;
}

pare_status pare_generate(const pare_generate_job *job, pare_completion *out, pare_error *err)
{
    run r = {.job = job, .out = out, .n_ctx = job->n_ctx != 0 ? job->n_ctx : job->m->hp.n_ctx_train};
    pare_status st = check(job, err);
    if (st != PARE_OK || job->n_prompts == 0)
        return st;
    if (r.n_ctx == 0 || r.n_ctx > INT32_MAX)
        return pare_fail(err, PARE_ERR_USAGE, "%s: a context of %" PRIu32 " tokens; 1 to %d are possible", job->m->path,
                         r.n_ctx, INT32_MAX);
    if ((st = open_run(&r, err)) == PARE_OK)
        st = read_shared(&r, err);
    while (st == PARE_OK) {
        for (uint32_t i = 0; i < r.n_slots && st == PARE_OK; i++)
            st = take_prompt(&r, i, err);
        plan(&r);
        if (st != PARE_OK || r.n_list == 0)
            break;
        st = step(&r, err);
    }
    pare_cache_close(&r.cache);
    pare_forward_close(r.f);
    free(r.slots);
    free(r.list);
    free(r.logits);
    return st;
}
