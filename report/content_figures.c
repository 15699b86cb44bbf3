#include "report/content.h"

#include <math.h>
#include <string.h>

static bool any_reference(const pare_content *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (isfinite(pare_content_number(c->entries[i].figures, "kld_mean")))
            return true;
    return false;
}

static void add_perplexity(const pare_content *c)
{
    pare_table *t = pare_page_table(c->page, "Size and perplexity",
                                    "Key|Model|#Size|#Bits a weight|#Perplexity|#95 %|#Of the reference|#Ratio");
    for (size_t i = 0; i < c->n; i++) {
        const pare_entry *e = &c->entries[i];
        const json_t *f = e->figures;
        const char *cells[] = {e->key,
                               e->name,
                               pare_content_bytes(c, e->bytes),
                               isfinite(e->bits_per_weight) ? pare_page_text(c->page, "%.3f", e->bits_per_weight) : "",
                               pare_content_estimate(c, f, "perplexity", "perplexity_stderr", 1),
                               pare_content_interval(c, f, "perplexity_bootstrap", 1),
                               pare_content_estimate(c, f, "reference_perplexity", "reference_perplexity_stderr", 1),
                               pare_content_estimate(c, f, "ratio", "ratio_stderr", 1)};
        if (f != NULL)
            pare_page_row(c->page, t, cells);
    }
}

static void add_divergence(const pare_content *c)
{
    pare_table *t = pare_page_table(c->page, "Divergence from the reference, in nat a token",
                                    "Key|Model|#Mean|#95 %|#Median|#99 %|#99.9 %|#Largest|#Reverse, mean|#Same top "
                                    "token, %|#Change of probability, rms, %");
    for (size_t i = 0; i < c->n; i++) {
        const pare_entry *e = &c->entries[i];
        const json_t *f = e->figures;
        const char *cells[] = {e->key,
                               e->name,
                               pare_content_estimate(c, f, "kld_mean", "kld_stderr", 1),
                               pare_content_interval(c, f, "kld_bootstrap", 1),
                               pare_content_estimate(c, f, "kld_median", "kld_median_stderr", 1),
                               pare_content_estimate(c, f, "kld_p99", "kld_p99_stderr", 1),
                               pare_content_estimate(c, f, "kld_p999", "kld_p999_stderr", 1),
                               pare_content_value(c, pare_content_number(f, "kld_max")),
                               pare_content_estimate(c, f, "kld_reverse", "kld_reverse_stderr", 1),
                               pare_content_estimate(c, f, "same_top1", "same_top1_stderr", 100),
                               pare_content_estimate(c, f, "delta_p_rms", "delta_p_rms_stderr", 100)};
        if (isfinite(pare_content_number(f, "kld_mean")))
            pare_page_row(c->page, t, cells);
    }
}

/* Texts of an entry; several are told one by one. */
static const json_t *texts_of(const pare_entry *e)
{
    return json_object_get(e->record != NULL ? e->record : e->compared, "texts");
}

static void add_texts(const pare_content *c)
{
    size_t most = 0;
    for (size_t i = 0; i < c->n; i++)
        most = json_array_size(texts_of(&c->entries[i])) > most ? json_array_size(texts_of(&c->entries[i])) : most;
    if (most < 2)
        return;
    pare_table *t = pare_page_table(c->page, "Text by text; the tables above show the mean over the texts",
                                    "Key|Text|#Windows|#Perplexity|#Ratio|#KL divergence, mean|#Same top token, %");
    for (size_t i = 0; i < c->n; i++) {
        const json_t *texts = texts_of(&c->entries[i]);
        for (size_t k = 0; k < json_array_size(texts); k++) {
            const json_t *text = json_array_get(texts, k);
            const json_t *f = c->entries[i].record != NULL ? json_object_get(text, "figures") : text;
            const char *name = pare_content_base(pare_content_string(text, "name"));
            const char *cells[] = {c->entries[i].key,
                                   name,
                                   pare_content_value(c, pare_content_number(f, "n_chunks")),
                                   pare_content_estimate(c, f, "perplexity", "perplexity_stderr", 1),
                                   pare_content_estimate(c, f, "ratio", "ratio_stderr", 1),
                                   pare_content_estimate(c, f, "kld_mean", "kld_stderr", 1),
                                   pare_content_estimate(c, f, "same_top1", "same_top1_stderr", 100)};
            pare_page_row(c->page, t, cells);
        }
    }
}

void pare_content_figures(const pare_content *c)
{
    bool any = false;
    for (size_t i = 0; i < c->n; i++)
        any = any || c->entries[i].figures != NULL;
    if (!any)
        return;
    pare_page_add(c->page, PARE_BLOCK_HEADING, "Figures");
    add_perplexity(c);
    if (any_reference(c))
        add_divergence(c);
    add_texts(c);
    pare_page_add(c->page, PARE_BLOCK_TEXT,
                  "\u00b1 is one standard error as if positions were independent. Positions of one window are not: the "
                  "column 95\u00a0% is an interval from whole windows drawn again and again (bootstrap).");
}
