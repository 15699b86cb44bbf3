#include "report/content.h"
#include "report/svg.h"

#include <inttypes.h>

/* Colours: eight hues told apart by people who see few colours as well (after Okabe and Ito, "Color Universal Design",
 * 2008), darker on light ground and lighter on dark ground so that each has a contrast of 3 to 1 and more.
 * Levels of heat maps: one hue from the ground to its opposite, with 4.5 to 1 and more to the text on them. */
#define LIGHT_LEVELS "--h0:#edf3fb;--h1:#cfe0f3;--h2:#a8c9ea;--h3:#7aacdc;--h4:#2f72b5;--h5:#1c5494;--h6:#0a3566"
#define DARK_LEVELS "--h0:#1c2836;--h1:#1f3f5e;--h2:#225a8c;--h3:#2a6ba6;--h4:#66a8e3;--h5:#9dcbf2;--h6:#dceefc"
static const char style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1b1b;--soft:#5a5a5a;--line:#d5d5d5;--head:#f3f3f1;--warn:#8a3b00;"
    "--warnbg:#fff4e5;--s0:#005a9c;--s1:#b34700;--s2:#00755e;--s3:#9c2f7f;--s4:#5b5b5b;--s5:#7a5c00;--s6:#c0172b;"
    "--s7:#3d3d9e;" LIGHT_LEVELS "}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#161616;--fg:#ececec;--soft:#b0b0b0;--line:#444;--head:#242424;"
    "--warn:#ffc078;--warnbg:#33230f;--s0:#6db6f2;--s1:#ff9a52;--s2:#4fd0b0;--s3:#f08bd1;--s4:#c4c4c4;--s5:#e3c04b;"
    "--s6:#ff8080;--s7:#a9a9ff;" DARK_LEVELS "}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:72rem;background:var(--bg);color:var(--fg);"
    "font:16px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.6rem;line-height:1.2;overflow-wrap:anywhere}h2{font-size:1.25rem;margin:2rem 0 .5rem;"
    "border-bottom:1px solid var(--line)}p{max-width:44rem}\n"
    ".warn{background:var(--warnbg);color:var(--warn);border-left:.3rem solid;padding:.5rem .8rem}\n"
    ".wide{overflow-x:auto;margin:1rem 0}.wide:focus{outline:2px solid var(--s0)}\n"
    "table{border-collapse:collapse;font-size:.875rem}caption{text-align:left;font-weight:600;padding:.3rem 0}\n"
    "th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}"
    "th{background:var(--head);font-weight:600}td.n,th.n{text-align:right;white-space:nowrap;"
    "font-variant-numeric:tabular-nums}td{overflow-wrap:break-word;max-width:34rem}"
    "td:nth-child(n+4):last-child:not(.n){min-width:14rem}\n"
    "h3{font-size:1rem;margin:.5rem 0 0}figure{margin:1rem "
    "0;max-width:44rem}figcaption{color:var(--soft);font-size:.9rem}figure>svg{width:100%;height:auto;"
    "display:block}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:0 1.5rem}\n"
    ".keys{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:.3rem 0;padding:0;font-size:.875rem}"
    ".keys li{overflow-wrap:anywhere}.key{width:28px;height:14px;vertical-align:-2px;margin-right:.3rem}\n"
    "summary{cursor:pointer;color:var(--soft);font-size:.9rem}footer{margin-top:2rem;color:var(--soft);font-size:."
    "875rem}\n"
    "svg text{font:13px system-ui,sans-serif;fill:var(--fg)}svg .axis{fill:var(--soft)}svg .label{font-weight:600}"
    "svg path{fill:none}.grid{stroke:var(--line)}.frame{stroke:var(--soft)}.rule{stroke:var(--fg);stroke-dasharray:5 4}"
    ".line{stroke-width:1.6}.error{stroke-width:1.2;opacity:.75}.mark{stroke-width:1.6}"
    "svg .cell{font-size:11px}svg .cell.off{fill:var(--bg)}.box{stroke:var(--fg);stroke-width:1.4}"
    ".box.off{stroke:var(--bg)}\n"
    "@media print{:root{--bg:#fff;--fg:#000;--soft:#444;--line:#bbb;--head:#eee;--warn:#000;--warnbg:#fff;" LIGHT_LEVELS
    "}"
    "body{max-width:none;font-size:10pt;padding:0}.wide{overflow:visible}figure,tr,.warn{break-inside:avoid}"
    "h2{break-after:avoid}table{font-size:7.5pt}th,td{padding:.15rem "
    ".3rem}th.n,td.n{white-space:normal}.plots{grid-template-columns:1fr 1fr}}\n";

static pare_status put_style(pare_buf *out, pare_error *err)
{
    pare_status st = pare_buf_puts(out, "<style>\n", err);
    if (st == PARE_OK)
        st = pare_buf_puts(out, style, err);
    for (int i = 0; i < PARE_SVG_COLOURS && st == PARE_OK; i++)
        st = pare_buf_printf(out, err, "svg .s%d{stroke:var(--s%d)}svg .mark.s%d{fill:var(--s%d)}%s", i, i, i, i,
                             i + 1 < PARE_SVG_COLOURS ? "" : "\n");
    for (int i = 0; i < PARE_SVG_LEVELS && st == PARE_OK; i++)
        st = pare_buf_printf(out, err, "svg .h%d{fill:var(--h%d)}%s", i, i, i + 1 < PARE_SVG_LEVELS ? "" : "\n");
    return st == PARE_OK ? pare_buf_puts(out, "</style>\n", err) : st;
}

/* before, text, after */
static pare_status put_between(pare_buf *out, const char *before, const char *text, const char *after, pare_error *err)
{
    pare_status st = pare_buf_puts(out, before, err);
    if (st == PARE_OK)
        st = pare_html_text(out, text != NULL ? text : "", err);
    return st == PARE_OK ? pare_buf_puts(out, after, err) : st;
}

static pare_status put_row(pare_buf *out, const pare_table *t, const char *const *cells, bool heading, pare_error *err)
{
    pare_status st = pare_buf_puts(out, "<tr>", err);
    for (size_t i = 0; i < t->n_columns && st == PARE_OK; i++) {
        const char *before = heading         ? t->numeric[i] ? "<th scope=\"col\" class=\"n\">" : "<th scope=\"col\">"
                             : t->numeric[i] ? "<td class=\"n\">"
                                             : "<td>";
        st = put_between(out, before, cells[i], heading ? "</th>" : "</td>", err);
    }
    return st == PARE_OK ? pare_buf_puts(out, "</tr>\n", err) : st;
}

static pare_status put_table(pare_buf *out, const pare_table *t, pare_error *err)
{
    if (t->n_rows == 0)
        return PARE_OK;
    pare_status st = put_between(out, "<div class=\"wide\" role=\"region\" tabindex=\"0\" aria-label=\"", t->caption,
                                 "\"><table>", err);
    if (st == PARE_OK)
        st = put_between(out, "<caption>", t->caption, "</caption>\n<thead>", err);
    if (st == PARE_OK)
        st = put_row(out, t, t->headings, true, err);
    if (st == PARE_OK)
        st = pare_buf_puts(out, "</thead><tbody>\n", err);
    for (size_t i = 0; i < t->n_rows && st == PARE_OK; i++)
        st = put_row(out, t, t->cells + i * t->n_columns, false, err);
    return st == PARE_OK ? pare_buf_puts(out, "</tbody></table></div>\n", err) : st;
}

static pare_status put_legend(pare_buf *out, const pare_plot *plot, pare_error *err)
{
    if (plot->n_series < 2 && !(plot->n_series == 1 && plot->series[0].line))
        return PARE_OK;
    pare_status st = pare_buf_puts(out, "<ul class=\"keys\">", err);
    for (size_t i = 0; i < plot->n_series && st == PARE_OK; i++) {
        st = pare_buf_puts(out, "<li>", err);
        if (st == PARE_OK)
            st = pare_svg_mark(out, i, plot->series[i].line, err);
        if (st == PARE_OK)
            st = put_between(out, "", plot->series[i].name, "</li>", err);
    }
    return st == PARE_OK ? pare_buf_puts(out, "</ul>\n", err) : st;
}

static pare_status put_plot(pare_buf *out, const pare_block *b, size_t number, pare_error *err)
{
    char id[32];
    snprintf(id, sizeof id, "plot%zu", number);
    const bool grid = b->kind == PARE_BLOCK_GRID;
    pare_status st = put_between(out, "<figure><h3>", b->table.caption, "</h3>\n", err);
    if (st == PARE_OK)
        st = grid ? pare_svg_grid(out, &b->grid, id, err) : pare_svg_plot(out, &b->plot, id, err);
    if (st == PARE_OK && !grid)
        st = put_legend(out, &b->plot, err);
    if (st == PARE_OK)
        st = put_between(out, "<figcaption>", b->text, "</figcaption>\n", err);
    if (st == PARE_OK)
        st = pare_buf_puts(out, "<details><summary>The numbers of this plot</summary>\n", err);
    if (st == PARE_OK)
        st = put_table(out, &b->table, err);
    return st == PARE_OK ? pare_buf_puts(out, "</details></figure>\n", err) : st;
}

static bool is_picture(const pare_block *b)
{
    return b->kind == PARE_BLOCK_PLOT || b->kind == PARE_BLOCK_GRID;
}

static pare_status put_block(pare_buf *out, const pare_page *page, size_t i, pare_error *err)
{
    const pare_block *b = &page->blocks[i];
    bool plot = is_picture(b);
    pare_status st = PARE_OK;
    if (plot && (i == 0 || !is_picture(&page->blocks[i - 1])))
        st = pare_buf_puts(out, "<div class=\"plots\">\n", err);
    if (st != PARE_OK)
        return st;
    st = plot                            ? put_plot(out, b, i, err)
         : b->kind == PARE_BLOCK_TABLE   ? put_table(out, &b->table, err)
         : b->kind == PARE_BLOCK_HEADING ? put_between(out, "<h2>", b->text, "</h2>\n", err)
         : b->kind == PARE_BLOCK_WARNING
             ? put_between(out, "<p class=\"warn\"><strong>Mind:</strong> ", b->text, "</p>\n", err)
             : put_between(out, "<p>", b->text, "</p>\n", err);
    if (st == PARE_OK && plot && (i + 1 == page->n || !is_picture(&page->blocks[i + 1])))
        st = pare_buf_puts(out, "</div>\n", err);
    return st;
}

static pare_status put_page(pare_buf *out, const pare_page *page, const char *tool, pare_error *err)
{
    pare_status st = pare_buf_puts(out,
                                   "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta "
                                   "name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<meta "
                                   "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
                                   "'unsafe-inline'\">\n",
                                   err);
    if (st == PARE_OK)
        st = put_between(out, "<title>", page->title, "</title>\n", err);
    if (st == PARE_OK)
        st = put_style(out, err);
    if (st == PARE_OK)
        st = put_between(out, "</head><body><main>\n<h1>", page->title, "</h1>\n", err);
    for (size_t i = 0; i < page->n && st == PARE_OK; i++)
        st = put_block(out, page, i, err);
    if (st == PARE_OK)
        st = put_between(out, "</main>\n<footer>Written by ", tool != NULL ? tool : "pare",
                         ".</footer></body></html>\n", err);
    return st;
}

pare_status pare_report_html(pare_buf *out, const pare_report_input *in, pare_error *err)
{
    pare_page page = {0};
    pare_status st = pare_content_build(&page, in, err);
    if (st == PARE_OK)
        st = put_page(out, &page, in->tool, err);
    pare_page_close(&page);
    return st;
}
