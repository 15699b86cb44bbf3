#include "cmd/worst_report.h"
#include "cmd/console.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static pare_status take_text(const cmd_corpus *text, void *user, pare_error *err)
{
    (void)err;
    ((pare_worst *)user)->text = text->index;
    return PARE_OK;
}

static pare_status take_scores(const pare_scores *scores, size_t model, void *user, pare_error *err)
{
    return model == 0 ? pare_worst_add(user, scores, err) : PARE_OK;
}

cmd_listener cmd_worst_listener(pare_worst *worst)
{
    return (cmd_listener){.begin = take_text, .scores = take_scores, .user = worst};
}

static pare_status text_of(const pare_tokenizer *tokenizer, const int32_t *ids, size_t n, pare_buf *out,
                           pare_error *err)
{
    pare_status st = PARE_OK;
    out->len = 0;
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = pare_detokenize(tokenizer, ids[i], true, out, err);
    return st == PARE_OK ? pare_buf_put(out, "", 0, err) : st;
}

pare_status cmd_print_worst(const pare_worst *worst, const cmd_args *args, const pare_tokenizer *tokenizer,
                            pare_error *err)
{
    pare_buf context = {0}, target = {0};
    pare_status st = PARE_OK;
    if (worst->n > 0)
        printf("largest differences: divergence, probability of the token with the reference and with the model\n");
    for (size_t i = 0; i < worst->n && st == PARE_OK; i++) {
        const pare_worst_token *t = &worst->tokens[i];
        const char *name = cmd_nth(args, OPT_FILE, t->text);
        st = text_of(tokenizer, t->context, t->n_context, &context, err);
        if (st == PARE_OK)
            st = text_of(tokenizer, &t->target, t->target >= 0, &target, err);
        if (st != PARE_OK)
            break;
        printf("  %9.5f nat  %9.3g -> %-9.3g %s window %" PRIu32 " position %" PRIu32 ": \"%s\" -> \"%s\"\n", t->value,
               exp(-t->ref_nll), exp(-t->nll), cmd_safe(name, strlen(name)), t->window, t->pos,
               cmd_safe(context.data, context.len), cmd_safe(target.data, target.len));
    }
    pare_buf_close(&context);
    pare_buf_close(&target);
    return st;
}

pare_status cmd_json_worst(json_t *doc, const pare_worst *worst, const pare_tokenizer *tokenizer, pare_error *err)
{
    pare_buf text = {0};
    pare_status st = PARE_OK;
    json_t *list = json_array();
    for (size_t i = 0; i < worst->n && st == PARE_OK; i++) {
        const pare_worst_token *t = &worst->tokens[i];
        json_t *row = json_object();
        cmd_json_u64(row, "text", t->text);
        cmd_json_u64(row, "window", t->window);
        cmd_json_u64(row, "position", t->pos);
        cmd_json_real(row, worst->has_reference ? "kld" : "nll", t->value);
        cmd_json_real(row, "p", exp(-t->nll));
        if (worst->has_reference)
            cmd_json_real(row, "reference_p", exp(-t->ref_nll));
        if ((st = text_of(tokenizer, t->context, t->n_context, &text, err)) == PARE_OK)
            json_object_set_new(row, "context", cmd_json_text(text.data, text.len));
        if (st == PARE_OK && (st = text_of(tokenizer, &t->target, t->target >= 0, &text, err)) == PARE_OK)
            json_object_set_new(row, "token", cmd_json_text(text.data, text.len));
        json_array_append_new(list, row);
    }
    json_object_set_new(doc, "worst", list);
    pare_buf_close(&text);
    return st;
}
