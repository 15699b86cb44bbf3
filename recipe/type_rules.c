#define PCRE2_CODE_UNIT_WIDTH 8
#include "recipe/type_rules.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* One compiled pattern, and what it met. */
struct pare_type_rule {
    pcre2_code *code;
    const pare_type_override *given;
    size_t n_matched, n_quantizable, n_decided;
    const char *first; /* tensor that matched */
};

void pare_type_rules_close(pare_type_rules *r)
{
    for (size_t i = 0; i < r->n; i++)
        pcre2_code_free(r->items[i].code);
    pcre2_match_data_free(r->match);
    free(r->items);
    *r = (pare_type_rules){0};
}

static const char *option_of(const pare_type_rules *r)
{
    return r->option != NULL ? r->option : "--tensor";
}

static pare_status compile(const pare_type_rules *r, struct pare_type_rule *rule, pare_error *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    PCRE2_UCHAR why[128];
    const char *pattern = rule->given->pattern;
    rule->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
    if (rule->code != NULL)
        return PARE_OK;
    pcre2_get_error_message(code, why, sizeof why);
    return pare_fail(err, code == PCRE2_ERROR_HEAP_FAILED ? PARE_ERR_MEMORY : PARE_ERR_USAGE, "%s '%s': character %zu: %s", option_of(r), pattern, (size_t)at,
                     (const char *)why);
}

pare_status pare_type_rules_open(pare_type_rules *r, const pare_type_override *overrides, size_t n, pare_error *err)
{
    *r = (pare_type_rules){
        .option = r->option, .items = calloc(n + 1, sizeof *r->items), .match = pcre2_match_data_create(1, NULL)};
    pare_status st = PARE_OK;
    if (r->items == NULL || r->match == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu patterns", n);
    for (; r->n < n && st == PARE_OK; r->n++) {
        r->items[r->n].given = &overrides[r->n];
        st = compile(r, &r->items[r->n], err);
    }
    if (st != PARE_OK)
        pare_type_rules_close(r);
    return st;
}

pare_status pare_type_rules_find(pare_type_rules *r, const char *name, bool quantizable, bool taken,
                                 const pare_type_override **found, pare_error *err)
{
    *found = NULL;
    for (size_t i = 0; i < r->n; i++) {
        struct pare_type_rule *rule = &r->items[i];
        int code = pcre2_match(rule->code, (PCRE2_SPTR)name, strlen(name), 0, 0, r->match, NULL);
        if (code == PCRE2_ERROR_NOMATCH)
            continue;
        if (code < 0) {
            PCRE2_UCHAR why[128];
            pcre2_get_error_message(code, why, sizeof why);
            return pare_fail(err, PARE_ERR_USAGE, "%s '%s': on tensor '%s': %s", option_of(r), rule->given->pattern,
                             name, (const char *)why);
        }
        rule->first = rule->n_matched++ == 0 ? name : rule->first;
        rule->n_quantizable += quantizable;
        if (quantizable && !taken && *found == NULL) {
            rule->n_decided++;
            *found = rule->given;
        }
    }
    return PARE_OK;
}

static pare_status check_rule(const pare_type_rules *r, const struct pare_type_rule *rule, const char *path,
                              pare_error *err)
{
    const char *pattern = rule->given->pattern, *type = pare_type_get(rule->given->type)->name;
    if (rule->n_matched == 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s '%s=%s': matches no tensor of %s; nothing was written", option_of(r),
                         pattern, type, path);
    if (rule->n_quantizable == 0)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s '%s=%s': matches only tensors of %s that are never quantized, %zu of them, the "
                         "first is '%s'; nothing was written",
                         option_of(r), pattern, type, path, rule->n_matched, rule->first);
    if (rule->n_decided == 0)
        return pare_warn(err,
                         "%s '%s=%s': has no effect: an earlier pattern, --output-type or --embedding-type "
                         "decides all that it matches",
                         option_of(r), pattern, type);
    return PARE_OK;
}

pare_status pare_type_rules_check(const pare_type_rules *r, const char *path, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < r->n && st == PARE_OK; i++)
        st = check_rule(r, &r->items[i], path, err);
    return st;
}
