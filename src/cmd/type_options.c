#include "cmd/type_options.h"

#include <stdlib.h>
#include <string.h>

static const char *next_type_name(size_t i, const void *ctx)
{
    const pare_preset *preset = ctx != NULL ? cmd_preset_at(i) : NULL;
    if (ctx != NULL)
        return preset != NULL ? preset->name : NULL;
    for (int type = 0; type < PARE_TYPE_COUNT; type++)
        if (pare_encoder(type) != NULL && pare_type_get(type)->gguf >= 0 && i-- == 0)
            return pare_type_get(type)->name;
    return NULL;
}

pare_status cmd_unknown_type(const cmd_args *args, const char *option, const char *text, bool preset, pare_error *err)
{
    const char *near = cmd_nearest(text, next_type_name, preset ? "" : NULL);
    const char *kind = preset ? "preset" : "block type";
    if (near == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "%s: --%s: unknown %s '%s'", args->verb->name, option, kind, text);
    return pare_fail(err, PARE_ERR_USAGE, "%s: --%s: unknown %s '%s'; did you mean '%s'?", args->verb->name, option,
                     kind, text, near);
}

pare_status cmd_parse_type(const cmd_args *args, const char *option, const char *text, pare_type *out, pare_error *err)
{
    *out = pare_type_from_name(text);
    if (*out == PARE_TYPE_NONE || pare_type_get(*out)->gguf < 0)
        return cmd_unknown_type(args, option, text, false, err);
    return PARE_OK;
}

pare_status cmd_parse_type_option(const cmd_args *args, cmd_option_id id, const char *option, pare_type *out,
                                  pare_error *err)
{
    *out = PARE_TYPE_NONE;
    return cmd_has(args, id) ? cmd_parse_type(args, option, cmd_text(args, id), out, err) : PARE_OK;
}

pare_status cmd_parse_type_rules(const cmd_args *args, cmd_option_id id, const char *option, pare_type_override **out,
                                 size_t *n, pare_error *err)
{
    *n = cmd_count(args, id);
    *out = NULL;
    if (*n > 0 && (*out = calloc(*n, sizeof **out)) == NULL) {
        const size_t wanted = *n;
        *n = 0;
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu patterns", wanted);
    }
    for (size_t i = 0; i < *n; i++) {
        const char *text = cmd_nth(args, id, i), *equals = strrchr(text, '=');
        if (equals == NULL || equals == text || equals[1] == '\0')
            return pare_fail(err, PARE_ERR_USAGE, "%s: --%s '%s': expected REGEX=TYPE", args->verb->name, option, text);
        pare_status st = cmd_parse_type(args, option, equals + 1, &(*out)[i].type, err);
        if (st != PARE_OK)
            return st;
        if (((*out)[i].pattern = strndup(text, (size_t)(equals - text))) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for a pattern");
    }
    return PARE_OK;
}

void cmd_type_rules_free(pare_type_override *rules, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)rules[i].pattern);
    free(rules);
}
