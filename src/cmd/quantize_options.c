#include "cmd/quantize_options.h"
#include "cmd/type_options.h"
#include "recipe/meta_edit.h"

#include <stdlib.h>
#include <string.h>

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
        return cmd_unknown_type(args, "type", text, true, err);
    }
    if (preset != NULL && pare_type_from_name(text) == PARE_TYPE_NONE) {
        q->options.pure_type = preset->base;
        return PARE_OK;
    }
    return cmd_parse_type(args, "type", text, &q->options.pure_type, err);
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
        st = cmd_parse_type_option(args, OPT_OUTPUT_TYPE, "output-type", &q->options.output_type, err);
    if (st == PARE_OK)
        st = cmd_parse_type_option(args, OPT_EMBEDDING_TYPE, "embedding-type", &q->options.embedding_type, err);
    if (st == PARE_OK)
        st = cmd_parse_type_rules(args, OPT_TENSOR, "tensor", &q->overrides, &q->options.n_overrides, err);
    q->options.overrides = q->overrides;
    return st == PARE_OK ? parse_edits(q, args, err) : st;
}

void cmd_quantize_options_close(cmd_quantize_options *q)
{
    cmd_type_rules_free(q->overrides, q->options.n_overrides);
    free(q->edits);
    *q = (cmd_quantize_options){0};
}
