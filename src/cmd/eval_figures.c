#include "cmd/eval_figures.h"
#include "report/figures.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void print_curve(const pare_eval_result *r)
{
    printf("  positions      %s\n",
           r->has_reference ? "KL divergence            perplexity   reference" : "perplexity");
    for (size_t i = 0; i < r->n_curve; i++) {
        const pare_curve_point *p = &r->curve[i];
        printf("  %5" PRIu32 " .. %-5" PRIu32, p->first, p->end - 1);
        if (r->has_reference)
            printf("%10.6f +/- %-9.6f %10.4f  %10.4f\n", p->kld.value, p->kld.stderr_, exp(p->nll.value),
                   exp(p->ref_nll.value));
        else
            printf("%10.4f\n", exp(p->nll.value));
    }
}

static void print_figure(const pare_eval_result *r, const pare_figure *f)
{
    const pare_estimate *e = pare_figure_of(r, f);
    const pare_block_intervals *blocks = pare_figure_intervals(r, f);
    printf("  %-28s %12.6g", f->label, f->scale * e->value);
    if (isfinite(e->stderr_))
        printf(" +/- %.3g", f->scale * e->stderr_);
    printf("%s", f->unit);
    if (blocks != NULL && isfinite(blocks->bootstrap.lo))
        printf("   95 %%: %.6g .. %.6g", f->scale * blocks->bootstrap.lo, f->scale * blocks->bootstrap.hi);
    printf("\n");
}

void cmd_print_figures(const char *title, const pare_eval_result *r, bool curve)
{
    const pare_figure *f;
    printf("%s: %" PRIu32 " windows of %" PRIu32 " tokens, %" PRIu64 " scored%s\n", title, r->n_chunks, r->n_ctx,
           r->n_tokens_scored, r->n_chunks > 1 ? "; 95 %: bootstrap over windows" : "");
    for (size_t i = 0; (f = pare_figure_at(i)) != NULL; i++)
        if (r->has_reference || !f->needs_reference)
            print_figure(r, f);
    if (curve)
        print_curve(r);
}

void cmd_print_line_header(const pare_eval_result *r)
{
    printf("%-28s %7s %22s", "text", "windows", "perplexity");
    if (r->has_reference)
        printf(" %24s %24s %17s", "ln(ppl / reference)", "KL divergence, nat", "same top, %");
    printf("\n");
}

void cmd_print_line(const char *name, const pare_eval_result *r)
{
    printf("%-28s %7" PRIu32 " %12.4f +/- %-5.3g", name, r->n_chunks, r->perplexity.value, r->perplexity.stderr_);
    if (r->has_reference)
        printf(" %11.6f +/- %-8.2g %11.6f +/- %-8.2g %8.3f +/- %-4.2g", r->ln_ratio.value, r->ln_ratio.stderr_,
               r->kld_mean.value, r->kld_mean.stderr_, 100 * r->same_top1.value, 100 * r->same_top1.stderr_);
    printf("\n");
}
