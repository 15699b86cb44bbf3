/* Keys and values in codecs: what attention reads is what is stored, in windows and in a cache. */
#include "check.h"
#include "core/threads.h"
#include "eval/cache.h"
#include "eval/forward_parts.h"
#include "eval/kv_calibrate.h"
#include "eval/kv_sweep.h"
#include "memory/memory.h"
#include "quant/plain_round.h"
#include "toy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 40, LEN = 200, DIM = 64, HEADS = 4, KV_HEADS = 2 };

typedef struct fixture {
    pare_model m;
    pare_backend *b;
    int32_t ids[LEN];
} fixture;

static void open_toy(fixture *t)
{
    pare_error err = {0};
    toy_llama_of(&t->m, VOCAB, 0, HEADS, KV_HEADS, DIM);
    t->m.hp.n_ctx_train = LEN;
    CHECK_OK(pare_backend_cpu(&t->b, &err), &err);
    for (int i = 0; i < LEN; i++)
        t->ids[i] = (i * i + 3 * i) % VOCAB;
}

static void close_toy(fixture *t)
{
    t->b->close(t->b);
    pare_model_close(&t->m);
}

static pare_kv_form form_of(const char *k, const char *v, pare_kv_turn turn)
{
    pare_kv_form form = {.k = k != NULL ? pare_kv_codec_find(k, PARE_KV_KEYS) : NULL,
                         .v = v != NULL ? pare_kv_codec_find(v, PARE_KV_VALUES) : NULL,
                         .turn_k = turn,
                         .turn_v = turn};
    CHECK((form.k != NULL) == (k != NULL) && (form.v != NULL) == (v != NULL));
    return form;
}

/* Logits [LEN, VOCAB] of the tokens as one window; form NULL: floats. */
static float *logits_of(const fixture *t, const pare_kv_form *form)
{
    pare_error err = {0};
    pare_forward *f = NULL;
    float *out = check_malloc(sizeof *out * LEN * VOCAB);
    CHECK_OK(pare_forward_open(&f, &t->m, t->b, LEN, 1, &err), &err);
    if (form != NULL)
        CHECK_OK(pare_forward_keep(f, form, &err), &err);
    CHECK_OK(pare_forward_run(f, t->ids, 1, LEN, &err), &err);
    CHECK_OK(pare_forward_logits(f, 0, 0, LEN, out, &err), &err);
    pare_forward_close(f);
    return out;
}

/* Root of the mean square of a - b over positions [from, to), in parts of b's. */
static double distance(const float *a, const float *b, size_t from, size_t to)
{
    double d = 0, s = 0;
    for (size_t i = from * VOCAB; i < to * VOCAB; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        s += (double)b[i] * (double)b[i];
    }
    return sqrt(d / s);
}

static double error_of(const fixture *t, const pare_kv_form *form, const float *want)
{
    float *got = logits_of(t, form);
    double d = distance(got, want, 0, LEN);
    free(got);
    return d;
}

/* Floats stay what they are; fewer bits cost more; each side counts. */
static void test_windows(void **state)
{
    (void)state;
    static const char *const names[] = {"f16", "q8_0", "q5_0", "q4_0"};
    fixture t;
    open_toy(&t);
    float *want = logits_of(&t, NULL);
    const pare_kv_form none = form_of("f32", "f32", PARE_KV_TURN_FULL);
    CHECK(error_of(&t, &none, want) == 0);
    double last = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const pare_kv_form both = form_of(names[i], names[i], PARE_KV_TURN_OFF),
                           keys = form_of(names[i], NULL, PARE_KV_TURN_OFF),
                           values = form_of(NULL, names[i], PARE_KV_TURN_OFF);
        double d = error_of(&t, &both, want), of_keys = error_of(&t, &keys, want),
               of_values = error_of(&t, &values, want);
        CHECK(d > last && of_keys > 0 && of_values > 0 && d > of_keys / 2 && d > of_values / 2);
        for (int turn = PARE_KV_TURN_LLAMA; turn <= PARE_KV_TURN_FULL; turn++) { /* undone on the way out */
            const pare_kv_form turned = form_of(names[i], names[i], (pare_kv_turn)turn),
                               turned_values = form_of(NULL, names[i], (pare_kv_turn)turn);
            CHECK(error_of(&t, &turned, want) < 1.5 * d && error_of(&t, &turned_values, want) < 1.5 * of_values);
        }
        last = d;
    }
    CHECK(last < 0.3);
    free(want);
    close_toy(&t);
}

/* Calibrated codecs get their bases, of c; closed by the caller. */
static pare_kv_calibration *calibrate(const fixture *t, const int32_t *ids, size_t n, pare_kv_form *form)
{
    pare_error err = {0};
    pare_kv_calibration *c = NULL;
    if (!pare_kv_wants_calibration(form))
        return NULL;
    const pare_kv_text text = {&t->m, t->b, ids, n, -1, {.n_ctx = LEN}};
    CHECK_OK(pare_kv_calibrate(&c, &text, &err), &err);
    CHECK_OK(pare_kv_calibration_apply(c, form, &err), &err);
    return c;
}

/* Extend sequence `seq` to n tokens, `cut` at once. */
static void extend_to(const fixture *t, pare_cache *c, uint32_t seq, uint32_t n, uint32_t cut)
{
    pare_error err = {0};
    while (c->n[seq] < n) {
        const uint32_t left = n - c->n[seq];
        const pare_extension e = {seq, left < cut ? left : cut, t->ids + c->n[seq]};
        CHECK_OK(pare_cache_extend(c, &e, 1, &err), &err);
    }
}

/* A cache has the bytes that are told; of recent tokens a step's and what is left of groups are there besides. */
static void check_bytes(const fixture *t, const pare_kv_form *form, const pare_cache *c)
{
    enum { STEP = 32, GROUP = 32, LAYERS = 2, ROW = KV_HEADS * DIM * 2 };
    pare_error err = {0};
    uint64_t bytes = 0;
    CHECK_OK(pare_kv_bytes(form, &t->m, LEN, LEN, &bytes, &err), &err);
    if (pare_cache_keeps_states(c))
        CHECK(c->n_bytes >= c->n_seq * bytes &&
              c->n_bytes <= c->n_seq * (bytes + 2 * LAYERS * (STEP + 2 * (GROUP - 1)) * ROW));
    else
        CHECK(c->n_bytes == c->n_seq * bytes);
}

/* The first tokens of one sequence become another's. */
static void check_copy(const fixture *t, pare_cache *c, const float *want)
{
    pare_error err = {0};
    float got[VOCAB];
    if (pare_cache_keeps_states(c)) { /* it cannot go back */
        CHECK(pare_cache_copy(c, 2, 1, LEN - 9, &err) == PARE_ERR_USAGE);
        CHECK(pare_cache_cut(c, 2, LEN - 9, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "recent") != NULL);
        CHECK_OK(pare_cache_cut(c, 2, 0, &err), &err);
        extend_to(t, c, 2, LEN - 9, 50);
    }
    CHECK_OK(pare_cache_copy(c, 2, 1, LEN - 9, &err), &err);
    CHECK_OK(pare_cache_cut(c, 2, 0, &err), &err);
    extend_to(t, c, 2, 64, 64); /* others are left alone */
    extend_to(t, c, 1, LEN, 9);
    CHECK_OK(pare_cache_logits(c, got, &err), &err);
    CHECK(distance(got, want + (size_t)(LEN - 1) * VOCAB, 0, 1) < 2e-4);
}

/* A pass that fails: what some layers have coded is gone. */
static void check_failure(const fixture *t, pare_cache *c)
{
    pare_error err = {0};
    const int32_t wrong = VOCAB;
    CHECK(c->n[1] == LEN);
    CHECK_OK(pare_cache_cut(c, 0, 0, &err), &err);
    extend_to(t, c, 0, 20, 20);
    CHECK(pare_cache_extend(c, &(pare_extension){0, 1, &wrong}, 1, &err) == PARE_ERR_RANGE);
    CHECK(c->n[0] == (pare_cache_keeps_states(c) ? 0 : 20) && c->n[1] == LEN);
}

/* The cache of a sequence that grows holds the same codes as a window's store does, however its tokens come. */
static void check_cache(fixture *t, pare_kv_form *form)
{
    static const uint32_t cuts[][4] = {{7, 1, 30, 2}, {1, 1, 1, 1}, {7, 7, 7, 7}, {32, 32, 32, 32}, {60, 3, 60, 1}};
    pare_error err = {0};
    pare_forward *f = NULL;
    pare_kv_calibration *calibration = calibrate(t, t->ids, LEN, form);
    float *want = logits_of(t, form), *got = check_malloc(sizeof *got * VOCAB * 2);
    const uint32_t whole = t->b->slice_tokens;
    for (size_t k = 0; k < sizeof cuts / sizeof cuts[0]; k++) {
        pare_cache c = {0};
        t->b->slice_tokens = k == 4 ? 20 : whole;
        CHECK_OK(pare_forward_open_tokens(&f, &t->m, t->b, LEN, 64, &err), &err);
        CHECK_OK(pare_forward_keep(f, form, &err), &err);
        CHECK_OK(pare_cache_open(&c, f, 3, &err), &err);
        check_bytes(t, form, &c);
        for (uint32_t seq = 0; seq <= 2 && k == 1; seq += 2) /* its first steps are the others' matter */
            extend_to(t, &c, seq, 130 - seq, 60);
        for (int i = 0; c.n[2] < LEN && c.n[0] < LEN; i++) {
            const uint32_t n = cuts[k][i % 4], m = cuts[k][(i + 1) % 4];
            const pare_extension list[] = {{2, n < LEN - c.n[2] ? n : LEN - c.n[2], t->ids + c.n[2]},
                                           {0, m < LEN - c.n[0] ? m : LEN - c.n[0], t->ids + c.n[0]}};
            CHECK_OK(pare_cache_extend(&c, list, 2, &err), &err);
            CHECK_OK(pare_cache_logits(&c, got, &err), &err);
            for (size_t e = 0; e < 2; e++)
                CHECK(distance(got + e * VOCAB, want + (size_t)(c.n[list[e].seq] - 1) * VOCAB, 0, 1) < 2e-4);
        }
        extend_to(t, &c, 2, LEN, 5);
        check_copy(t, &c, want);
        check_failure(t, &c);
        pare_cache_close(&c);
        pare_forward_close(f);
        t->b->slice_tokens = whole;
    }
    pare_kv_calibration_close(calibration);
    free(want);
    free(got);
}

static void test_cache(void **state)
{
    (void)state;
    static const struct {
        const char *k, *v;
        pare_kv_turn turn;
        uint32_t sinks, recent, last, shared; /* layers that read keys of the first one */
    } rows[] = {
        {"q8_0", "q4_0", PARE_KV_TURN_LLAMA, 0, 0, 0, 0},     {"bf16", NULL, PARE_KV_TURN_OFF, 0, 0, 0, 0},
        {"turbo4", "turbo3", PARE_KV_TURN_FULL, 5, 0, 0, 0},  {"q4_0", "q4_0", PARE_KV_TURN_OFF, 9, 0, 1, 0},
        {"q4_0", "q5_1", PARE_KV_TURN_FULL, 0, 45, 0, 0},     {"kivi2", "kivi4", PARE_KV_TURN_OFF, 0, 0, 0, 0},
        {"kivi4", "kivi2", PARE_KV_TURN_OFF, 3, 0, 0, 0},     {"channel3", "f16", PARE_KV_TURN_OFF, 0, 0, 0, 0},
        {"channel3", "q4_0", PARE_KV_TURN_OFF, 40, 50, 1, 0}, {"klt3", "klt3", PARE_KV_TURN_OFF, 0, 0, 0, 0},
        {"klt3", "turbo2", PARE_KV_TURN_FULL, 7, 20, 0, 0},   {"q8_0", "kivi2", PARE_KV_TURN_OFF, LEN + 9, 0, 0, 0},
        {"q4_0", NULL, PARE_KV_TURN_OFF, 0, 2 * LEN, 0, 0},   {"klt4", "turbo3", PARE_KV_TURN_FULL, 9, 0, 0, 1}};
    pare_set_threads(1); /* thousands of small passes */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fixture t;
        open_toy(&t);
        pare_kv_form form = form_of(rows[i].k, rows[i].v, rows[i].turn);
        form.sinks = rows[i].sinks;
        form.recent = rows[i].recent;
        form.last = rows[i].last;
        t.m.hp.n_layer_shared_kv = rows[i].shared;
        check_cache(&t, &form);
        close_toy(&t);
    }
    pare_set_threads(0);
}

/* What comes back of the rows of one unit, [c->group, KV_HEADS, DIM]. */
static void decoded(const pare_kv_codec *c, const float *made, float *out)
{
    pare_error err = {0};
    uint8_t bytes[sizeof(float) * 32 * KV_HEADS * DIM];
    CHECK_OK(pare_kv_encode(c, made, 1, KV_HEADS, DIM, bytes, &err), &err);
    pare_kv_decode(c, bytes, 1, KV_HEADS, DIM, out);
}

/* What the last layer has left: row by row the view is F16 | decoded | F16 of what was made, and each unit of the store
 * stands at its place, so that no other has written over it. raw: what is coded of keys before RoPE. */
static void check_side(const pare_kv_form *form, const pare_kv_codec *c, const float *view, const float *made,
                       const float *raw, const uint8_t *store)
{
    enum { WIDTH = KV_HEADS * DIM };
    const pare_kv_codec *half = pare_kv_codec_find("f16", PARE_KV_KEYS);
    const size_t unit = pare_kv_unit_bytes(c, DIM) * KV_HEADS;
    const uint32_t first = (form->sinks + c->group - 1) / c->group * c->group, begin = (LEN - 1) / 32 * 32,
                   recent = form->recent > c->recent ? form->recent : c->recent,
                   end = recent > 0 ? (begin - recent) / c->group * c->group : LEN;
    static float want[32 * WIDTH], kept[32 * WIDTH];
    CHECK(first < end && (recent == 0 || end < LEN));
    for (size_t s = 0; s < 2; s++)
        for (size_t t = 0; t < LEN; t += t < first || t >= end ? 1 : c->group) {
            const size_t at = s * LEN + t, n = (t < first || t >= end ? 1 : c->group) * WIDTH;
            const bool coded = n > WIDTH || (t >= first && t < end);
            if (!c->before_rope) {
                for (size_t i = 0; i < n; i += WIDTH) /* recent tokens were F16 before they are coded */
                    if (recent > 0 || !coded)
                        decoded(half, made + at * WIDTH + i, want + i);
                if (coded)
                    decoded(c, recent > 0 ? want : made + at * WIDTH, want);
                CHECK(memcmp(view + at * WIDTH, want, n * sizeof *want) == 0);
            } else if (!coded) { /* rounded before RoPE, and never again */
                CHECK(memcmp(view + at * WIDTH, made + at * WIDTH, n * sizeof *want) == 0);
            } else {
                double error = 0, all = 0; /* turned by its own position */
                decoded(c, raw + at * WIDTH, want);
                for (size_t i = at * WIDTH; i < at * WIDTH + n; i++) {
                    error += pow((double)view[i] - (double)made[i], 2);
                    all += pow((double)made[i], 2);
                }
                CHECK(error > 0 && error < 0.02 * all);
            }
            for (size_t i = 0; i < n && c->before_rope; i++)
                CHECK(pare_f16_to_f32(pare_f32_to_f16(raw[at * WIDTH + i])) == raw[at * WIDTH + i]);
            if (coded) {
                const size_t place = c->group > 1 ? s * (LEN / c->group) + t / c->group : at;
                pare_kv_decode(c, store + place * unit, 1, KV_HEADS, DIM, kept);
                CHECK(memcmp(kept, want, n * sizeof *want) == 0);
            }
        }
}

static pare_status ignore(uint32_t layer, uint32_t n, uint32_t n_head, uint32_t dim, const float *exact,
                          const float *kept, void *user, pare_error *err)
{
    (void)layer, (void)n, (void)n_head, (void)dim, (void)exact, (void)kept, (void)user, (void)err;
    return PARE_OK;
}

/* Two sequences through slices that end in one of them: what is exact, what is coded, and where it is stored. */
static void test_store(void **state)
{
    (void)state;
    static const struct {
        const char *k, *v;
        uint32_t sinks, recent;
    } rows[] = {{"q8_0", "q4_0", 5, 0},     {"kivi4", "kivi2", 20, 0},  {"kivi2", "q5_0", 0, 100},
                {"channel4", "f16", 40, 0}, {"klt4", "klt3", 9, 0},     {"q8_0", "q4_0", 0, 1},
                {"kivi4", "kivi2", 0, 150}, {"channel4", "q5_1", 0, 7}, {"klt4", "klt3", 9, 70}};
    pare_error err = {0};
    fixture t;
    int32_t ids[2 * LEN];
    open_toy(&t);
    for (int i = 0; i < 2 * LEN; i++)
        ids[i] = t.ids[i % LEN] ^ (i / LEN);
    t.b->slice_tokens = 48;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pare_kv_form form = form_of(rows[i].k, rows[i].v, PARE_KV_TURN_OFF);
        pare_forward *f = NULL;
        form.sinks = rows[i].sinks;
        form.recent = rows[i].recent;
        pare_kv_calibration *c = calibrate(&t, ids, 2 * LEN, &form);
        const pare_kv_layer last = pare_kv_layer_of(&form, &t.m, 1);
        CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 2, &err), &err);
        CHECK_OK(pare_forward_keep(f, &form, &err), &err);
        CHECK_OK(pare_forward_watch(f, ignore, NULL, &err), &err);
        CHECK_OK(pare_forward_run(f, ids, 2, LEN, &err), &err);
        check_side(&form, last.k, f->k, f->kv.exact_k, f->kv.raw, (const uint8_t *)f->kv.k);
        check_side(&form, last.v, f->v, f->kv.exact_v, NULL, (const uint8_t *)f->kv.v);
        pare_forward_close(f);
        pare_kv_calibration_close(c);
    }
    close_toy(&t);
}

/* How tokens are cut into slices changes nothing, nor do sequences beside. */
static void test_slices(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"kivi2", "kivi2"}, {"channel2", "kivi4"}, {"q4_0", "kivi2"}};
    pare_error err = {0};
    fixture t;
    int32_t ids[2 * LEN];
    float *got = check_malloc(sizeof *got * LEN * VOCAB);
    open_toy(&t);
    for (int i = 0; i < 2 * LEN; i++)
        ids[i] = t.ids[(i + i / LEN) % LEN];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        pare_kv_form form = form_of(names[i][0], names[i][1], PARE_KV_TURN_OFF);
        form.sinks = 3;
        t.b->slice_tokens = 4096;
        float *want = logits_of(&t, &form);
        for (uint32_t slice = 7; slice <= 64; slice += 57) {
            pare_forward *f = NULL;
            t.b->slice_tokens = slice;
            CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 2, &err), &err);
            CHECK_OK(pare_forward_keep(f, &form, &err), &err);
            for (int k = 0; k < 2; k++) { /* the second run finds what the first one has left */
                CHECK_OK(pare_forward_run(f, ids, 2, LEN, &err), &err);
                CHECK_OK(pare_forward_logits(f, 0, 0, LEN, got, &err), &err);
                CHECK(distance(got, want, 0, LEN) < 1e-4);
            }
            pare_forward_close(f);
        }
        free(want);
    }
    free(got);
    close_toy(&t);
}

static pare_status add_error(uint32_t layer, uint32_t n, uint32_t n_head, uint32_t dim, const float *exact,
                             const float *kept, void *user, pare_error *err)
{
    double *sum = user;
    (void)err;
    for (size_t i = 0; i < (size_t)n * n_head * dim; i++)
        sum[layer] += ((double)exact[i] - (double)kept[i]) * ((double)exact[i] - (double)kept[i]);
    return PARE_OK;
}

/* Layers that share keys read them as they are stored, whichever layers are spared. */
static void test_shared(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    double sum[2] = {0, 0};
    uint64_t all = 0, own = 0;
    open_toy(&t);
    pare_kv_form form = form_of("q4_0", "q4_0", PARE_KV_TURN_FULL);
    CHECK_OK(pare_kv_bytes(&form, &t.m, 100, 100, &all, &err), &err);
    t.m.hp.n_layer_shared_kv = 1;
    CHECK(pare_kv_has_layer(&t.m, 0) && !pare_kv_has_layer(&t.m, 1));
    CHECK_OK(pare_kv_bytes(&form, &t.m, 100, 100, &own, &err), &err);
    CHECK(2 * own == all);
    float *want = logits_of(&t, &form), *floats = logits_of(&t, NULL);
    CHECK(distance(want, floats, 0, LEN) < 0.3);
    form.last = 1;
    CHECK(error_of(&t, &form, want) == 0);
    pare_forward *f = NULL;
    CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 1, &err), &err);
    CHECK_OK(pare_forward_keep(f, &form, &err), &err);
    CHECK_OK(pare_forward_watch(f, add_error, sum, &err), &err);
    CHECK_OK(pare_forward_run(f, t.ids, 1, LEN, &err), &err);
    CHECK(sum[0] > 0 && sum[1] == 0); /* the second has no keys to be watched */
    pare_forward_close(f);
    form = form_of("q4_0", "kivi2", PARE_KV_TURN_OFF);
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "share keys") != NULL);
    free(want);
    free(floats);
    close_toy(&t);
}

/* Tokens that stay exact: with all of them in F16 nothing is coded; behind them something is. */
static void test_recent(void **state)
{
    (void)state;
    fixture t;
    open_toy(&t);
    pare_kv_form half = form_of("f16", "f16", PARE_KV_TURN_OFF), few = form_of("kivi2", "kivi2", PARE_KV_TURN_OFF);
    const uint32_t recent = few.k->recent;
    CHECK(recent == few.v->recent && recent >= few.k->group && recent + 2 * few.k->group < LEN);
    float *want = logits_of(&t, &half), *got = logits_of(&t, &few);
    CHECK(distance(got, want, 0, recent + 32) < 1e-5); /* the step of 32 that begins at `recent` sees all in F16 */
    CHECK(distance(got, want, recent + 64, LEN) > 1e-3);
    free(got);
    pare_kv_form wide = few; /* the larger the step, the longer tokens stay as they are */
    wide.step = LEN;
    CHECK(error_of(&t, &wide, want) == 0);
    pare_kv_form sinks = form_of("q4_0", "q4_0", PARE_KV_TURN_OFF), last = sinks;
    last.recent = 70; /* of any codec */
    got = logits_of(&t, &last);
    CHECK(distance(got, want, 0, 64 + 32) < 1e-5 && distance(got, want, 64 + 32, LEN) > 1e-3);
    CHECK(distance(got, want, 96, LEN) < 0.8 * error_of(&t, &sinks, want));
    free(got);
    sinks.sinks = 40;
    got = logits_of(&t, &sinks);
    CHECK(distance(got, want, 0, 40) == 0 && distance(got, want, 40, LEN) > 1e-3);
    free(got);
    free(want);
    close_toy(&t);
}

/* Keys with channels far from 0 break under one scale a block. Rotation helps, as do keys before RoPE by channel, a
 * mean that is taken off, and layers that are spared. */
static void test_outliers(void **state)
{
    (void)state;
    fixture t;
    open_toy(&t);
    for (int i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%d.attn_k.bias", i);
        toy_add(&t.m, &(uint64_t){7}, name, 0, (uint64_t)KV_HEADS * DIM, 0.1f, 0);
        toy_values(&t.m, name)[DIM / 2 - 1] = 60; /* a pair that turns slowly */
        toy_values(&t.m, name)[DIM + DIM / 2 - 2] = -50;
    }
    float *want = logits_of(&t, NULL);
    const pare_kv_form off = form_of("q4_0", NULL, PARE_KV_TURN_OFF), full = form_of("q4_0", NULL, PARE_KV_TURN_FULL),
                       llama = form_of("q4_0", NULL, PARE_KV_TURN_LLAMA);
    double plain = error_of(&t, &off, want);
    CHECK(error_of(&t, &full, want) < plain / 1.5 && error_of(&t, &llama, want) < plain / 1.5);
    pare_kv_form spared = off;
    spared.first = spared.last = 1;
    CHECK(error_of(&t, &spared, want) < plain / 20);
    free(want);
    close_toy(&t);
}

typedef struct sums {
    double *mean; /* [layers, width] */
    uint64_t n;
} sums;

static pare_status add_keys(uint32_t layer, uint32_t n, uint32_t width, const float *keys, void *user, pare_error *err)
{
    sums *s = user;
    (void)err;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < width; c++)
            s->mean[layer * width + c] += (double)keys[i * width + c] / LEN;
    s->n += n;
    return PARE_OK;
}

static void test_mean(void **state)
{
    (void)state;
    enum { WIDTH = KV_HEADS * DIM };
    pare_error err = {0};
    fixture t;
    double mean[2 * WIDTH] = {0};
    float means[2 * WIDTH];
    sums s = {mean, 0};
    open_toy(&t);
    toy_add(&t.m, &(uint64_t){7}, "blk.0.attn_k.bias", 0, WIDTH, 0.1f, 0);
    toy_values(&t.m, "blk.0.attn_k.bias")[DIM - 1] = 60;
    pare_forward *f = NULL;
    CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 1, &err), &err);
    pare_forward_observe_keys(f, add_keys, &s);
    CHECK_OK(pare_forward_run(f, t.ids, 1, LEN, &err), &err);
    pare_forward_close(f);
    CHECK(s.n == 2 * LEN);
    for (int i = 0; i < 2 * WIDTH; i++)
        means[i] = (float)mean[i];
    CHECK(means[DIM - 1] > 40);
    float again[2 * WIDTH];
    const pare_window_plan plan = {.n_ctx = LEN};
    CHECK_OK(pare_kv_means(&t.m, t.b, t.ids, LEN, -1, &plan, again, &err), &err);
    for (int i = 0; i < 2 * WIDTH; i++)
        CHECK(fabsf(again[i] - means[i]) <= 1e-5f * fmaxf(1, fabsf(means[i])));
    float *want = logits_of(&t, NULL);
    pare_kv_form off = form_of("q4_0", NULL, PARE_KV_TURN_OFF), less = off,
                 exact = form_of("f32", NULL, PARE_KV_TURN_OFF);
    less.key_mean = exact.key_mean = means;
    CHECK(error_of(&t, &exact, want) < 1e-5);
    CHECK(error_of(&t, &less, want) < error_of(&t, &off, want) / 2);
    t.m.hp.attn_softcap = 30;
    CHECK(pare_kv_check(&less, &t.m, &err) == PARE_ERR_USAGE);
    free(want);
    close_toy(&t);
}

/* Who watches sees the error of each layer by itself, and the run gives the same. */
static void test_watch(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    double sum[2] = {0, 0};
    open_toy(&t);
    pare_kv_form form = form_of("q4_0", "q4_0", PARE_KV_TURN_FULL);
    form.last = 1;
    float *want = logits_of(&t, &form), *got = check_malloc(sizeof *got * LEN * VOCAB);
    pare_forward *f = NULL;
    CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 1, &err), &err);
    CHECK_OK(pare_forward_keep(f, &form, &err), &err);
    CHECK_OK(pare_forward_watch(f, add_error, sum, &err), &err);
    CHECK_OK(pare_forward_run(f, t.ids, 1, LEN, &err), &err);
    CHECK_OK(pare_forward_logits(f, 0, 0, LEN, got, &err), &err);
    CHECK(memcmp(want, got, sizeof *got * LEN * VOCAB) == 0);
    CHECK(sum[0] > 0 && sum[1] > 0 && sum[1] < sum[0] / 100); /* F16 in the second */
    pare_forward_close(f);
    free(want);
    free(got);
    close_toy(&t);
}

static void count(uint32_t n_done, uint32_t n_windows, void *user)
{
    uint32_t *calls = user;
    CHECK(n_done == ++*calls && n_windows == 4);
}

/* Each form beside floats, in the order given. */
static void test_sweep(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    uint32_t calls = 0;
    pare_eval_result out[3];
    open_toy(&t);
    const pare_kv_form forms[] = {form_of("q4_0", "q4_0", PARE_KV_TURN_OFF), form_of("f32", "f32", PARE_KV_TURN_OFF),
                                  form_of("q8_0", "q8_0", PARE_KV_TURN_OFF)};
    const pare_kv_sweep_job job = {.m = &t.m,
                                   .b = t.b,
                                   .ids = t.ids,
                                   .n = LEN,
                                   .bos = -1,
                                   .windows = {.n_ctx = 50},
                                   .forms = forms,
                                   .n_forms = 3,
                                   .each = count,
                                   .user = &calls};
    CHECK_OK(pare_kv_sweep(&job, out, &err), &err);
    CHECK(calls == 4 && out[0].n_chunks == 4);
    CHECK(out[1].kld_mean.value == 0 && out[1].ratio.value == 1);
    CHECK(out[0].kld_mean.value > out[2].kld_mean.value && out[2].kld_mean.value > 0);
    pare_kv_sweep_job none = job;
    none.n_forms = 0;
    CHECK(pare_kv_sweep(&none, out, &err) == PARE_ERR_USAGE);
    close_toy(&t);
}

/* Bytes are those that the memory model says. */
static void test_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {"f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"};
    pare_error err = {0};
    fixture t;
    pare_memory_model paper = {0};
    uint64_t bytes = 0, of_memory = 0;
    open_toy(&t);
    CHECK_OK(pare_memory_model_of(&paper, &t.m, &err), &err);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            const pare_kv_form form = form_of(names[i], names[k], PARE_KV_TURN_OFF);
            CHECK_OK(pare_kv_bytes(&form, &t.m, 1000, 1000, &bytes, &err), &err);
            CHECK_OK(pare_memory_cache_per_token(&paper, form.k->type, form.v->type, &of_memory, &err), &err);
            CHECK(bytes == 1000 * of_memory);
        }
    const pare_kv_form kivi = form_of("kivi2", "kivi2", PARE_KV_TURN_OFF);
    const uint64_t row = 2 * 2 * KV_HEADS * DIM; /* layers; F16 */
    CHECK_OK(pare_kv_bytes(&kivi, &t.m, 100, 100, &bytes, &err), &err);
    CHECK(bytes == 2 * 100 * row); /* all of them recent */
    CHECK_OK(pare_kv_bytes(&kivi, &t.m, 300, 300, &bytes, &err), &err);
    const uint64_t keys = 2 * KV_HEADS * DIM * (4 + 4 * 2), values = 2 * KV_HEADS * DIM / 32 * (4 + 4 * 2);
    CHECK(bytes == 5 * keys + (300 - 160) * row + 172 * values + 128 * row);
    pare_kv_form first = form_of("channel2", NULL, PARE_KV_TURN_OFF);
    first.sinks = 33; /* two whole groups */
    CHECK_OK(pare_kv_bytes(&first, &t.m, 300, 300, &bytes, &err), &err);
    CHECK(bytes == 6 * keys + (300 - 6 * 32) * row + 300 * 2 * row);
    pare_kv_form last = form_of("q8_0", "f16", PARE_KV_TURN_OFF);
    last.recent = 50; /* F16 has none: it is no more exact */
    CHECK(pare_kv_recent(&last, last.k) == 50 && pare_kv_recent(&last, last.v) == 0 &&
          pare_kv_recent(&last, NULL) == 0);
    CHECK_OK(pare_kv_bytes(&last, &t.m, 300, 300, &bytes, &err), &err);
    CHECK(bytes == 250 * row / 64 * 34 + 50 * row + 300 * row);
    last.k = kivi.k; /* whichever is more */
    CHECK(pare_kv_recent(&last, last.k) == 128);
    last.recent = 160;
    CHECK_OK(pare_kv_bytes(&last, &t.m, 300, 300, &bytes, &err), &err);
    CHECK(bytes == 4 * keys + (300 - 128) * row + 300 * row);
    pare_memory_model_close(&paper);
    close_toy(&t);
}

static pare_kv_layer layer_of(const pare_model *m, const char *name, pare_kv_turn turn, uint32_t layer)
{
    const pare_kv_form form = form_of(name, name, turn);
    return pare_kv_layer_of(&form, m, layer);
}

/* Which heads llama.cpp turns (llama-kv-cache.cpp: attn_rot_k, attn_rot_v), and in blocks of what. */
static void test_turns(void **state)
{
    (void)state;
    static const uint32_t rows[][3] = {{64, 64, 64},   {96, 0, 0},    {128, 128, 64}, {192, 64, 64},
                                       {256, 256, 64}, {576, 64, 64}, {80, 0, 0},     {32, 0, 0}};
    fixture t;
    open_toy(&t);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        t.m.hp.head_dim_k = t.m.hp.head_dim_v = rows[i][0];
        pare_kv_layer l = layer_of(&t.m, "q8_0", PARE_KV_TURN_LLAMA, 0);
        CHECK(l.turn_k.largest == rows[i][1] && l.turn_k.dim == (rows[i][1] > 0 ? rows[i][0] : 0));
        CHECK(l.turn_v.largest == rows[i][2] && l.turn_k.seed == 0 && l.turn_v.seed == 0);
        l = layer_of(&t.m, "q8_0", PARE_KV_TURN_FULL, 0);
        CHECK(l.turn_k.dim == rows[i][0] && l.turn_v.dim == rows[i][0] && l.turn_k.seed != 0 && l.turn_v.seed != 0);
        CHECK(l.turn_k.largest >= rows[i][0] && l.turn_v.largest >= rows[i][0]);
        l = layer_of(&t.m, "midrise4", PARE_KV_TURN_FULL, 0); /* exllamav3's */
        CHECK(l.turn_k.largest == 32 && l.turn_v.largest == 32 && l.turn_k.seed == 0 && l.turn_v.seed == 0);
        CHECK(layer_of(&t.m, "midrise4", PARE_KV_TURN_LLAMA, 0).turn_k.dim == 0);
        l = layer_of(&t.m, "kivi2", PARE_KV_TURN_FULL, 0); /* keys by channel stay where they are */
        CHECK(l.turn_k.dim == 0 && l.turn_v.dim == rows[i][0]);
        CHECK(layer_of(&t.m, "f16", PARE_KV_TURN_FULL, 0).turn_k.dim == 0);
    }
    /* Layers with a window have a cache of their own there: their heads may be others (Gemma 4). */
    t.m.hp.window = 8;
    pare_layers_add(&t.m.hp.full, 1);
    t.m.hp.head_dim_k = t.m.hp.head_dim_v = 512;
    t.m.hp.window_heads.dim = 256;
    CHECK(layer_of(&t.m, "q8_0", PARE_KV_TURN_LLAMA, 0).turn_k.largest == 256);
    CHECK(layer_of(&t.m, "q8_0", PARE_KV_TURN_LLAMA, 1).turn_k.largest == 512);
    CHECK(layer_of(&t.m, "q8_0", PARE_KV_TURN_LLAMA, 1).turn_v.largest == 64);
    t.m.hp.window_heads.dim = 128;
    t.m.hp.head_dim_k = t.m.hp.head_dim_v = 96;
    CHECK(layer_of(&t.m, "q8_0", PARE_KV_TURN_LLAMA, 1).turn_k.dim == 0);
    t.m.hp.head_dim_k = t.m.hp.head_dim_v = 512;
    t.m.hp.window_heads.dim = 96; /* the first layer's heads are asked for all */
    CHECK(layer_of(&t.m, "q8_0", PARE_KV_TURN_LLAMA, 1).turn_k.dim == 0);
    CHECK(layer_of(&t.m, "q8_0", PARE_KV_TURN_LLAMA, 1).turn_v.dim == 0);
    close_toy(&t);
}

/* Latent attention: one vector a token, coded as keys; in files that have keys and values apart, as any other. */
static void test_latent(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    uint64_t bytes = 0, of_memory = 0;
    pare_memory_model paper = {0};
    open_toy(&t);
    t.m.arch = pare_arch_find("deepseek2");
    t.m.hp.n_lora_kv = 512;
    t.m.hp.n_rot = 64;
    t.m.hp.head_dim_k = 192;
    t.m.hp.head_dim_v = 128;
    pare_kv_form form = form_of("q8_0", "q8_0", PARE_KV_TURN_FULL);
    for (int turn = PARE_KV_TURN_OFF; turn <= PARE_KV_TURN_FULL; turn++) {
        form.turn_k = form.turn_v = (pare_kv_turn)turn;
        const pare_kv_layer l = pare_kv_layer_of(&form, &t.m, 0);
        CHECK(l.k == form.k && l.v == form.k && l.turn_k.dim == 0 && l.turn_v.dim == 0);
    }
    CHECK_OK(pare_kv_check(&form, &t.m, &err), &err);
    CHECK_OK(pare_kv_bytes(&form, &t.m, 10, 10, &bytes, &err), &err);
    CHECK_OK(pare_memory_model_of(&paper, &t.m, &err), &err);
    CHECK_OK(pare_memory_cache_per_token(&paper, form.k->type, form.k->type, &of_memory, &err), &err);
    CHECK(bytes == 10 * of_memory && of_memory == 2 * 576 / 32 * 34);
    form.v = NULL; /* says nothing of values: they are what keys are */
    CHECK_OK(pare_kv_check(&form, &t.m, &err), &err);
    CHECK(pare_kv_layer_of(&form, &t.m, 0).v == form.k);
    form.last = 1;
    CHECK(strcmp(pare_kv_layer_of(&form, &t.m, 1).v->name, "f16") == 0 && pare_kv_layer_of(&form, &t.m, 0).v == form.k);
    static const char *const wrong[][2] = {{NULL, "q8_0"}, {"q8_0", "q4_0"}, {"turbo3", "turbo3"}};
    for (size_t i = 0; i < 3; i++) {
        const pare_kv_form other = form_of(wrong[i][0], wrong[i][1], PARE_KV_TURN_FULL);
        CHECK(pare_kv_check(&other, &t.m, &err) == PARE_ERR_USAGE);
        CHECK(strstr(err.text, i < 2 ? "one vector" : "rotated") != NULL);
    }
    form = form_of("kivi2", "kivi2", PARE_KV_TURN_OFF);
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_UNSUPPORTED);
    t.m.hp.latent_whole = true;
    const pare_kv_layer l = layer_of(&t.m, "q8_0", PARE_KV_TURN_LLAMA, 0);
    CHECK(l.turn_k.largest == 64 && l.turn_k.dim == 192 && l.turn_v.dim == 128);
    pare_memory_model_close(&paper);
    close_toy(&t);
}

/* Where an element cannot be kept: its token, in whichever part of the rows a thread has it. */
static void test_places(void **state)
{
    (void)state;
    enum { N = 320, BAD = 300 };
    static const char *const names[] = {"q4_0", "turbo3", "kivi2", "f16"};
    static float x[N * KV_HEADS * DIM];
    static uint8_t units[sizeof x];
    pare_error err = {0};
    fixture t;
    open_toy(&t);
    x[(BAD * KV_HEADS + 1) * DIM + 9] = NAN;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const pare_kv_codec *c = pare_kv_codec_find(names[i], PARE_KV_KEYS);
        CHECK(t.b->kv_encode(t.b, c, x, N / c->group, KV_HEADS, DIM, units, &err) == PARE_ERR_NUMBER);
        CHECK(strstr(err.text, "token 300, head 1, element 9: NaN") != NULL);
    }
    close_toy(&t);
}

static void test_errors(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    open_toy(&t);
    pare_kv_form form = form_of("turbo3", NULL, PARE_KV_TURN_OFF);
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_USAGE && strstr(err.text, "rotated") != NULL);
    const float mean[2 * KV_HEADS * DIM] = {0};
    form = form_of("channel2", NULL, PARE_KV_TURN_OFF);
    CHECK_OK(pare_kv_check(&form, &t.m, &err), &err);
    form.key_mean = mean;
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_USAGE && strstr(err.text, "their mean") != NULL);
    form.k = pare_kv_codec_find("q4_0", PARE_KV_KEYS);
    CHECK_OK(pare_kv_check(&form, &t.m, &err), &err);
    toy_add(&t.m, &(uint64_t){7}, "blk.0.attn_sinks.weight", 0, HEADS, 0.1f, 0);
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_USAGE && strstr(err.text, "their mean") != NULL);
    form = form_of("channel2", NULL, PARE_KV_TURN_OFF);
    t.m.arch = pare_arch_find("hunyuan-dense");
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "a norm follows") != NULL);
    t.m.arch = pare_arch_find("llama");
    t.m.hp.head_dim_k = t.m.hp.head_dim_v = 48;
    form = form_of("q4_0", NULL, PARE_KV_TURN_OFF);
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_USAGE && strstr(err.text, "48") != NULL);
    t.m.hp.n_layer_shared_kv = 1; /* what has no keys of its own may have any heads; and none has */
    toy_add(&t.m, &(uint64_t){7}, "blk.0.ssm_conv1d.weight", 4, 8, 0.1f, 0);
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "no layer has") != NULL);
    t.m.hp.both_ways = true;
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_UNSUPPORTED);
    close_toy(&t);
    open_toy(&t);
    toy_add(&t.m, &(uint64_t){7}, "blk.1.attn_v.bias", 0, (uint64_t)KV_HEADS * DIM, 0.1f, 0);
    toy_values(&t.m, "blk.1.attn_v.bias")[3] = INFINITY;
    form = form_of(NULL, "q8_0", PARE_KV_TURN_OFF);
    pare_forward *f = NULL;
    CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 1, &err), &err);
    CHECK_OK(pare_forward_keep(f, &form, &err), &err);
    CHECK(pare_forward_run(f, t.ids, 1, LEN, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "values of layer 1") != NULL);
    pare_forward_close(f);
    close_toy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows),  cmocka_unit_test(test_cache),  cmocka_unit_test(test_recent),
        cmocka_unit_test(test_outliers), cmocka_unit_test(test_mean),   cmocka_unit_test(test_watch),
        cmocka_unit_test(test_sweep),    cmocka_unit_test(test_bytes),  cmocka_unit_test(test_errors),
        cmocka_unit_test(test_store),    cmocka_unit_test(test_slices), cmocka_unit_test(test_shared),
        cmocka_unit_test(test_turns),    cmocka_unit_test(test_latent), cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
