/* Types that the user gives by name: the first pattern decides, and none is without an effect in silence. */
#include "check.h"
#include "recipe/type_rules.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    bool quantizable;
} tensors[] = {{"output.weight", true},        {"token_embd.weight", true},       {"blk.0.attn_norm.weight", false},
               {"blk.0.attn_q.weight", true},  {"blk.1.attn_norm.weight", false}, {"blk.1.attn_q.weight", true},
               {"blk.1.ffn_down.weight", true}};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0] };

static char warnings[1024];

static void keep_warning(const char *text, void *user)
{
    (void)user;
    strncat(warnings, text, sizeof warnings - strlen(warnings) - 1);
}

/* What the rules say of each tensor; token_embd is decided elsewhere. The outcome of the check at the end. */
static pare_status run(const pare_type_override *overrides, size_t n, pare_type types[N_TENSORS], pare_error *err)
{
    pare_type_rules r = {0};
    const pare_type_override *found;
    warnings[0] = '\0';
    pare_set_warn_sink(keep_warning, NULL);
    pare_status st = pare_type_rules_open(&r, overrides, n, err);
    for (size_t i = 0; i < N_TENSORS && st == PARE_OK; i++) {
        st = pare_type_rules_find(&r, tensors[i].name, tensors[i].quantizable,
                                  strcmp(tensors[i].name, "token_embd.weight") == 0, &found, err);
        types[i] = found != NULL ? found->type : PARE_TYPE_NONE;
    }
    if (st == PARE_OK)
        st = pare_type_rules_check(&r, "model.gguf", err);
    pare_type_rules_close(&r);
    pare_set_warn_sink(NULL, NULL);
    return st;
}

static void the_first_match_decides(void **state)
{
    (void)state;
    pare_type types[N_TENSORS];
    pare_error err = {0};
    const pare_type_override rules[] = {{"blk\\.1\\.attn", PARE_TYPE_Q8_0}, {"attn_q", PARE_TYPE_Q6_K}};
    CHECK_OK(run(rules, 2, types, &err), &err);
    CHECK(types[3] == PARE_TYPE_Q6_K && types[5] == PARE_TYPE_Q8_0);
    CHECK(types[0] == PARE_TYPE_NONE && types[6] == PARE_TYPE_NONE);
    CHECK(types[4] == PARE_TYPE_NONE); /* a norm beside what is meant is left alone */
    CHECK(warnings[0] == '\0');
}

static void a_pattern_must_match_something_that_can_change(void **state)
{
    (void)state;
    pare_type types[N_TENSORS];
    pare_error err = {0};
    const pare_type_override nothing[] = {{"attn_q", PARE_TYPE_Q6_K}, {"blk\\.7\\.", PARE_TYPE_Q8_0}};
    CHECK(run(nothing, 2, types, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "'blk\\.7\\.=q8_0': matches no tensor of model.gguf; nothing was written") != NULL);
    const pare_type_override norms = {"norm", PARE_TYPE_F16};
    CHECK(run(&norms, 1, types, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "never quantized, 2 of them, the first is 'blk.0.attn_norm.weight'") != NULL);
}

static void a_pattern_that_comes_too_late_is_told(void **state)
{
    (void)state;
    pare_type types[N_TENSORS];
    pare_error err = {0};
    const pare_type_override late[] = {{"attn", PARE_TYPE_Q8_0}, {"attn_q", PARE_TYPE_Q6_K}};
    CHECK_OK(run(late, 2, types, &err), &err);
    CHECK(strstr(warnings, "'attn_q=q6_K': has no effect") != NULL && types[3] == PARE_TYPE_Q8_0);
    const pare_type_override taken = {"token_embd", PARE_TYPE_Q8_0};
    CHECK_OK(run(&taken, 1, types, &err), &err);
    CHECK(strstr(warnings, "has no effect") != NULL && types[1] == PARE_TYPE_NONE);
}

static void bad_patterns_are_refused(void **state)
{
    (void)state;
    pare_type types[N_TENSORS];
    pare_error err = {0};
    const pare_type_override open = {"attn_(q", PARE_TYPE_Q8_0}, slow = {"([a-z]+)+[0-9]$", PARE_TYPE_Q8_0};
    CHECK(run(&open, 1, types, &err) == PARE_ERR_USAGE && strstr(err.text, "'attn_(q': character 7") != NULL);
    pare_type_rules r = {0};
    const pare_type_override *found;
    CHECK_OK(pare_type_rules_open(&r, &slow, 1, &err), &err);
    CHECK(pare_type_rules_find(&r, "blk.0.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.weight", true, false,
                               &found, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "limit") != NULL);
    pare_type_rules_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_match_decides),
        cmocka_unit_test(a_pattern_must_match_something_that_can_change),
        cmocka_unit_test(a_pattern_that_comes_too_late_is_told),
        cmocka_unit_test(bad_patterns_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
