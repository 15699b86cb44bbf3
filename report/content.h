/* report/content.h - inside of report/: out of records and other documents, a page */
#ifndef PARE_REPORT_CONTENT_H
#define PARE_REPORT_CONTENT_H

#include "report/page.h"
#include "report/report.h"

/* A measured model: a record, or a model of a comparison. Views into the documents; numbers that are not there: NAN. */
typedef struct pare_entry {
    const char *key;  /* "A", "B", ...: how plots and tables name it */
    const char *name; /* without folder */
    double bytes, bits_per_weight;
    const json_t *figures;  /* the mean over its texts, or NULL */
    const json_t *record;   /* or NULL */
    const json_t *compared; /* its member of "models" in the comparison, or NULL */
} pare_entry;

typedef struct pare_content {
    const pare_report_input *in;
    pare_page *page;
    pare_entry *entries; /* [n] */
    size_t n;
} pare_content;

/* Build the whole page. Errors: PARE_ERR_MEMORY */
pare_status pare_content_build(pare_page *page, const pare_report_input *in, pare_error *err);

/* Its parts, in order; each adds nothing when there is nothing to say. */
void pare_content_figures(const pare_content *c);
void pare_content_plots(const pare_content *c);
void pare_content_embeddings(const pare_content *c);
void pare_content_tasks(const pare_content *c);
void pare_content_first_tokens(const pare_content *c);
void pare_content_tensors(const pare_content *c);
void pare_content_measured(const pare_content *c);
void pare_content_settings(const pare_content *c);

/* What pare fit came to, which has a page of its own. */
const char *pare_content_fit_title(const pare_content *c);
void pare_content_fit(const pare_content *c);

/* So has what pare kv found. */
const char *pare_content_kv_title(const pare_content *c);
void pare_content_kv(const pare_content *c);

/* A member as a number (NAN) or text (NULL) when it is one. object may be NULL. */
double pare_content_number(const json_t *object, const char *key);
const char *pare_content_string(const json_t *object, const char *key);

/* "42.94 +- 0.80" with the digits that the error leaves, at least five of a value above 1; "" when there is no value.
 */
const char *pare_content_estimate(const pare_content *c, const json_t *figures, const char *key, const char *error_key,
                                  double scale);
/* "0.0095 .. 0.0103" of a member [lo, hi], or "" */
const char *pare_content_interval(const pare_content *c, const json_t *figures, const char *key, double scale);
const char *pare_content_value(const pare_content *c, double value); /* six digits, or "" */
const char *pare_content_bytes(const pare_content *c, double bytes);
const char *pare_content_base(const char *path); /* without folder */

#endif
