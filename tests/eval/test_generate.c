/* eval/generate: endings, stops, streams and draws with a model whose next token is known; whole texts of a real model
 * against passes over whole sequences. */
#include "check.h"
#include "chain.h"

#include "core/threads.h"
#include "eval/generate.h"
#include "formats/open.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNK, BOS, EOS, A, B, C, D, FIRST, SECOND, LOOP, ANY, BROKEN, CONTROL, PAD, N_IDS };

static const chain_token tokens[N_IDS] = {
    [UNK] = {"<unk>", PARE_TOKEN_UNKNOWN, EOS},
    [BOS] = {"<s>", PARE_TOKEN_CONTROL, A},
    [EOS] = {"</s>", PARE_TOKEN_CONTROL, EOS},
    [A] = {"a", PARE_TOKEN_NORMAL, B},
    [B] = {"b", PARE_TOKEN_NORMAL, C},
    [C] = {"\xe2\x96\x81"
           "c",
           PARE_TOKEN_NORMAL, D},
    [D] = {"d", PARE_TOKEN_NORMAL, FIRST},
    [FIRST] = {"<0xC3>", PARE_TOKEN_BYTE, SECOND},
    [SECOND] = {"<0xA9>", PARE_TOKEN_BYTE, CONTROL},
    [LOOP] = {"xy", PARE_TOKEN_NORMAL, LOOP},
    [ANY] = {"?", PARE_TOKEN_NORMAL, CHAIN_EVEN},
    [BROKEN] = {"!", PARE_TOKEN_NORMAL, CHAIN_NAN},
    [CONTROL] = {"<c>", PARE_TOKEN_CONTROL, PAD},
    [PAD] = {"", PARE_TOKEN_UNUSED, EOS}, /* a row of the embedding behind the vocabulary */
};

typedef struct toy {
    chain c;
    char sent[64][256];
    char order[256];
} toy;

static pare_status take_text(size_t prompt, const char *bytes, size_t n, void *user, pare_error *err)
{
    toy *y = user;
    (void)err;
    CHECK(prompt < 64 && n > 0 && strlen(y->sent[prompt]) + n < sizeof y->sent[prompt]);
    strncat(y->sent[prompt], bytes, n);
    return PARE_OK;
}

static pare_status take_done(size_t prompt, const pare_completion *c, void *user, pare_error *err)
{
    toy *y = user;
    (void)err;
    CHECK(strlen(y->sent[prompt]) == c->text.len);
    CHECK(c->text.len == 0 || memcmp(y->sent[prompt], c->text.data, c->text.len) == 0);
    snprintf(y->order + strlen(y->order), 8, "%zu ", prompt);
    return PARE_OK;
}

static void open_toy(toy *y)
{
    memset(y, 0, sizeof *y);
    chain_open(&y->c, tokens, N_IDS, N_IDS - 1, 40);
}

static void close_toy(toy *y)
{
    chain_close(&y->c);
}

static pare_generate_job job_of(toy *y, const pare_ids *prompts, size_t n)
{
    return (pare_generate_job){.m = &y->c.m,
                               .b = y->c.b,
                               .tokenizer = y->c.tokenizer,
                               .vocab = &y->c.m.vocab,
                               .prompts = prompts,
                               .n_prompts = n,
                               .text = take_text,
                               .done = take_done,
                               .user = y};
}

static void check_text(toy *y, const pare_generate_job *job, const char *text, pare_ending ending)
{
    pare_error err = {0};
    pare_completion c = {0};
    memset(y->sent, 0, sizeof y->sent);
    CHECK_OK(pare_generate(job, &c, &err), &err);
    bool same = c.text.len == strlen(text) && (c.text.len == 0 || memcmp(c.text.data, text, c.text.len) == 0);
    if (!same || c.ending != ending)
        print_error("'%.*s' (%s), expected '%s'\n", (int)c.text.len, same ? text : c.text.data,
                    pare_ending_name(c.ending), text);
    CHECK(same && c.ending == ending);
    for (uint32_t i = 0; i < c.n; i++)
        CHECK(fabsf(c.lead[i] - 2 * sqrtf(N_IDS)) < 1e-4f);
    pare_completion_close(&c);
}

static void texts_end_where_they_should(void **state)
{
    (void)state;
    toy *y = check_malloc(sizeof *y);
    open_toy(y);
    int32_t a[] = {BOS, A}, loop[] = {LOOP};
    const pare_ids from_a = {.ids = a, .n = 2}, from_loop = {.ids = loop, .n = 1};
    pare_generate_job job = job_of(y, &from_a, 1);
    check_text(y, &job, "b cd\xc3\xa9", PARE_ENDS_BY_TOKEN); /* the control token and the row without text give none */
    const struct {
        const char *stops[2];
        const char *text;
        pare_ending ending;
    } cases[] = {
        {{"cd"}, "b ", PARE_ENDS_BY_STOP},
        {{"cd", " c"}, "b", PARE_ENDS_BY_STOP},
        {{"ce", "dd"}, "b cd\xc3\xa9", PARE_ENDS_BY_TOKEN}, /* begun, and let go */
        {{"\xa9"}, "b cd\xc3", PARE_ENDS_BY_STOP},
        {{"\xa9z"}, "b cd\xc3\xa9", PARE_ENDS_BY_TOKEN}, /* held back at the end */
        {{"b"}, "", PARE_ENDS_BY_STOP},
        {{"ab"}, "b cd\xc3\xa9", PARE_ENDS_BY_TOKEN}, /* the prompt is no part of it */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pare_str stops[2];
        for (job.n_stops = 0; job.n_stops < 2 && cases[i].stops[job.n_stops] != NULL; job.n_stops++)
            stops[job.n_stops] = (pare_str){cases[i].stops[job.n_stops], strlen(cases[i].stops[job.n_stops])};
        job.stops = stops;
        check_text(y, &job, cases[i].text, cases[i].ending);
    }
    y->c.m.vocab.eot = C; /* any of three tokens ends a text */
    y->c.m.vocab.eom = D;
    job = job_of(y, &from_a, 1);
    check_text(y, &job, "b", PARE_ENDS_BY_TOKEN);
    y->c.m.vocab.eot = PARE_TOKEN_NONE;
    check_text(y, &job, "b c", PARE_ENDS_BY_TOKEN);
    y->c.m.vocab.eom = PARE_TOKEN_NONE;
    job = job_of(y, &from_loop, 1);
    const pare_str both[2] = {{"y", 1}, {"x", 1}}; /* in one token: the first in the text counts */
    job.stops = both;
    job.n_stops = 2;
    check_text(y, &job, "", PARE_ENDS_BY_STOP);
    int32_t many[2500]; /* more than are read at once */
    for (size_t i = 0; i < 2500; i++)
        many[i] = LOOP;
    const pare_ids from_many = {.ids = many, .n = 2500};
    job = job_of(y, &from_many, 1);
    job.n_ctx = 2502;
    check_text(y, &job, "xyxy", PARE_ENDS_BY_CONTEXT);
    job = job_of(y, &from_loop, 1);
    job.max_tokens = 3;
    check_text(y, &job, "xyxyxy", PARE_ENDS_BY_COUNT);
    job.n_ctx = 3;
    check_text(y, &job, "xyxy", PARE_ENDS_BY_CONTEXT);
    job.n_ctx = 4;
    check_text(y, &job, "xyxyxy", PARE_ENDS_BY_COUNT);
    job.n_ctx = 1;
    check_text(y, &job, "", PARE_ENDS_UNASKED);
    job.n_ctx = job.max_tokens = 0; /* as many as the model was trained for */
    pare_completion c = {0};
    pare_error err = {0};
    memset(y->sent, 0, sizeof y->sent);
    CHECK_OK(pare_generate(&job, &c, &err), &err);
    CHECK(c.n == 39 && c.ending == PARE_ENDS_BY_CONTEXT);
    pare_completion_close(&c);
    close_toy(y);
    free(y);
}

static void prompts_begin_with_one_bos(void **state)
{
    (void)state;
    toy *y = check_malloc(sizeof *y);
    pare_ids ids = {0};
    pare_error err = {0};
    open_toy(y);
    for (int said = 0; said < 2; said++) {
        pare_str text = said ? (pare_str){"<s>a", 4} : (pare_str){"a", 1};
        ids.n = 0;
        CHECK_OK(pare_prompt_ids(y->c.tokenizer, &y->c.m.vocab, text, PARE_TOKENIZE_SPECIAL, &ids, &err), &err);
        CHECK(ids.n >= 2 && ids.ids[0] == BOS && ids.ids[1] != BOS && ids.ids[ids.n - 1] == A);
    }
    free(ids.ids);
    close_toy(y);
    free(y);
}

/* More prompts than sequences; those behind take the place of those that are done. */
static void prompts_take_turns(void **state)
{
    (void)state;
    enum { N = 40 };
    toy *y = check_malloc(sizeof *y);
    open_toy(y);
    static const int starts[] = {A, LOOP, D, C, LOOP};
    static const char *const texts[] = {"b cd\xc3\xa9", "xyxyxyxyxyxyxy", "\xc3\xa9", "d\xc3\xa9", "xyxyxyxyxyxyxy"};
    pare_ids prompts[N];
    pare_completion out[N] = {0};
    pare_error err = {0};
    for (int i = 0; i < N; i++) {
        size_t n = (size_t)(i % 7) + 18; /* the first 17 in common, which are read once */
        prompts[i] = (pare_ids){.ids = check_malloc(n * sizeof(int32_t)), .n = n};
        for (size_t k = 0; k < n; k++)
            prompts[i].ids[k] = k + 1 == n ? starts[i % 5] : B;
    }
    prompts[11].n = 17;
    prompts[11].ids[16] = A;
    pare_generate_job job = job_of(y, prompts, N);
    job.max_tokens = 7;
    job.n_ctx = 24; /* the longest prompt, of 24, is not asked */
    CHECK_OK(pare_generate(&job, out, &err), &err);
    for (int i = 0; i < N; i++) {
        const char *want = i == 11 ? texts[0] : texts[i % 5];
        size_t room = 24 - prompts[i].n, n = strlen(want);
        if (i % 7 == 6)
            CHECK(out[i].ending == PARE_ENDS_UNASKED && out[i].n == 0);
        else if (out[i].ending == PARE_ENDS_BY_CONTEXT)
            CHECK(out[i].n == room && out[i].text.len <= n && memcmp(out[i].text.data, want, out[i].text.len) == 0);
        else
            CHECK(out[i].text.len == n && memcmp(out[i].text.data, want, n) == 0);
    }
    CHECK(strlen(y->order) == 10 * 2 + 30 * 3); /* each is done once */
    for (int i = 0; i < N; i++) {
        pare_completion_close(&out[i]);
        free(prompts[i].ids);
    }
    close_toy(y);
    free(y);
}

static void draws_depend_on_the_seed_alone(void **state)
{
    (void)state;
    enum { N = 200 };
    toy *y = check_malloc(sizeof *y);
    open_toy(y);
    int32_t any[] = {ANY}, a[] = {A};
    pare_ids prompts[N];
    pare_completion out[2][N] = {0};
    pare_error err = {0};
    size_t count[N_IDS] = {0}, differ = 0;
    for (int i = 0; i < N; i++)
        prompts[i] = (pare_ids){.ids = any, .n = 1};
    pare_generate_job job = job_of(y, prompts, N);
    job.text = NULL;
    job.done = NULL;
    job.max_tokens = 1;
    job.temperature = 1;
    for (int k = 0; k < 2; k++) {
        pare_set_threads(1 + k);
        CHECK_OK(pare_generate(&job, out[k], &err), &err);
    }
    pare_set_threads(0);
    for (int i = 0; i < N; i++) {
        int id = out[0][i].n > 0 ? out[0][i].ids[0] : EOS;
        count[id]++;
        CHECK(out[1][i].n == out[0][i].n && (out[0][i].n == 0 || out[1][i].ids[0] == id));
        pare_completion_close(&out[1][i]);
    }
    for (int id = 0; id < N_IDS; id++) /* 200 / 14 = 14.3 +- 3.6 each */
        CHECK(count[id] >= 2 && count[id] <= 33);
    job.seed = 1;
    CHECK_OK(pare_generate(&job, out[1], &err), &err);
    for (int i = 0; i < N; i++) {
        differ += out[1][i].n != out[0][i].n || (out[0][i].n > 0 && out[1][i].ids[0] != out[0][i].ids[0]);
        pare_completion_close(&out[0][i]);
        pare_completion_close(&out[1][i]);
    }
    CHECK(differ > N / 2);
    const pare_ids from_a = {.ids = a, .n = 1};
    job = job_of(y, &from_a, 1);
    job.temperature = 0.05; /* the largest is 150 / T above the others */
    check_text(y, &job, "b cd\xc3\xa9", PARE_ENDS_BY_TOKEN);
    close_toy(y);
    free(y);
}

static void refuses_what_it_cannot_do(void **state)
{
    (void)state;
    toy *y = check_malloc(sizeof *y);
    open_toy(y);
    int32_t broken[] = {A, BROKEN}, outside[] = {N_IDS};
    pare_ids prompt = {.ids = broken, .n = 2};
    pare_completion c = {0};
    pare_error err = {0};
    pare_generate_job job = job_of(y, &prompt, 1);
    CHECK(pare_generate(&job, &c, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "chain: a logit of token 0 behind prompt 0 (2 tokens) is not finite") != NULL);
    pare_completion_close(&c);
    prompt = (pare_ids){.ids = outside, .n = 1};
    CHECK(pare_generate(&job, &c, &err) == PARE_ERR_RANGE);
    pare_completion_close(&c);
    prompt.n = 0;
    CHECK(pare_generate(&job, &c, &err) == PARE_ERR_USAGE && strstr(err.text, "prompt 0 has no tokens") != NULL);
    prompt = (pare_ids){.ids = broken, .n = 1};
    job.temperature = -1;
    CHECK(pare_generate(&job, &c, &err) == PARE_ERR_USAGE);
    job.temperature = NAN;
    CHECK(pare_generate(&job, &c, &err) == PARE_ERR_USAGE);
    job.temperature = 0;
    job.stops = &(pare_str){"", 0};
    job.n_stops = 1;
    CHECK(pare_generate(&job, &c, &err) == PARE_ERR_USAGE && strstr(err.text, "stop string 0") != NULL);
    close_toy(y);
    free(y);
}

/* Prompts of all lengths, some with a common start: what was chosen is the largest logit of a pass over the whole. */
static void a_real_model_writes_what_whole_passes_say(void **state)
{
    (void)state;
    enum { N = 19, MOST = 24 };
    pare_model m;
    pare_tokenizer *t = NULL;
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    pare_ids prompts[N] = {0};
    pare_completion out[N] = {0};
    static const char start[] = "The history of the town, which lies at the foot of the hills, begins with the year ";
    static const char more[] = "in which the king came from the north and gave his people the right to hold a market.";
    CHECK_OK(pare_model_open(&m, shared_path("models/demo"), 0, &err), &err);
    CHECK_OK(pare_tokenizer_open(&t, &m.vocab, &err), &err);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    for (size_t i = 0; i < N; i++) {
        char text[256];
        int n = snprintf(text, sizeof text, "%s%.*s", start, (int)(i * i % 60), more);
        CHECK_OK(pare_prompt_ids(t, &m.vocab, (pare_str){text, (size_t)n}, 0, &prompts[i], &err), &err);
    }
    pare_generate_job job = {
        .m = &m, .b = b, .tokenizer = t, .vocab = &m.vocab, .prompts = prompts, .n_prompts = N, .max_tokens = MOST};
    CHECK_OK(pare_generate(&job, out, &err), &err);
    CHECK_OK(pare_forward_open(&f, &m, b, 128, 1, &err), &err);
    float *logits = check_malloc(m.hp.n_vocab * sizeof *logits);
    for (size_t i = 0; i < N; i++) {
        int32_t ids[128];
        size_t n = prompts[i].n;
        CHECK(out[i].n > 0 && n + out[i].n <= 128);
        memcpy(ids, prompts[i].ids, n * sizeof *ids);
        memcpy(ids + n, out[i].ids, out[i].n * sizeof *ids);
        CHECK_OK(pare_forward_run(f, ids, 1, (uint32_t)n + out[i].n, &err), &err);
        for (uint32_t k = 0; k < out[i].n; k++) {
            CHECK_OK(pare_forward_logits(f, 0, (uint32_t)n - 1 + k, 1, logits, &err), &err);
            for (uint32_t v = 0; v < m.hp.n_vocab; v++)
                CHECK(logits[v] <= logits[out[i].ids[k]] + 1e-4f);
        }
        pare_completion_close(&out[i]);
        free(prompts[i].ids);
    }
    free(logits);
    pare_forward_close(f);
    pare_tokenizer_close(t);
    b->close(b);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_end_where_they_should), cmocka_unit_test(prompts_begin_with_one_bos),
        cmocka_unit_test(prompts_take_turns),          cmocka_unit_test(draws_depend_on_the_seed_alone),
        cmocka_unit_test(refuses_what_it_cannot_do),   cmocka_unit_test(a_real_model_writes_what_whole_passes_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
