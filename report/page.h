/* report/page.h - a report as a list of blocks, which report/html.c and report/markdown.c write out
 *
 * Texts are plain: whoever writes a page escapes them for its language. Everything lies in the page's arena; a failed
 * addition (no memory) is remembered and told by pare_page_status, so that building a page reads as straight text. */
#ifndef PARE_REPORT_PAGE_H
#define PARE_REPORT_PAGE_H

#include "core/text.h"
#include "report/plot.h"

#include <stdint.h>

typedef enum pare_block_kind {
    PARE_BLOCK_HEADING,
    PARE_BLOCK_TEXT,
    PARE_BLOCK_WARNING, /* what a reader must know before believing a number */
    PARE_BLOCK_TABLE,
    PARE_BLOCK_PLOT, /* with its numbers as a table */
    PARE_BLOCK_GRID  /* a heat map, with its numbers as a table */
} pare_block_kind;

typedef struct pare_table {
    const char *caption;
    const char **headings; /* [n_columns] */
    bool *numeric;         /* [n_columns] aligned right */
    size_t n_columns, n_rows, cap_rows;
    const char **cells; /* [n_rows, n_columns]; NULL: empty */
} pare_table;

typedef struct pare_block {
    pare_block_kind kind;
    const char *text; /* of HEADING, TEXT and WARNING; of PLOT and GRID their caption */
    pare_table table; /* not of texts */
    pare_plot plot;   /* of PLOT */
    pare_grid grid;   /* of GRID */
} pare_block;

typedef struct pare_page {
    const char *title;
    pare_block *blocks;
    size_t n, cap;
    pare_arena arena;
    pare_status status; /* of the first addition that failed */
} pare_page;

void pare_page_close(pare_page *p);
pare_status pare_page_status(const pare_page *p, pare_error *err);

/* A text in the arena; never NULL ("" when there is no memory). */
const char *pare_page_text(pare_page *p, const char *fmt, ...) PARE_PRINTF(2, 3);
void *pare_page_alloc(pare_page *p, size_t n); /* zeroed; NULL when there is no memory */

void pare_page_add(pare_page *p, pare_block_kind kind, const char *text);

/* Start a table. headings: names divided by '|', those of numbers with a '#' before them. Valid until the next block is
 * added; NULL when there is no memory. */
pare_table *pare_page_table(pare_page *p, const char *caption, const char *headings);
/* Append a row: texts that live as long as the page, exactly one a column. t may be NULL. */
void pare_page_row(pare_page *p, pare_table *t, const char *const *cells);

/* A plot (copied; its series, points and texts live as long as the page) and its caption. Returns the table of its
 * numbers to fill, as pare_page_table; NULL also when it has no point to draw, and nothing is added then. */
pare_table *pare_page_plot(pare_page *p, const pare_plot *plot, const char *caption, const char *headings);

/* A heat map (copied; its values and texts live as long as the page), its caption and its table: a row a row, under
 * y_label and the names of the columns. Nothing is added when it has no cell to draw. */
void pare_page_grid(pare_page *p, const pare_grid *g, const char *caption);

#endif
