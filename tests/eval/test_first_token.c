#include "check.h"
#include "toy.h"

#include "core/threads.h"
#include "eval/first_token.h"
#include "formats/open.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 40, PROMPTS = 90 };

static pare_backend *open_cpu(void)
{
    pare_backend *b = NULL;
    pare_error err = {0};
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    return b;
}

/* ln p behind the prompt, which runs alone. */
static void log_probabilities(const pare_model *m, pare_backend *b, const pare_prompt *prompt, double *ln_p)
{
    float logits[VOCAB];
    double sum = 0;
    pare_forward *f = NULL;
    pare_error err = {0};
    CHECK_OK(pare_forward_open(&f, m, b, prompt->n, 1, &err), &err);
    CHECK_OK(pare_forward_run(f, prompt->ids, 1, prompt->n, &err), &err);
    CHECK_OK(pare_forward_logits(f, 0, prompt->n - 1, 1, logits, &err), &err);
    for (int v = 0; v < VOCAB; v++)
        sum += exp((double)logits[v]);
    for (int v = 0; v < VOCAB; v++)
        ln_p[v] = (double)logits[v] - log(sum);
    pare_forward_close(f);
}

static void batches_give_what_single_prompts_give(void **state)
{
    (void)state;
    pare_model reference, noisy;
    pare_error err = {0};
    pare_backend *b = open_cpu();
    toy_llama(&reference, VOCAB, 0);
    toy_llama(&noisy, VOCAB, 0.05f);
    int32_t ids[400];
    pare_prompt prompts[PROMPTS];
    for (int i = 0; i < 400; i++)
        ids[i] = (i * 17 + i / 7) % VOCAB;
    for (int i = 0; i < PROMPTS; i++)
        prompts[i] = (pare_prompt){ids + 3 * i, 1 + (uint32_t)(i * 29) % 60};
    const pare_model *models[] = {&reference, &noisy};
    const pare_first_token_job job = {.reference = &reference, .models = models, .n_models = 2, .b = b};
    double kld[2 * PROMPTS], again[2 * PROMPTS];
    pare_set_threads(1);
    CHECK_OK(pare_first_token_prompts(&job, prompts, PROMPTS, kld, &err), &err);
    pare_set_threads(3);
    CHECK_OK(pare_first_token_prompts(&job, prompts, PROMPTS, again, &err), &err);
    pare_set_threads(0);
    CHECK(memcmp(kld, again, sizeof kld) == 0);
    for (int i = 0; i < PROMPTS; i++) {
        double p[VOCAB], q[VOCAB], expected = 0;
        log_probabilities(&reference, b, &prompts[i], p);
        log_probabilities(&noisy, b, &prompts[i], q);
        for (int v = 0; v < VOCAB; v++)
            expected += exp(p[v]) * (p[v] - q[v]);
        CHECK(kld[i] == 0); /* the reference against itself */
        CHECK(kld[PROMPTS + i] > 0 && fabs(kld[PROMPTS + i] - expected) < 1e-5 * (1 + expected));
    }
    prompts[4].n = 0;
    CHECK(pare_first_token_prompts(&job, prompts, PROMPTS, kld, &err) == PARE_ERR_USAGE);
    prompts[4].n = 3;
    noisy.hp.n_vocab--;
    CHECK(pare_first_token_prompts(&job, prompts, PROMPTS, kld, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "vocabulary") != NULL);
    CHECK_OK(pare_first_token_prompts(&job, prompts, 0, kld, &err), &err);
    b->close(b);
    pare_model_close(&reference);
    pare_model_close(&noisy);
}

static pare_str text_of(const char *s)
{
    return (pare_str){s, strlen(s)};
}

static void prompts_of_a_task(void **state)
{
    (void)state;
    pare_model m = {0};
    pare_error err = {0};
    pare_tokenizer *tokenizer = NULL;
    pare_backend *b = open_cpu();
    CHECK_OK(pare_model_open(&m, source_path("tests/data/demo"), 0, &err), &err);
    CHECK_OK(pare_tokenizer_open(&tokenizer, &m.vocab, &err), &err);
    char *endless = check_malloc(40001);
    memset(endless, 'a', 40000);
    for (int i = 0; i < 40000; i += 5)
        endless[i] = ' ';
    endless[40000] = '\0';
    pare_choice first = {.context = text_of("The little prince went to "), .continuation = text_of("town")};
    pare_choice second = {.context = text_of("It was a"), .continuation = text_of(" dog")};
    pare_choice third = {.context = text_of(endless), .continuation = text_of(" end")};
    pare_item items[] = {
        {.choices = &first, .n_choices = 1}, {.choices = &second, .n_choices = 1}, {.choices = &third, .n_choices = 1}};
    pare_task task = {.name = "toy", .kind = PARE_TASK_CHOICE, .items = items, .n_items = 3};
    const pare_model *models[] = {&m};
    const pare_first_token_job job = {.reference = &m, .models = models, .n_models = 1, .b = b};
    pare_first_token out;
    CHECK_OK(pare_first_token_task(&job, &task, tokenizer, &out, &err), &err);
    CHECK(out.n == 2 && out.n_too_long == 1 && out.kld.value == 0 && out.kld_max == 0);
    task.n_items = 0;
    CHECK_OK(pare_first_token_task(&job, &task, tokenizer, &out, &err), &err);
    CHECK(out.n == 0 && isnan(out.kld.value));
    free(endless);
    pare_tokenizer_close(tokenizer);
    pare_model_close(&m);
    b->close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(batches_give_what_single_prompts_give),
                                       cmocka_unit_test(prompts_of_a_task)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
