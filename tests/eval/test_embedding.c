/* Embeddings of the tiny encoder of tests/families, and of the reference model with vectors of its own. */
#include "check.h"
#include "eval/embedding.h"
#include "formats/hf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEQ = 2, LEN = 24, MOST = 64 };

static pare_error err;
static pare_model model;
static pare_backend *backend;
static int32_t *ids;
static float *states; /* [SEQ, LEN, n_embd] by transformers */

static int open_encoder(void **state)
{
    (void)state;
    size_t n = 0;
    CHECK_OK(pare_hf_open(&model, source_path("tests/families/bert"), 0, &err), &err);
    CHECK_OK(pare_backend_cpu(&backend, &err), &err);
    ids = (int32_t *)(void *)check_read_file(source_path("tests/families/bert/tokens.i32"), &n);
    states = (float *)(void *)check_read_file(source_path("tests/families/bert/logits.f32"), &n);
    CHECK(n == SEQ * LEN * model.hp.n_embd * sizeof *states);
    return 0;
}

static int close_encoder(void **state)
{
    (void)state;
    pare_model_close(&model);
    backend->close(backend);
    free(ids);
    free(states);
    return 0;
}

/* The difference of an element from the mean of states [first, end) of a sequence. */
static double distance(const float *vector, uint32_t seq, uint32_t first, uint32_t end)
{
    double largest = 0;
    uint32_t width = model.hp.n_embd;
    for (uint32_t i = 0; i < width; i++) {
        double sum = 0;
        for (uint32_t t = first; t < end; t++)
            sum += (double)states[((size_t)seq * LEN + t) * width + i];
        largest = fmax(largest, fabs(sum / (end - first) - (double)vector[i]));
    }
    return largest;
}

static void pools_as_asked(void **state)
{
    (void)state;
    static const struct {
        pare_pooling pooling;
        uint32_t first, end;
    } kinds[] = {{PARE_POOLING_MEAN, 0, LEN}, {PARE_POOLING_CLS, 0, 1}, {PARE_POOLING_LAST, LEN - 1, LEN}};
    pare_text_ids texts = {0};
    float out[SEQ * MOST];
    CHECK(model.hp.n_embd <= MOST);
    for (int s = 0; s < SEQ; s++)
        CHECK_OK(pare_text_ids_add(&texts, ids + s * LEN, LEN, MOST, false, &err), &err);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        CHECK_OK(pare_embed(&model, backend, kinds[k].pooling, &texts, out, NULL, NULL, &err), &err);
        for (uint32_t s = 0; s < SEQ; s++)
            CHECK(distance(out + s * model.hp.n_embd, s, kinds[k].first, kinds[k].end) < 2e-5);
    }
    CHECK(pare_embed(&model, backend, PARE_POOLING_RANK, &texts, out, NULL, NULL, &err) == PARE_ERR_UNSUPPORTED);
    CHECK(pare_pooling_of(&model, PARE_POOLING_NONE) == PARE_POOLING_MEAN);
    CHECK(pare_pooling_of(&model, PARE_POOLING_CLS) == PARE_POOLING_CLS);
    pare_text_ids_close(&texts);
}

/* Texts of all lengths, in small batches and at once: the same bits as each alone. */
static void batches_change_nothing(void **state)
{
    (void)state;
    pare_text_ids all = {0};
    uint32_t width = model.hp.n_embd, usual = backend->batch_tokens;
    float *out = check_malloc(LEN * width * sizeof *out), *small = check_malloc(LEN * width * sizeof *out);
    float one[MOST];
    for (size_t n = 1; n <= LEN; n++)
        CHECK_OK(pare_text_ids_add(&all, ids, n, MOST, false, &err), &err);
    CHECK_OK(pare_embed(&model, backend, PARE_POOLING_MEAN, &all, out, NULL, NULL, &err), &err);
    backend->batch_tokens = 1; /* no less than the longest text */
    CHECK_OK(pare_embed(&model, backend, PARE_POOLING_MEAN, &all, small, NULL, NULL, &err), &err);
    backend->batch_tokens = usual;
    for (size_t n = 1; n <= LEN; n++) {
        pare_text_ids alone = {0};
        CHECK_OK(pare_text_ids_add(&alone, ids, n, MOST, false, &err), &err);
        CHECK_OK(pare_embed(&model, backend, PARE_POOLING_MEAN, &alone, one, NULL, NULL, &err), &err);
        for (uint32_t i = 0; i < width; i++)
            CHECK(fabsf(out[(n - 1) * width + i] - one[i]) < 1e-5f &&
                  fabsf(small[(n - 1) * width + i] - one[i]) < 1e-5f);
        pare_text_ids_close(&alone);
    }
    pare_text_ids_close(&all);
    free(out);
    free(small);
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    const int32_t text[] = {2, 7, 8, 9, 10, 3};
    pare_text_ids t = {0};
    CHECK_OK(pare_text_ids_add(&t, text, 6, 4, true, &err), &err);
    CHECK_OK(pare_text_ids_add(&t, text, 6, 4, false, &err), &err);
    CHECK_OK(pare_text_ids_add(&t, text, 6, 6, true, &err), &err);
    const int32_t want[] = {2, 7, 8, 3, 2, 7, 8, 9, 2, 7, 8, 9, 10, 3};
    CHECK(t.n_texts == 3 && t.n_cut == 2 && t.n_ids == 14 && memcmp(t.ids, want, sizeof want) == 0);
    CHECK(t.n[0] == 4 && t.n[1] == 4 && t.n[2] == 6);
    pare_text_ids_close(&t);
}

/* What an encoder is not: a model of a next token. */
static void an_encoder_has_no_logits(void **state)
{
    (void)state;
    pare_forward *f = NULL;
    pare_score_side side;
    uint32_t n = 0;
    float logits[128];
    CHECK_OK(pare_forward_open(&f, &model, backend, LEN, 1, &err), &err);
    CHECK_OK(pare_forward_run(f, ids, 1, LEN, &err), &err);
    CHECK(pare_forward_logits(f, 0, 0, 1, logits, &err) == PARE_ERR_UNSUPPORTED);
    CHECK(strstr(err.text, "encoder") != NULL);
    CHECK(pare_forward_score_side(f, &side, &n, &err) == PARE_ERR_UNSUPPORTED);
    CHECK(pare_forward_states(f, 0, LEN, 1, logits, &err) == PARE_ERR_USAGE);
    pare_forward_close(f);
}

static void gives_vectors_of_the_reference(void **state)
{
    (void)state;
    enum { N = 3, LONG = 48 };
    pare_model m;
    pare_text_ids texts = {0};
    size_t n = 0;
    CHECK_OK(pare_hf_open(&m, shared_path("oracle/models/bert"), 0, &err), &err);
    CHECK(m.hp.has_pooling && m.hp.pooling == PARE_POOLING_MEAN);
    int32_t *tokens = (int32_t *)(void *)check_read_file(shared_path("oracle/models/bert/tokens.i32"), &n);
    float *want = (float *)(void *)check_read_file(shared_path("oracle/models/bert/embeddings.f32"), &n);
    float out[N * MOST];
    CHECK(n == N * m.hp.n_embd * sizeof *want && n <= sizeof out);
    for (int i = 0; i < N; i++)
        CHECK_OK(pare_text_ids_add(&texts, tokens + i * LONG, LONG, LONG, true, &err), &err);
    CHECK_OK(pare_embed(&m, backend, pare_pooling_of(&m, PARE_POOLING_NONE), &texts, out, NULL, NULL, &err), &err);
    for (size_t i = 0; i < N * m.hp.n_embd; i++)
        CHECK(fabsf(out[i] - want[i]) < 1e-5f);
    pare_text_ids_close(&texts);
    pare_model_close(&m);
    free(tokens);
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_as_asked),
        cmocka_unit_test(batches_change_nothing),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(an_encoder_has_no_logits),
        cmocka_unit_test(gives_vectors_of_the_reference),
    };
    return cmocka_run_group_tests(tests, open_encoder, close_encoder);
}
