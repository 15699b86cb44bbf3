#include "report/content.h"

#include <stdlib.h>
#include <string.h>

/* Text in CommonMark with tables (GFM): every punctuation character that could start something is escaped, and what
 * could be read as HTML becomes a reference. */
static pare_status put_text(pare_buf *out, const char *text, pare_error *err)
{
    size_t len = text != NULL ? strlen(text) : 0;
    char *safe = malloc(4 * len + 1);
    if (safe == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a report");
    pare_escape_text(safe, 4 * len + 1, text != NULL ? text : "", len);
    pare_status st = PARE_OK;
    for (const char *c = safe; *c != '\0' && st == PARE_OK; c++) {
        if (*c == '<' || *c == '>' || *c == '&')
            st = pare_buf_puts(out, *c == '<' ? "&lt;" : *c == '>' ? "&gt;" : "&amp;", err);
        else {
            if (strchr("\\`*_{}[]#!|~$@", *c) != NULL)
                st = pare_buf_put(out, "\\", 1, err);
            if (st == PARE_OK)
                st = pare_buf_put(out, c, 1, err);
        }
    }
    free(safe);
    return st;
}

static pare_status put_between(pare_buf *out, const char *before, const char *text, const char *after, pare_error *err)
{
    pare_status st = pare_buf_puts(out, before, err);
    if (st == PARE_OK)
        st = put_text(out, text, err);
    return st == PARE_OK ? pare_buf_puts(out, after, err) : st;
}

static pare_status put_row(pare_buf *out, const pare_table *t, const char *const *cells, pare_error *err)
{
    pare_status st = pare_buf_puts(out, "|", err);
    for (size_t i = 0; i < t->n_columns && st == PARE_OK; i++)
        st = put_between(out, " ", cells[i], " |", err);
    return st == PARE_OK ? pare_buf_puts(out, "\n", err) : st;
}

static pare_status put_table(pare_buf *out, const pare_table *t, pare_error *err)
{
    if (t->n_rows == 0)
        return PARE_OK;
    pare_status st = put_between(out, "**", t->caption, "**\n\n", err);
    if (st == PARE_OK)
        st = put_row(out, t, t->headings, err);
    if (st == PARE_OK)
        st = pare_buf_puts(out, "|", err);
    for (size_t i = 0; i < t->n_columns && st == PARE_OK; i++)
        st = pare_buf_puts(out, t->numeric[i] ? " ---: |" : " --- |", err);
    if (st == PARE_OK)
        st = pare_buf_puts(out, "\n", err);
    for (size_t i = 0; i < t->n_rows && st == PARE_OK; i++)
        st = put_row(out, t, t->cells + i * t->n_columns, err);
    return st == PARE_OK ? pare_buf_puts(out, "\n", err) : st;
}

static pare_status put_block(pare_buf *out, const pare_block *b, pare_error *err)
{
    pare_status st = b->kind == PARE_BLOCK_HEADING   ? put_between(out, "## ", b->text, "\n\n", err)
                     : b->kind == PARE_BLOCK_WARNING ? put_between(out, "> **Mind:** ", b->text, "\n\n", err)
                     : b->text != NULL               ? put_between(out, "", b->text, "\n\n", err)
                                                     : PARE_OK;
    bool table = b->kind == PARE_BLOCK_TABLE || b->kind == PARE_BLOCK_PLOT || b->kind == PARE_BLOCK_GRID;
    return st == PARE_OK && table ? put_table(out, &b->table, err) : st;
}

pare_status pare_report_markdown(pare_buf *out, const pare_report_input *in, pare_error *err)
{
    pare_page page = {0};
    pare_status st = pare_content_build(&page, in, err);
    if (st == PARE_OK)
        st = put_between(out, "# ", page.title, "\n\n", err);
    for (size_t i = 0; i < page.n && st == PARE_OK; i++)
        st = put_block(out, &page.blocks[i], err);
    if (st == PARE_OK)
        st = put_between(out, "Written by ", in->tool != NULL ? in->tool : "pare", ".\n", err);
    pare_page_close(&page);
    return st;
}
