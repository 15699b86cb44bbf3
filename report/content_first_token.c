#include "report/content.h"

#include <math.h>

static void add_row(const pare_content *c, pare_table **t, const char *key, const char *where, const json_t *first,
                    const char *first_key, const char *first_error, const json_t *whole)
{
    if (!isfinite(pare_content_number(first, first_key)))
        return;
    if (*t == NULL)
        *t = pare_page_table(c->page, "KL divergence at the first token alone, in nat",
                             "Key|Text or task|#First token|#Whole text");
    const char *cells[] = {key, where, pare_content_estimate(c, first, first_key, first_error, 1),
                           whole != NULL ? pare_content_estimate(c, whole, "kld_mean", "kld_stderr", 1) : ""};
    pare_page_row(c->page, *t, cells);
}

/* What some publish as the divergence of a model, beside the one that says more. */
void pare_content_first_tokens(const pare_content *c)
{
    pare_table *t = NULL;
    for (size_t i = 0; i < c->n; i++) {
        const pare_entry *e = &c->entries[i];
        const json_t *texts = json_object_get(e->compared, "texts"), *tasks = json_object_get(e->compared, "tasks");
        for (size_t k = 0; k < json_array_size(texts); k++) {
            const json_t *text = json_array_get(texts, k);
            add_row(c, &t, e->key, pare_content_base(pare_content_string(text, "name")), text, "first_token_kld",
                    "first_token_kld_stderr", text);
        }
        for (size_t k = 0; k < json_array_size(tasks); k++) {
            const json_t *task = json_array_get(tasks, k);
            add_row(c, &t, e->key, pare_content_string(task, "name"), json_object_get(task, "first_token"), "kld_mean",
                    "kld_stderr", NULL);
        }
    }
    if (t != NULL)
        pare_page_add(
            c->page, PARE_BLOCK_TEXT,
            "Of a text: behind the first half of each window. Of a task: in front of the answers. A divergence "
            "claimed for the first token says nothing of what follows it.");
}
