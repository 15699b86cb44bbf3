/* Haystacks: where the key lies, what counts as found, and that floats and forms read the same ones. */
#include "check.h"
#include "chain.h"
#include "eval/forward.h"
#include "eval/needle.h"
#include "formats/open.h"
#include "induction.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    pare_model m;
    pare_backend *b;
    pare_tokenizer *t;
    pare_ids text;
    pare_needle_job job;
} fixture;

static void open_demo(fixture *f)
{
    pare_error err = {0};
    size_t n;
    *f = (fixture){0};
    CHECK_OK(pare_model_open(&f->m, source_path("tests/data/demo"), 0, &err), &err);
    CHECK_OK(pare_backend_cpu(&f->b, &err), &err);
    CHECK_OK(pare_tokenizer_open(&f->t, &f->m.vocab, &err), &err);
    char *text = (char *)check_read_file(source_path("tests/data/demo/text.txt"), &n);
    CHECK_OK(pare_tokenize(f->t, text, n < 4000 ? n : 4000, 0, &f->text, &err), &err);
    free(text);
    f->job = (pare_needle_job){.m = &f->m,
                               .b = f->b,
                               .tokenizer = f->t,
                               .bos = 1,
                               .ids = f->text.ids,
                               .n = f->text.n,
                               .n_ctx = 120,
                               .n_depths = 3,
                               .n_keys = 2,
                               .seed = 5};
}

static void close_demo(fixture *f)
{
    free(f->text.ids);
    pare_tokenizer_close(f->t);
    f->b->close(f->b);
    pare_model_close(&f->m);
}

/* The text of tokens, owned by the caller. */
static char *words(const fixture *f, const int32_t *ids, size_t n)
{
    pare_error err = {0};
    pare_buf out = {0};
    for (size_t i = 0; i < n; i++)
        CHECK_OK(pare_detokenize(f->t, ids[i], false, &out, &err), &err);
    char *text = check_malloc(out.len + 1);
    memcpy(text, out.data, out.len);
    text[out.len] = '\0';
    pare_buf_close(&out);
    return text;
}

/* The token at which the sentence with the key begins. */
static size_t place_of(const fixture *f, const int32_t *ids)
{
    pare_error err = {0};
    pare_ids words = {0};
    size_t at = 1;
    CHECK_OK(pare_tokenize(f->t, "\nThe pass key is", 16, 0, &words, &err), &err);
    while (memcmp(ids + at, words.ids, words.n * sizeof *ids) != 0)
        CHECK(++at + words.n < f->job.n_ctx);
    free(words.ids);
    return at;
}

/* Keys of one depth do not all stand at one place, nor farther from it than 32 tokens. */
static void test_places(void **state)
{
    (void)state;
    enum { KEYS = 12, SPREAD = 32 };
    pare_error err = {0};
    fixture f;
    open_demo(&f);
    f.job.n_ctx = 1024;
    f.job.n_keys = KEYS;
    for (size_t d = 0; d < 3; d++) {
        size_t least = f.job.n_ctx, most = 0;
        for (uint32_t k = 0; k < KEYS; k++) {
            int32_t *ids = NULL;
            uint32_t n_key = 0;
            CHECK_OK(pare_needle_make(&f.job, (uint32_t)d, k, &ids, &n_key, &err), &err);
            const size_t at = place_of(&f, ids);
            least = at < least ? at : least;
            most = at > most ? at : most;
            free(ids);
        }
        CHECK(most - least > SPREAD / 2 && most - least <= SPREAD);
        CHECK(d == 0 ? least < 1 + SPREAD : d == 1 ? most > 400 && least < 600 : most > 1024 - 60 - SPREAD);
    }
    close_demo(&f);
}

/* BOS, text around the sentence at its depth, the question, and the same five digits at the end. */
static void test_layout(void **state)
{
    (void)state;
    enum { BETWEEN = 40 }; /* letters of text that may stand between: a quarter of half the text's */
    pare_error err = {0};
    fixture f;
    char keys[6][8];
    size_t where[3];
    int32_t begin[2][8];
    open_demo(&f);
    for (uint32_t i = 0; i < 6; i++) {
        int32_t *ids = NULL;
        uint32_t n_key = 0;
        CHECK_OK(pare_needle_make(&f.job, i / 2, i % 2, &ids, &n_key, &err), &err);
        CHECK(ids[0] == 1 && n_key > 0 && n_key < 12);
        char *all = words(&f, ids, f.job.n_ctx), *key = words(&f, ids + f.job.n_ctx - n_key, n_key);
        const char *digits = key + strspn(key, " ");
        CHECK(strlen(digits) == 5 && strspn(digits, "0123456789") == 5 && digits[0] != '0');
        memcpy(keys[i], digits, 6);
        char sentence[64];
        snprintf(sentence, sizeof sentence, "The pass key is %s. Remember it. %s is the pass key.", digits, digits);
        const char *at = strstr(all, sentence), *question = strstr(all, "What is the pass key? The pass key is");
        CHECK(at != NULL && question != NULL && question > at && strstr(question, digits) != NULL);
        CHECK(strlen(strstr(question, digits)) == 5); /* nothing behind the key */
        where[i / 2] = (size_t)(at - all);
        if (i / 2 == 0)
            CHECK(where[0] < 4 + BETWEEN);
        memcpy(begin[i % 2], ids + 1, sizeof begin[0]);
        if (i / 2 == 2)
            CHECK(question - at <= (long)strlen(sentence) + 4 + BETWEEN);
        free(all);
        free(key);
        free(ids);
    }
    CHECK(where[0] < where[1] && where[1] < where[2]);
    CHECK(memcmp(begin[0], begin[1], sizeof begin[0]) != 0); /* each key lies in another stretch of the text */
    for (int i = 1; i < 6; i++)
        CHECK(strcmp(keys[0], keys[i]) != 0);
    close_demo(&f);
}

/* Read one by one, the haystacks say the same. */
static void check_alone(const fixture *f, const pare_needle_cell *together)
{
    pare_error err = {0};
    pare_needle_cell out[9];
    pare_needle_job job = f->job;
    job.b->batch_tokens = 1;
    job.each = NULL;
    CHECK_OK(pare_needle(&job, out, &err), &err);
    for (int i = 0; i < 9; i++)
        CHECK(out[i].n_found == together[i].n_found && fabs(out[i].ln_p - together[i].ln_p) < 1e-5);
}

static void count(uint32_t n_done, uint32_t n_all, void *user)
{
    uint32_t *last = user;
    CHECK(n_done > *last && n_done <= n_all && n_all == 18);
    *last = n_done;
}

/* ln p of the key, against logits of the whole haystack; F32 is what floats are; another form is not. */
static void test_scores(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture f;
    uint32_t last = 0;
    pare_needle_cell out[9];
    open_demo(&f);
    const pare_kv_form forms[] = {
        {.k = pare_kv_codec_find("f32", PARE_KV_KEYS), .v = pare_kv_codec_find("f32", PARE_KV_VALUES)},
        {.k = pare_kv_codec_find("q4_0", PARE_KV_KEYS), .v = pare_kv_codec_find("q4_0", PARE_KV_VALUES)}};
    f.job.forms = forms;
    f.job.n_forms = 2;
    f.job.each = count;
    f.job.user = &last;
    f.b->batch_tokens = 4 * f.job.n_ctx; /* of six haystacks four, then two */
    CHECK_OK(pare_needle(&f.job, out, &err), &err);
    CHECK(last == 18);
    check_alone(&f, out);
    pare_forward *pass = NULL;
    const uint32_t n_vocab = f.m.hp.n_vocab, n_ctx = f.job.n_ctx;
    float *rows = check_malloc((size_t)n_ctx * n_vocab * sizeof *rows);
    CHECK_OK(pare_forward_open(&pass, &f.m, f.b, n_ctx, 1, &err), &err);
    for (uint32_t d = 0; d < 3; d++) {
        double want = 0;
        for (uint32_t k = 0; k < 2; k++) {
            int32_t *ids = NULL;
            uint32_t n_key = 0;
            CHECK_OK(pare_needle_make(&f.job, d, k, &ids, &n_key, &err), &err);
            CHECK_OK(pare_forward_run(pass, ids, 1, n_ctx, &err), &err);
            CHECK_OK(pare_forward_logits(pass, 0, 0, n_ctx, rows, &err), &err);
            for (uint32_t i = n_ctx - n_key; i < n_ctx; i++) {
                double sum = 0;
                for (uint32_t v = 0; v < n_vocab; v++)
                    sum += exp((double)rows[(size_t)(i - 1) * n_vocab + v]);
                want += ((double)rows[(size_t)(i - 1) * n_vocab + (uint32_t)ids[i]] - log(sum)) / 2;
            }
            free(ids);
        }
        CHECK(fabs(out[d].ln_p - want) < 1e-3 * fabs(want) && out[d].n_found <= 2);
        CHECK(fabs(out[3 + d].ln_p - want) < 1e-3 * fabs(want));
        CHECK(fabs(out[6 + d].ln_p - want) > 1e-6);
    }
    pare_forward_close(pass);
    free(rows);
    close_demo(&f);
}

static void test_bad_input(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture f;
    pare_needle_cell out[3];
    open_demo(&f);
    uint32_t least = 0;
    CHECK_OK(pare_needle_least(&f.job, &least, &err), &err);
    f.job.n_ctx = least;
    CHECK_OK(pare_needle(&f.job, out, &err), &err);
    f.job.n_ctx = least - 1;
    CHECK(pare_needle(&f.job, out, &err) == PARE_ERR_USAGE && strstr(err.text, "alone take") != NULL);
    f.job.n_ctx = 30;
    CHECK(pare_needle(&f.job, out, &err) == PARE_ERR_USAGE && strstr(err.text, "30 tokens") != NULL);
    f.job.n_ctx = 120;
    f.job.n = 40;
    CHECK(pare_needle(&f.job, out, &err) == PARE_ERR_USAGE && strstr(err.text, "which has 40") != NULL);
    f.job.n_depths = 0;
    CHECK(pare_needle(&f.job, out, &err) == PARE_ERR_USAGE);
    close_demo(&f);
}

enum { UNK, BOS, EOS, DIGIT, N_IDS = DIGIT + 10, CTX = 100 };

/* A vocabulary of digits, in which one token stands for all other text, and a model that knows what follows each. */
static uint32_t look_for(const int *next, uint64_t seed, int32_t *key)
{
    static const char *const texts[N_IDS] = {"<unk>", "<s>", "</s>", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    chain_token tokens[N_IDS];
    pare_error err = {0};
    chain c;
    pare_needle_cell out[1];
    int32_t text[CTX] = {0}, *ids = NULL;
    uint32_t n_key = 0;
    for (int i = 0; i < N_IDS; i++)
        tokens[i] = (chain_token){texts[i],
                                  i == UNK    ? PARE_TOKEN_UNKNOWN
                                  : i < DIGIT ? PARE_TOKEN_CONTROL
                                              : PARE_TOKEN_NORMAL,
                                  next[i]};
    chain_open(&c, tokens, N_IDS, N_IDS, CTX);
    const pare_needle_job job = {.m = &c.m,
                                 .b = c.b,
                                 .tokenizer = c.tokenizer,
                                 .bos = BOS,
                                 .ids = text,
                                 .n = CTX,
                                 .n_ctx = CTX,
                                 .n_depths = 1,
                                 .n_keys = 1,
                                 .seed = seed};
    CHECK_OK(pare_needle(&job, out, &err), &err);
    CHECK_OK(pare_needle_make(&job, 0, 0, &ids, &n_key, &err), &err);
    CHECK(n_key == 5);
    memcpy(key, ids + CTX - 5, 5 * sizeof *key);
    free(ids);
    chain_close(&c);
    return out[0].n_found;
}

/* Found: every digit is the likeliest behind those before it; with one link broken, whichever, it is not. */
static void test_found(void **state)
{
    (void)state;
    int next[N_IDS] = {0};
    int32_t key[5];
    bool distinct = false;
    uint64_t seed = 0;
    while (!distinct) {
        CHECK(look_for(next, ++seed, key) == 0);
        distinct = true;
        for (int i = 0; i < 5; i++)
            for (int k = 0; k < i; k++)
                distinct = distinct && key[i] != key[k];
    }
    for (int i = 0; i < 5; i++)
        next[i > 0 ? key[i - 1] : UNK] = key[i];
    CHECK(look_for(next, seed, key) == 1);
    for (int i = 0; i < 5; i++) {
        const int at = i > 0 ? key[i - 1] : UNK, kept = next[at];
        next[at] = EOS;
        CHECK(look_for(next, seed, key) == 0);
        next[at] = kept;
    }
}

/* A model that retrieves finds all keys with floats and with F16, and with one bit less than half: what is found is
 * seen through the cache, at every depth. */
static void test_retrieves(void **state)
{
    (void)state;
    enum { DEPTHS = 4, KEYS = 4 };
    pare_error err = {0};
    pare_model m;
    fixture f;
    pare_needle_cell out[3 * DEPTHS];
    uint32_t n_coarse = 0;
    open_demo(&f);
    induction_open(&m, f.m.hp.n_vocab);
    const pare_kv_form forms[] = {
        {.k = pare_kv_codec_find("f16", PARE_KV_KEYS), .v = pare_kv_codec_find("f16", PARE_KV_VALUES)},
        {.k = pare_kv_codec_find("turbo1", PARE_KV_KEYS),
         .v = pare_kv_codec_find("turbo1", PARE_KV_VALUES),
         .turn_k = PARE_KV_TURN_FULL,
         .turn_v = PARE_KV_TURN_FULL}};
    f.job.m = &m;
    f.job.n_ctx = 256;
    f.job.n_depths = DEPTHS;
    f.job.n_keys = KEYS;
    f.job.forms = forms;
    f.job.n_forms = 2;
    CHECK_OK(pare_needle(&f.job, out, &err), &err);
    for (int d = 0; d < DEPTHS; d++) {
        CHECK(out[d].n_found == KEYS && out[DEPTHS + d].n_found == KEYS);
        CHECK(out[d].ln_p > -1 && out[2 * DEPTHS + d].ln_p < out[d].ln_p - 5);
        n_coarse += out[2 * DEPTHS + d].n_found;
    }
    CHECK(n_coarse < DEPTHS * KEYS / 2);
    pare_model_close(&m);
    close_demo(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_retrieves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
