/* What `pare kv` measured, for people: a part of cmd/kv_report.h. */
#include "cmd/cache_options.h"
#include "cmd/console.h"
#include "cmd/kv_report.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { MAX_BROKEN = 8, TAIL = 1000 };

static const char *programs_of(const cmd_kv_form *f)
{
    return f->programs[0] != '\0' ? f->programs : "research";
}

/* Behind a row of a table that has no column of programs. */
static void end_row(const cmd_kv_form *f)
{
    printf("%s\n", f->programs[0] != '\0' ? "" : "  research");
}

static void print_depth(const cmd_kv_run *r, size_t d)
{
    const pare_eval_result *first = cmd_kv_result(r, d, 0);
    printf("windows of %" PRIu32 " tokens: %" PRIu32 " of them, %" PRIu64 " positions scored, perplexity %.4f\n",
           first->n_ctx, first->n_chunks, first->n_tokens_scored, first->reference_perplexity.value);
    printf("%-24s %12s %23s %10s %11s %10s%s  %s\n", "cache", "1K tokens", "KL divergence, nat", "99.9 %",
           "same top, %", "ppl ratio", r->contexts != NULL ? "    context" : "", "programs");
    for (size_t i = 0; i < r->request.n_forms; i++) {
        const cmd_kv_form *f = &r->request.forms[i];
        const pare_eval_result *e = cmd_kv_result(r, d, i);
        printf("%-24s %12s %11.6f +/- %-7.2g %10.4g %11.3f %10.5f", f->name, cmd_bytes(f->bytes_1024),
               e->kld_mean.value, e->kld_mean.stderr_, e->kld_quantile[PARE_QUANTILE_P999].value,
               100 * e->same_top1.value, e->ratio.value);
        if (r->contexts != NULL && r->contexts[i] > 0)
            printf(" %10" PRIu64, r->contexts[i]);
        else if (r->contexts != NULL)
            printf(" %10s", "-");
        printf("  %s\n", programs_of(f));
    }
    for (size_t i = 0; i < r->request.n_forms; i++)
        if (cmd_cache_recent(&r->request.forms[i].form) >= first->n_ctx)
            printf("%s keeps the last %" PRIu32 " tokens exact: windows of %" PRIu32 " say nothing about it\n",
                   r->request.forms[i].name, cmd_cache_recent(&r->request.forms[i].form), first->n_ctx);
    printf("\n");
}

/* One figure of every cache by position in the window: a column a stretch. */
static void print_curve(const cmd_kv_run *r, size_t d, const char *title, size_t offset)
{
    const pare_eval_result *first = cmd_kv_result(r, d, 0);
    printf("%s by position, from\n%-24s", title, "");
    for (size_t p = 0; p < first->n_curve; p++)
        printf(" %9" PRIu32, first->curve[p].first);
    printf("\n");
    for (size_t i = 0; i < r->request.n_forms; i++) {
        const pare_eval_result *e = cmd_kv_result(r, d, i);
        printf("%-24s", r->request.forms[i].name);
        for (size_t p = 0; p < e->n_curve; p++)
            printf(" %9.6f", ((const pare_estimate *)((const char *)&e->curve[p] + offset))->value);
        end_row(&r->request.forms[i]);
    }
}

static void print_curves(const cmd_kv_run *r, size_t d)
{
    const pare_eval_result *first = cmd_kv_result(r, d, 0);
    uint64_t least = UINT64_MAX;
    print_curve(r, d, "KL divergence", offsetof(pare_curve_point, kld));
    print_curve(r, d, "99.9 % of the KL divergence", offsetof(pare_curve_point, kld_p999));
    for (size_t p = 0; p < first->n_curve; p++)
        least = first->curve[p].n < least ? first->curve[p].n : least;
    if (first->n_curve > 0 && least < TAIL)
        printf("99.9 %% of fewer than %d positions is nearly the largest; here %" PRIu64 " a column: more --chunks\n",
               TAIL, least);
    printf("\n");
}

void cmd_kv_head_sentence(const cmd_kv_run *r, size_t form, uint32_t layer, uint32_t head, char *out)
{
    const pare_head_errors *e = &r->heads[form];
    const uint32_t of = pare_key_head_of(r->m, layer, head);
    const pare_key_head *k = of < r->keys.n_head ? &r->keys.head[(size_t)layer * r->keys.n_head + of] : NULL;
    int n = snprintf(out, CMD_KV_SENTENCE, "layer %" PRIu32 ", head %" PRIu32 ": error %.3g", layer, head,
                     e->error[(size_t)layer * e->n_head + head]);
    if (k == NULL || isnan(k->times)) /* the keys are those of another layer */
        return;
    n += snprintf(out + n, (size_t)(CMD_KV_SENTENCE - n),
                  "; channel %" PRIu32 " of key head %" PRIu32
                  " is %.3g times the median one, mean %.3g, deviation %.3g",
                  k->channel, of, k->times, k->mean, k->deviation);
    if (pare_key_head_is_biased(k))
        snprintf(out + n, (size_t)(CMD_KV_SENTENCE - n), ": a bias, which --mean takes off");
}

static double largest_error(const pare_head_errors *e, uint32_t *layer, uint32_t *head)
{
    double most = -1;
    *layer = *head = 0;
    for (uint32_t l = 0; l < e->n_layer; l++)
        for (uint32_t h = 0; h < e->n_head; h++)
            if (e->error[(size_t)l * e->n_head + h] > most) { /* false for NAN */
                most = e->error[(size_t)l * e->n_head + h];
                *layer = l;
                *head = h;
            }
    return most;
}

static void print_broken(const cmd_kv_run *r, size_t form)
{
    const pare_head_errors *e = &r->heads[form];
    const uint32_t n_all = pare_head_errors_broken(e);
    char text[CMD_KV_SENTENCE];
    uint32_t n = 0;
    for (uint32_t l = 0; l < e->n_layer; l++)
        for (uint32_t h = 0; h < e->n_head; h++)
            if (pare_head_breaks(e, l, h) && n++ < MAX_BROKEN) {
                cmd_kv_head_sentence(r, form, l, h, text);
                printf("  breaks: %s\n", text);
            }
    if (n_all > MAX_BROKEN)
        printf("  and %" PRIu32 " more\n", n_all - MAX_BROKEN);
}

static void print_heads(const cmd_kv_run *r)
{
    uint32_t layer, head;
    printf("error of attention's output, |o' - o|^2 / |o|^2 a head; it breaks above %g and %g times the median\n",
           PARE_HEAD_ERROR, PARE_HEAD_TIMES);
    printf("%-24s %10s %10s %8s %6s %8s\n", "cache", "median", "largest", "layer", "head", "break");
    for (size_t i = 0; i < r->request.n_forms; i++) {
        const pare_head_errors *e = &r->heads[i];
        const double most = largest_error(e, &layer, &head);
        printf("%-24s %10.3g %10.3g %8" PRIu32 " %6" PRIu32 " %8" PRIu32, r->request.forms[i].name, e->median, most,
               layer, head, pare_head_errors_broken(e));
        end_row(&r->request.forms[i]);
        print_broken(r, i);
    }
    printf("\n");
}

static void print_needles(const cmd_kv_run *r, size_t l)
{
    const double all = (double)r->n_keys * CMD_KV_NEEDLE_DEPTHS;
    double found = 0;
    printf("keys found of %" PRIu32 " at each depth, in %" PRIu32 " tokens\n%-24s", r->n_keys, r->request.depths[l],
           "cache");
    for (int d = 0; d < CMD_KV_NEEDLE_DEPTHS; d++)
        printf(" %3d %%", 100 * d / (CMD_KV_NEEDLE_DEPTHS - 1));
    printf(" %8s %10s\n", "all, %", "ln p");
    for (size_t i = 0; i <= r->request.n_forms; i++) {
        const pare_needle_cell *row = cmd_kv_needles(r, l, i);
        double n = 0, ln_p = 0;
        printf("%-24s", i == 0 ? "floats" : r->request.forms[i - 1].name);
        for (int d = 0; d < CMD_KV_NEEDLE_DEPTHS; d++) {
            printf(" %5" PRIu32, row[d].n_found);
            n += row[d].n_found;
            ln_p += row[d].ln_p / CMD_KV_NEEDLE_DEPTHS;
        }
        printf(" %8.1f %10.3f", 100 * n / all, ln_p);
        if (i > 0)
            end_row(&r->request.forms[i - 1]);
        else
            printf("\n");
        if (i == 0)
            found = n;
    }
    if (found == 0)
        printf("floats find no key: this model says nothing about caches here, but for ln p\n");
    printf("\n");
}

static void print_all_needles(const cmd_kv_run *r)
{
    for (size_t l = 0; l < r->request.n_depths; l++)
        if (l < r->first_needle)
            printf("windows of %" PRIu32 " tokens have no room for a key\n\n", r->request.depths[l]);
        else
            print_needles(r, l);
}

/* "--cache-type-k q8_0 --cache-type-v q4_0" of llama.cpp; "" for others. */
static void options_of(const cmd_kv_form *f, char *out, size_t room)
{
    const bool rotates = strstr(f->name, " llama") != NULL;
    out[0] = '\0';
    if (strncmp(f->programs, "llama.cpp", 9) != 0)
        return;
    const bool plain = f->form.k->family == PARE_KV_PLAIN && f->form.v->family == PARE_KV_PLAIN;
    snprintf(out, room, " (llama.cpp: --cache-type-k %s --cache-type-v %s%s)", f->form.k->name, f->form.v->name,
             rotates || plain ? "" : ", with LLAMA_ATTN_ROT_DISABLE=1 where it would rotate");
}

void cmd_kv_sentence(const cmd_kv_run *r, const cmd_kv_choice *c, char *out)
{
    const double limit = cmd_real(r->args, OPT_LIMIT);
    const size_t form = c->form != CMD_KV_NONE ? c->form : c->closest;
    char options[160] = "";
    uint32_t depth = 0;
    int n = 0;
    if (form == CMD_KV_NONE) {
        snprintf(out, CMD_KV_SENTENCE, "none: no measured cache is one that a known program keeps%s",
                 r->contexts != NULL ? " and that leaves room for the context in the memory given" : "");
        return;
    }
    const cmd_kv_form *f = &r->request.forms[form];
    const pare_estimate kld = cmd_kv_worst(r, form, &depth);
    if (c->form == CMD_KV_NONE) {
        snprintf(
            out, CMD_KV_SENTENCE,
            "none: no cache stays at or below a mean KL divergence of %g; the closest is %s with %.6f +/- %.2g, in "
            "windows of %" PRIu32 " tokens",
            limit, f->name, kld.value, kld.stderr_, depth);
        return;
    }
    options_of(f, options, sizeof options);
    n = snprintf(
        out, CMD_KV_SENTENCE,
        "%s%s: %s for 1,024 tokens, the smallest whose mean KL divergence stays at or below %g: %.6f +/- %.2g in "
        "windows of %" PRIu32 " tokens, where it is largest",
        f->name, options, cmd_bytes(f->bytes_1024), limit, kld.value, kld.stderr_, depth);
    if (f->programs[0] == '\0')
        n += snprintf(out + n, (size_t)(CMD_KV_SENTENCE - n), "; research: no known program keeps it");
    else if (r->contexts != NULL)
        n += snprintf(out + n, (size_t)(CMD_KV_SENTENCE - n), "; leaves room for %" PRIu64 " tokens of context",
                      r->contexts[form]);
    if (kld.value + 1.96 * kld.stderr_ > limit)
        n += snprintf(out + n, (size_t)(CMD_KV_SENTENCE - n), "; not certain: more --chunks tell");
    if (pare_head_errors_broken(&r->heads[form]) > 0)
        snprintf(out + n, (size_t)(CMD_KV_SENTENCE - n), "; %" PRIu32 " heads break under it",
                 pare_head_errors_broken(&r->heads[form]));
}

/* The first of a reason stands for all: what differs between them is the type's name. */
static void print_left_out(const cmd_kv_request *r)
{
    if (r->n_left_out > 0)
        printf("left out, since the model cannot be kept so: %zu of the caches; %s: %s%s\n", r->n_left_out,
               r->left_out[0].name, r->left_out[0].why, r->n_left_out > 1 ? "; --verbose or --json: all" : "");
}

void cmd_kv_print(const cmd_kv_run *r, const cmd_kv_choice *choice)
{
    char text[CMD_KV_SENTENCE];
    cmd_progress_clear();
    for (size_t d = 0; d < r->request.n_depths; d++) {
        print_depth(r, d);
        if (cmd_has(r->args, OPT_CURVE))
            print_curves(r, d);
    }
    print_heads(r);
    if (r->needles != NULL)
        print_all_needles(r);
    print_left_out(&r->request);
    cmd_kv_sentence(r, choice, text);
    printf("recommended: %s\n", text);
}
