/* eval/written: answers taken out of texts, compared, counted, paired; completions in the form of human-eval. */
#include "chain.h"
#include "check.h"

#include "core/json.h"
#include "eval/drift.h"
#include "eval/task_figures.h"
#include "eval/written.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prompts are unknown text, but for z; what follows: "so 3 and #### 1,004." and a stop. Byte 0xC3 is no character. */
enum { UNK, BOS, EOS, SO, MARK, NUMBER, BYTE, STOP, Z, N_IDS };

static const chain_token tokens[N_IDS] = {
    [UNK] = {"<unk>", PARE_TOKEN_UNKNOWN, SO},
    [BOS] = {"<s>", PARE_TOKEN_CONTROL, SO},
    [EOS] = {"</s>", PARE_TOKEN_CONTROL, EOS},
    [SO] = {"so 3 and", PARE_TOKEN_NORMAL, MARK},
    [MARK] = {"\xe2\x96\x81####\xe2\x96\x81", PARE_TOKEN_NORMAL, NUMBER},
    [NUMBER] = {"1,004.", PARE_TOKEN_NORMAL, BYTE},
    [BYTE] = {"<0xC3>", PARE_TOKEN_BYTE, STOP},
    [Z] = {"z", PARE_TOKEN_NORMAL, SO},
    [STOP] = {"\nQuestion: 99\nclass", PARE_TOKEN_NORMAL, EOS},
};

static const char gsm8k[] = "{\"question\": \"a?\", \"answer\": \"so\\n#### 1004\"}\n"
                            "{\"question\": \"b?\", \"answer\": \"#### 1,004\"}\n"
                            "{\"question\": \"c?\", \"answer\": \"1004 #### 3\"}\n"
                            "{\"question\": \"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\", \"answer\": \"#### 1\"}\n";

static void open_task(pare_task *task, const char *name, const char *text)
{
    char path[4096];
    pare_error err = {0};
    snprintf(path, sizeof path, "%s/%s", temp_dir(), name);
    check_write_file(path, text, strlen(text));
    CHECK_OK(pare_task_load(task, path, &(pare_task_options){0}, &err), &err);
    CHECK(task->kind == PARE_TASK_GENERATE);
}

static size_t n_told;

static void tell(size_t n_done, size_t n_items, void *user)
{
    (void)n_items;
    (void)user;
    CHECK(n_done == ++n_told);
}

static void answers_are_compared(void **state)
{
    (void)state;
    chain c;
    pare_task task;
    pare_task_scores s = {0};
    pare_task_figure figures[PARE_MAX_FIGURES];
    pare_error err = {0};
    size_t n = 0;
    chain_open(&c, tokens, N_IDS, N_IDS, 40);
    open_task(&task, "gsm8k_test.jsonl", gsm8k);
    CHECK(task.n_items == 4 && task.max_tokens == 256 && task.n_stops == 3);
    CHECK(pare_str_equal(task.items[0].prompt, "Question: a?\nAnswer:"));
    CHECK(pare_str_equal(task.items[0].solution, " so\n#### 1004") && pare_str_equal(task.items[1].target, "1004"));
    const pare_scorer with = {.m = &c.m, .b = c.b, .tokenizer = c.tokenizer, .each = tell};
    CHECK_OK(pare_score_task(&s, &task, &with, &err), &err);
    CHECK(n_told == 4 && s.n_too_long == 1 && s.items[3].too_long && pare_n_cut(&s) == 0);
    for (int i = 0; i < 3; i++) {
        const pare_written *w = s.items[i].written;
        CHECK(pare_str_equal(w->text, "so 3 and #### 1,004.\xef\xbf\xbd\n") && w->ending == PARE_ENDS_BY_STOP);
        CHECK(pare_str_equal(w->answer[PARE_EXTRACT_STRICT], "1004"));
        CHECK(pare_str_equal(w->answer[PARE_EXTRACT_FLEXIBLE], "1004"));
        CHECK(w->right[PARE_EXTRACT_STRICT] == (i < 2) && w->right[PARE_EXTRACT_FLEXIBLE] == (i < 2));
    }
    CHECK_OK(pare_task_figures(&s, figures, &n, &err), &err);
    CHECK(n == 2 && strcmp(figures[0].key, "exact_strict") == 0 && strcmp(figures[1].key, "exact_flexible") == 0);
    CHECK(fabs(figures[0].mean.value - 2.0 / 3) < 1e-12 && fabs(figures[1].mean.value - 2.0 / 3) < 1e-12);
    pare_task_scores_close(&s);
    pare_task_close(&task);
    chain_close(&c);
}

static void a_full_context_is_counted(void **state)
{
    (void)state;
    chain c;
    pare_task task;
    pare_task_scores s = {0};
    pare_error err = {0};
    chain_open(&c, tokens, N_IDS, N_IDS, 40);
    open_task(&task, "gsm8k_test.jsonl", gsm8k);
    pare_ids prompt = {0};
    CHECK_OK(pare_prompt_ids(c.tokenizer, &c.m.vocab, task.items[0].prompt, PARE_TOKENIZE_SPECIAL, &prompt, &err),
             &err);
    const pare_scorer with = {.m = &c.m, .b = c.b, .tokenizer = c.tokenizer, .n_ctx = (uint32_t)prompt.n + 2};
    free(prompt.ids);
    CHECK_OK(pare_score_task(&s, &task, &with, &err), &err);
    CHECK(pare_n_cut(&s) == 3 && s.n_too_long == 1);
    CHECK(s.items[0].written->n_tokens == 2 && !s.items[0].written->right[PARE_EXTRACT_STRICT]);
    CHECK(s.items[0].written->answer[PARE_EXTRACT_STRICT].len == 0);
    pare_task_scores_close(&s);
    pare_task_close(&task);
    chain_close(&c);
}

/* Two models, of which one ends before its answer. */
static void answers_are_paired(void **state)
{
    (void)state;
    chain c, silent;
    chain_token other[N_IDS];
    pare_task task;
    pare_task_scores s = {0}, t = {0};
    pare_pairs pairs = {0};
    pare_error err = {0};
    memcpy(other, tokens, sizeof other);
    other[MARK].next = EOS;
    chain_open(&c, tokens, N_IDS, N_IDS, 40);
    chain_open(&silent, other, N_IDS, N_IDS, 40);
    open_task(&task, "gsm8k_test.jsonl", gsm8k);
    const pare_scorer with = {.m = &c.m, .b = c.b, .tokenizer = c.tokenizer};
    const pare_scorer with_silent = {.m = &silent.m, .b = silent.b, .tokenizer = silent.tokenizer};
    CHECK_OK(pare_score_task(&s, &task, &with, &err), &err);
    CHECK_OK(pare_score_task(&t, &task, &with_silent, &err), &err);
    CHECK_OK(pare_pairs_add_task(&pairs, &s, &t, PARE_BY_SUM, &err), &err);
    CHECK(pairs.n == 3 && pairs.n_left_out == 1);
    for (int i = 0; i < 3; i++) {
        CHECK(pairs.pair[i].reference.choice != pairs.pair[i].model.choice);
        CHECK(pairs.pair[i].reference.right == (i < 2) && !pairs.pair[i].model.right);
    }
    pare_pairs_close(&pairs);
    pare_task_scores_close(&s);
    pare_task_scores_close(&t);
    pare_task_close(&task);
    chain_close(&c);
    chain_close(&silent);
}

static void completions_are_written(void **state)
{
    (void)state;
    static const char items[] = "{\"task_id\": \"HumanEval/0\", \"prompt\": \"def f():\\n\", \"entry_point\": \"f\", "
                                "\"canonical_solution\": \"\", \"test\": \"\"}\n"
                                "{\"task_id\": \"HumanEval/1\", \"prompt\": \"def g():\\n\", \"entry_point\": \"g\", "
                                "\"canonical_solution\": \"\", \"test\": \"\"}\n"
                                "{\"task_id\": \"HumanEval/2\", \"entry_point\": \"h\", \"prompt\": "
                                "\"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\"}\n"; /* does not fit */
    chain c;
    pare_task task;
    pare_task_scores s = {0};
    pare_task_figure figures[PARE_MAX_FIGURES];
    pare_pairs pairs = {0};
    pare_error err = {0};
    char path[4096];
    size_t n = 1;
    chain_open(&c, tokens, N_IDS, N_IDS, 40);
    open_task(&task, "HumanEval.jsonl", items);
    CHECK(task.n_stops == 5 && task.max_tokens == 1024);
    const pare_scorer with = {.m = &c.m, .b = c.b, .tokenizer = c.tokenizer};
    CHECK_OK(pare_score_task(&s, &task, &with, &err), &err);
    CHECK_OK(pare_task_figures(&s, figures, &n, &err), &err);
    CHECK(n == 0); /* nothing says what is right */
    CHECK_OK(pare_pairs_add_task(&pairs, &s, &s, PARE_BY_SUM, &err), &err);
    CHECK(pairs.n == 0 && pairs.n_left_out == 3 && s.n_too_long == 1);
    snprintf(path, sizeof path, "%s/completions.jsonl", temp_dir());
    CHECK_OK(pare_write_completions(&s, path, 0, &err), &err);
    CHECK(pare_write_completions(&s, path, 0, &err) == PARE_ERR_USAGE); /* it exists */
    char *text = (char *)check_read_file(path, &n), *line = text;
    for (int i = 0; i < 2; i++) {
        char *end = memchr(line, '\n', n - (size_t)(line - text));
        json_t *row = NULL;
        pare_str id = {0}, completion = {0};
        CHECK(end != NULL);
        CHECK_OK(pare_json_parse(&row, path, line, (size_t)(end - line), 0, &err), &err);
        CHECK_OK(pare_json_str(row, path, "task_id", &id, NULL, &err), &err);
        CHECK_OK(pare_json_str(row, path, "completion", &completion, NULL, &err), &err);
        CHECK(json_object_size(row) == 2 && pare_str_equal(id, i == 0 ? "HumanEval/0" : "HumanEval/1"));
        CHECK(pare_str_equal(completion, "so 3 and #### 1,004.\xef\xbf\xbd\nQuestion: 99"));
        json_decref(row);
        line = end + 1;
    }
    CHECK(line == text + n);
    free(text);
    pare_pairs_close(&pairs);
    pare_task_scores_close(&s);
    pare_task_close(&task);
    chain_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_compared),
        cmocka_unit_test(a_full_context_is_counted),
        cmocka_unit_test(answers_are_paired),
        cmocka_unit_test(completions_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
