#include "cmd/quantize_options.h"
#include "recipe/meta_edit.h"

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

static pare_status unknown_type(const char *option, const char *text, bool preset, pare_error *err)
{
    const char *near = cmd_nearest(text, next_type_name, preset ? "" : NULL);
    const char *kind = preset ? "preset" : "block type";
    if (near == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "quantize: --%s: unknown %s '%s'", option, kind, text);
    return pare_fail(err, PARE_ERR_USAGE, "quantize: --%s: unknown %s '%s'; did you mean '%s'?", option, kind, text,
                     near);
}

static pare_status parse_block_type(const char *option, const char *text, pare_type *out, pare_error *err)
{
    *out = pare_type_from_name(text);
    if (*out == PARE_TYPE_NONE || pare_type_get(*out)->gguf < 0)
        return unknown_type(option, text, false, err);
    return PARE_OK;
}

static pare_status parse_optional(const cmd_args *args, cmd_option_id id, const char *option, pare_type *out,
                                  pare_error *err)
{
    *out = PARE_TYPE_NONE;
    return cmd_has(args, id) ? parse_block_type(option, cmd_text(args, id), out, err) : PARE_OK;
}

/* TYPE: a preset; with --pure a block type, or a preset for its base type. (The base type of preset iq2_s is iq2_xs.)
 */
static pare_status parse_type(cmd_quantize_options *q, const cmd_args *args, pare_error *err)
{
    const char *text = cmd_text(args, OPT_TYPE);
    const pare_preset *preset = pare_preset_find(text);
    q->options.pure_type = PARE_TYPE_NONE;
    if (!cmd_has(args, OPT_PURE)) {
        q->options.preset = preset;
        if (preset != NULL)
            return PARE_OK;
        if (pare_type_from_name(text) != PARE_TYPE_NONE)
            return pare_fail(err, PARE_ERR_USAGE, "quantize: '%s' is a block type and no preset; give --pure with it",
                             text);
        return unknown_type("type", text, true, err);
    }
    if (preset != NULL && pare_type_from_name(text) == PARE_TYPE_NONE) {
        q->options.pure_type = preset->base;
        return PARE_OK;
    }
    return parse_block_type("type", text, &q->options.pure_type, err);
}

/* REGEX=TYPE; the last '=' divides them, since a type has none. */
static pare_status parse_overrides(cmd_quantize_options *q, const cmd_args *args, pare_error *err)
{
    size_t n = cmd_count(args, OPT_TENSOR);
    if (n > 0 && (q->overrides = calloc(n, sizeof *q->overrides)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu patterns", n);
    q->options.overrides = q->overrides;
    q->options.n_overrides = n;
    for (size_t i = 0; i < n; i++) {
        const char *text = cmd_nth(args, OPT_TENSOR, i), *equals = strrchr(text, '=');
        if (equals == NULL || equals == text || equals[1] == '\0')
            return pare_fail(err, PARE_ERR_USAGE, "quantize: --tensor '%s': expected REGEX=TYPE", text);
        pare_status st = parse_block_type("tensor", equals + 1, &q->overrides[i].type, err);
        if (st != PARE_OK)
            return st;
        if ((q->overrides[i].pattern = strndup(text, (size_t)(equals - text))) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for a pattern");
    }
    return PARE_OK;
}

static pare_status parse_edits(cmd_quantize_options *q, const cmd_args *args, pare_error *err)
{
    size_t n = cmd_count(args, OPT_METADATA);
    pare_status st = PARE_OK;
    if (n > 0 && (q->edits = calloc(n, sizeof *q->edits)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu values of metadata", n);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = pare_meta_edit_parse(&q->edits[i], cmd_nth(args, OPT_METADATA, i), err);
    q->options.edits = q->edits;
    q->options.n_edits = n;
    return st;
}

pare_effort cmd_effort(const cmd_args *args)
{
    const char *effort = cmd_text(args, OPT_EFFORT);
    if (strcmp(effort, "best") == 0)
        return PARE_EFFORT_BEST;
    return strcmp(effort, "fast") == 0 ? PARE_EFFORT_FAST : PARE_EFFORT_DEFAULT;
}

static pare_status parse_effort(cmd_quantize_options *q, const cmd_args *args, pare_error *err)
{
    bool plain = strcmp(cmd_text(args, OPT_METHOD), "rtn") == 0;
    q->options.effort = cmd_effort(args);
    if (plain && cmd_has(args, OPT_EFFORT))
        return pare_fail(err, PARE_ERR_USAGE, "quantize: --method rtn does not search, so --effort says nothing");
    if (plain)
        q->options.effort = PARE_EFFORT_RTN;
    q->feedback =
        strcmp(cmd_text(args, OPT_METHOD), "auto") == 0 || strcmp(cmd_text(args, OPT_METHOD), "feedback") == 0;
    return PARE_OK;
}

pare_status cmd_quantize_options_parse(cmd_quantize_options *q, const cmd_args *args, pare_error *err)
{
    *q = (cmd_quantize_options){
        .options = {.allow_requantize = cmd_has(args, OPT_ALLOW_REQUANTIZE) || cmd_has(args, OPT_REQUANTIZE),
                    .no_factors = cmd_has(args, OPT_NO_TENSOR_SCALE),
                    .allow_nonfinite = cmd_has(args, OPT_ALLOW_NONFINITE),
                    .plan_only = cmd_has(args, OPT_DRY_RUN)}};
    pare_status st = parse_type(q, args, err);
    if (st == PARE_OK)
        st = parse_effort(q, args, err);
    if (st == PARE_OK)
        st = parse_optional(args, OPT_OUTPUT_TYPE, "output-type", &q->options.output_type, err);
    if (st == PARE_OK)
        st = parse_optional(args, OPT_EMBEDDING_TYPE, "embedding-type", &q->options.embedding_type, err);
    if (st == PARE_OK)
        st = parse_overrides(q, args, err);
    return st == PARE_OK ? parse_edits(q, args, err) : st;
}

void cmd_quantize_options_close(cmd_quantize_options *q)
{
    for (size_t i = 0; q->overrides != NULL && i < q->options.n_overrides; i++)
        free((char *)(uintptr_t)q->overrides[i].pattern);
    free(q->overrides);
    free(q->edits);
    *q = (cmd_quantize_options){0};
}
