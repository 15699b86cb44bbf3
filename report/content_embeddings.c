#include "report/content.h"

#include <math.h>

static void add_drift(const pare_content *c)
{
    pare_table *t = pare_page_table(c->page, "Vectors of texts by a model and by the reference",
                                    "Key|Texts|#Number|#Cosine, mean|#Median|#1 %|#Least|#Rank correlation of "
                                    "pairs|#Correlation|#Largest change of a pair");
    for (size_t i = 0; i < c->n; i++) {
        const json_t *list = json_object_get(c->entries[i].compared, "embeddings");
        for (size_t k = 0; k < json_array_size(list); k++) {
            const json_t *f = json_array_get(list, k);
            const char *cells[] = {c->entries[i].key,
                                   pare_content_base(pare_content_string(f, "name")),
                                   pare_content_value(c, pare_content_number(f, "n_texts")),
                                   pare_content_estimate(c, f, "cosine_mean", "cosine_stderr", 1),
                                   pare_content_value(c, pare_content_number(f, "cosine_median")),
                                   pare_content_value(c, pare_content_number(f, "cosine_p01")),
                                   pare_content_value(c, pare_content_number(f, "cosine_min")),
                                   pare_content_value(c, pare_content_number(f, "spearman")),
                                   pare_content_value(c, pare_content_number(f, "pearson")),
                                   pare_content_value(c, pare_content_number(f, "similarity_change_max"))};
            pare_page_row(c->page, t, cells);
        }
    }
}

/* Where somebody said how alike the texts of pairs are. */
static void add_scores(const pare_content *c)
{
    pare_table *t = NULL;
    for (size_t i = 0; i < c->n; i++) {
        const json_t *list = json_object_get(c->entries[i].compared, "embeddings");
        for (size_t k = 0; k < json_array_size(list); k++) {
            const json_t *f = json_array_get(list, k);
            const char *cells[] = {c->entries[i].key, pare_content_base(pare_content_string(f, "name")),
                                   pare_content_value(c, pare_content_number(f, "n_scored")),
                                   pare_content_value(c, pare_content_number(f, "score_spearman")),
                                   pare_content_value(c, pare_content_number(f, "reference_score_spearman"))};
            if (!isfinite(pare_content_number(f, "n_scored")))
                continue;
            if (t == NULL)
                t = pare_page_table(c->page, "Rank correlation of similarities with the scores of the file",
                                    "Key|Texts|#Pairs|#Model|#Reference");
            pare_page_row(c->page, t, cells);
        }
    }
}

void pare_content_embeddings(const pare_content *c)
{
    bool any = false;
    for (size_t i = 0; i < c->n; i++)
        any = any || json_array_size(json_object_get(c->entries[i].compared, "embeddings")) > 0;
    if (!any)
        return;
    pare_page_add(c->page, PARE_BLOCK_HEADING, "Embeddings");
    add_drift(c);
    add_scores(c);
    pare_page_add(c->page, PARE_BLOCK_TEXT,
                  "Cosine: between the vectors that the model and the reference give the same text; 1 is the same "
                  "direction. Rank correlation (Spearman): whether pairs of texts, ordered by how alike their vectors "
                  "are, keep their order; a search depends on that.");
}
