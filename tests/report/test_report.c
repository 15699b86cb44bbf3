#include "check.h"
#include "report/report.h"
#include "report/svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *parse(const char *text)
{
    json_error_t why;
    json_t *doc = json_loads(text, 0, &why);
    CHECK(doc != NULL);
    return doc;
}

/* Two models; names that try to leave their place; no shortage of numbers. */
#define FIGURES                                                                                                        \
    "\"perplexity\":42.5,\"perplexity_stderr\":0.8,\"ratio\":1.0065,\"ratio_stderr\":0.001,\"kld_mean\":0.0095,"       \
    "\"kld_stderr\":0.0001,\"kld_bootstrap\":[0.0093,0.0098],\"ln_ratio_bootstrap\":[0.0045,0.0086],"                  \
    "\"curve\":[{\"first\":8,\"end\":12,\"kld\":0.01,\"kld_stderr\":0.001},{\"first\":12,\"end\":16,\"kld\":0.02,"     \
    "\"kld_stderr\":0.001}],\"kld_quantiles\":[{\"fraction\":0.5,\"value\":0.006,\"stderr\":0.0001},"                  \
    "{\"fraction\":0.99,\"value\":0.05,\"stderr\":0.002}]"
static const char *const hostile[] = {
    "{\"model\":{\"path\":\"</td><script>alert(1)</script>\",\"bytes\":1500000,\"bits_per_weight\":4.5},"
    "\"reference\":{\"path\":\"ref\",\"sha256\":\"1\"},\"average\":{" FIGURES "},\"texts\":[{\"name\":\"a|b\\nc.txt\","
    "\"figures\":{" FIGURES "}}],\"settings\":{\"n_ctx\":16}}",
    "{\"model\":{\"path\":\"[x](javascript:alert(1)) `|` \\\" onload=\\\"\\u202e\",\"bytes\":2500000},"
    "\"reference\":{\"path\":\"ref\",\"sha256\":\"1\"},\"average\":{" FIGURES "},\"texts\":[{\"name\":\"a|b\\nc.txt\","
    "\"figures\":{" FIGURES "}}],\"settings\":{\"n_ctx\":16}}"};

typedef pare_status (*writer)(pare_buf *out, const pare_report_input *in, pare_error *err);

static char *render(writer write, const char *const *texts, size_t n, const char *comparison)
{
    json_t *docs[8];
    pare_buf out = {0};
    pare_error err = {0};
    for (size_t i = 0; i < n; i++)
        docs[i] = parse(texts[i]);
    json_t *compared = comparison != NULL ? parse(comparison) : NULL;
    const pare_report_input in = {
        .records = (const json_t *const *)docs, .n_records = n, .comparison = compared, .title = "<b>Title"};
    CHECK_OK(write(&out, &in, &err), &err);
    for (size_t i = 0; i < n; i++)
        json_decref(docs[i]);
    json_decref(compared);
    return out.data;
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    while ((text = strstr(text, part)) != NULL) {
        n++;
        text += strlen(part);
    }
    return n;
}

/* Every element that a page opens is closed. */
static void check_balance(const char *page)
{
    static const char *const names[] = {"table", "thead", "tbody", "tr", "div", "figure", "svg", "details", "ul", "h2"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char open[16], with[16], close[16];
        snprintf(open, sizeof open, "<%s>", names[i]);
        snprintf(with, sizeof with, "<%s ", names[i]);
        snprintf(close, sizeof close, "</%s>", names[i]);
        CHECK(count(page, open) + count(page, with) == count(page, close));
    }
}

static void html_holds_hostile_names(void **state)
{
    (void)state;
    char *page = render(pare_report_html, hostile, 2, NULL);
    CHECK(strstr(page, "<script") == NULL && strstr(page, "<b>") == NULL);
    CHECK(strstr(page, "\" onload") == NULL && strstr(page, "\u202e") == NULL);
    CHECK(strstr(page, "&lt;/script&gt;") != NULL && strstr(page, "&lt;b&gt;Title") != NULL);
    CHECK(strstr(page, "http://") == NULL && strstr(page, "https://") == NULL && strstr(page, "src=") == NULL);
    CHECK(strstr(page, "prefers-color-scheme") != NULL && strstr(page, "@media print") != NULL);
    CHECK(count(page, "role=\"img\"") == 4); /* two of sizes, a curve, quantiles */
    CHECK(strstr(page, "NaN") == NULL && strstr(page, "nan") == NULL && strstr(page, "inf\"") == NULL);
    check_balance(page);
    free(page);
}

/* Cells of a line of a table, or 0: a bar that is not escaped divides. */
static size_t n_cells(const char *line, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += line[i] == '|' && (i == 0 || line[i - 1] != '\\');
    return n;
}

static void markdown_holds_hostile_names(void **state)
{
    size_t before = 0;
    (void)state;
    char *page = render(pare_report_markdown, hostile, 2, NULL);
    CHECK(strstr(page, "<script") == NULL && strstr(page, "x](javascript") == NULL);
    CHECK(strncmp(page, "# &lt;b&gt;Title\n", 17) == 0);
    for (const char *line = page; *line != '\0';) {
        size_t len = strcspn(line, "\n"), n = line[0] == '|' ? n_cells(line, len) : 0;
        CHECK(n == 0 || before == 0 || n == before); /* a table has the same number of cells in each line */
        before = n;
        line += len + (line[len] == '\n');
    }
    free(page);
}

static void documents_of_any_shape_make_a_page(void **state)
{
    static const char odd[] = "{\"model\":{\"path\":null,\"bytes\":\"x\"},\"average\":{\"perplexity\":\"1\","
                              "\"kld_mean\":1e308,\"kld_bootstrap\":[1]},"
                              "\"texts\":[1,{\"figures\":{\"curve\":[1,{\"kld\":1}]}}]}";
    static const char *const shapes[] = {
        "{}",
        "[]",
        "{\"model\":7,\"average\":[1],\"texts\":{},\"settings\":[],\"tasks\":\"x\"}",
        odd,
        "{\"model\":{\"bytes\":-1e300},\"average\":{\"kld_mean\":-1,\"ratio\":0}}",
        "{\"model\":{\"bytes\":1e308},\"average\":{\"kld_mean\":1e-308,\"ratio\":1e308}}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const char *const both[] = {shapes[i], hostile[0]};
        char *page = render(pare_report_html, both, 2, shapes[i]);
        check_balance(page);
        free(page);
        free(render(pare_report_markdown, both, 2, shapes[i]));
    }
    char *empty = render(pare_report_html, NULL, 0, NULL);
    check_balance(empty);
    free(empty);
}

static void what_does_not_compare_is_said(void **state)
{
    static const char *const docs[] = {
        "{\"model\":{\"path\":\"a\"},\"average\":{\"perplexity\":5},\"settings\":{\"n_ctx\":512},"
        "\"texts\":[{\"ids_sha256\":\"1\",\"n_windows\":4,\"windows\":{\"window\":[0,1]}}]}",
        "{\"model\":{\"path\":\"b\"},\"average\":{\"perplexity\":6},\"settings\":{\"n_ctx\":256},"
        "\"texts\":[{\"ids_sha256\":\"2\",\"n_windows\":1,\"windows\":{\"window\":[0]}}]}"};
    (void)state;
    char *page = render(pare_report_markdown, docs, 2, NULL);
    CHECK(strstr(page, "did not read the same tokens") != NULL);
    CHECK(strstr(page, "made with different settings") != NULL);
    CHECK(strstr(page, "A holds 2 of 4 windows") != NULL && strstr(page, "B holds") == NULL);
    free(page);
    page = render(pare_report_markdown, docs, 1, NULL);
    CHECK(strstr(page, "did not read the same tokens") == NULL && strstr(page, "different settings") == NULL);
    free(page);
}

static void flips_are_shown(void **state)
{
    static const char compared[] =
        "{\"reference\":\"ref.gguf\",\"models\":[{\"model\":\"q.gguf\",\"tasks\":[{\"name\":\"<mmlu>\",\"rules\":{"
        "\"acc\":{\"n_items\":100,\"lost\":7,\"gained\":3,\"mcnemar_p\":0.34,\"difference\":-0.04,"
        "\"difference_stderr\":0.03,\"detectable\":0.089,\"sentence\":\"not resolved\"}}}]}]}";
    (void)state;
    char *page = render(pare_report_html, NULL, 0, compared);
    CHECK(strstr(page, "&lt;mmlu&gt;") != NULL && strstr(page, "not resolved") != NULL);
    CHECK(strstr(page, ">7<") != NULL && strstr(page, ">3<") != NULL && strstr(page, "8.90") != NULL);
    check_balance(page);
    free(page);
}

static void a_plot_draws_what_it_can(void **state)
{
    static const pare_point points[] = {{1, 0.5, NAN, NAN, "a"}, {2, -1, 0, 1, "b"}, {NAN, 3, 0, 1, "c"}};
    const pare_series series = {"s", points, 3, true};
    pare_plot plot = {
        .title = "t", .x = {.label = "x"}, .y = {.label = "y", .log = true}, .series = &series, .n_series = 1};
    pare_buf out = {0};
    pare_error err = {0};
    (void)state;
    CHECK_OK(pare_svg_plot(&out, &plot, "id", &err), &err);
    CHECK(count(out.data, "class=\"mark") == 1 && strstr(out.data, "nan") == NULL);
    CHECK(strstr(out.data, "text-anchor=\"start\">a</text>") != NULL);
    pare_buf_close(&out);
    out = (pare_buf){0};
    const pare_point named = {1, 0.5, NAN, NAN, "a name that is longer than the half of a plot"};
    plot.series = &(pare_series){"s", &named, 1, false};
    CHECK_OK(pare_svg_plot(&out, &plot, "id", &err), &err); /* it does not run out of the picture */
    CHECK(strstr(out.data, "text-anchor=\"end\">a name that") != NULL);
    pare_buf_close(&out);
    out = (pare_buf){0};
    plot.series = &(pare_series){"s", points + 1, 2, true};
    CHECK(!pare_svg_has_points(&plot));
    CHECK_OK(pare_svg_plot(&out, &plot, "id", &err), &err);
    CHECK(out.len == 0);
}

/* Every cell has its colour, those that are not there none; a box where one is marked; numbers where all of them fit.
 */
static void a_map_colours_what_is_there(void **state)
{
    static const double values[] = {1, 10, 100, NAN, 1e-9, 1e9};
    static const bool marked[] = {false, false, true, true, false, false};
    static const char *const rows[] = {"<a>", "a name that is far longer than the room beside a map"};
    pare_grid g = {.title = "t & t",
                   .x_label = "x",
                   .y_label = "y",
                   .unit = "u",
                   .n_rows = 2,
                   .n_columns = 3,
                   .values = values,
                   .marked = marked,
                   .mark_name = "bad",
                   .lo = 1,
                   .hi = 100,
                   .log = true};
    pare_buf out = {0};
    pare_error err = {0};
    (void)state;
    CHECK(pare_svg_level(&g, 1) == 0 && pare_svg_level(&g, 9.9) == 3 && pare_svg_level(&g, 13.9) == 4);
    CHECK(pare_svg_level(&g, 100) == PARE_SVG_LEVELS - 1 && pare_svg_level(&g, 0) == 0);
    CHECK_OK(pare_svg_grid(&out, &g, "id", &err), &err);
    CHECK(strstr(out.data, "<title id=\"id\">t &amp; t</title>") != NULL && strstr(out.data, "nan") == NULL);
    const char *dark = strstr(out.data, "class=\"h6\" d=\"");
    CHECK(dark != NULL && strchr(dark + 14, 'M') != NULL);
    const char *second = strchr(strchr(dark, 'M') + 1, 'M'); /* of 100 and 1e9: two cells in one path */
    CHECK(second != NULL && second < strchr(strchr(dark, 'M'), '"') && strchr(second + 1, 'M') > strchr(second, '"'));
    CHECK(count(out.data, "class=\"h6\"") == 2 && count(out.data, "class=\"h5\"") == 1); /* map and scale; scale */
    CHECK(count(out.data, "class=\"box off\"") == 1 && count(out.data, "class=\"box on\"") == 1); /* and the key */
    CHECK(count(out.data, "class=\"cell") == 5 && strstr(out.data, ">1e+02</text>") != NULL);
    pare_buf_close(&out);
    out = (pare_buf){0};
    g.row_names = rows;
    g.digits = 17; /* no room for so many */
    CHECK_OK(pare_svg_grid(&out, &g, "id", &err), &err);
    CHECK(strstr(out.data, ">&lt;a&gt;</text>") != NULL && strstr(out.data, "longer than the&#8230;<") != NULL);
    CHECK(count(out.data, "class=\"cell") == 0); /* all or none */
    pare_buf_close(&out);
    out = (pare_buf){0};
    g.values = &(const double){NAN};
    g.n_rows = g.n_columns = 1;
    CHECK(!pare_svg_has_cells(&g));
    CHECK_OK(pare_svg_grid(&out, &g, "id", &err), &err);
    CHECK(out.len == 0);
}

/* "#rrggbb" or "#rgb" behind `name:` in css, as WCAG's relative luminance. */
static double luminance(const char *css, const char *name)
{
    static const double weight[] = {0.2126, 0.7152, 0.0722};
    char key[16];
    double sum = 0;
    snprintf(key, sizeof key, "--%s:#", name);
    const char *at = strstr(css, key);
    CHECK(at != NULL);
    const char *hex = at + strlen(key);
    const size_t n = strspn(hex, "0123456789abcdef");
    CHECK(n == 3 || n == 6);
    for (size_t i = 0; i < 3; i++) {
        const char digits[] = {hex[n == 3 ? i : 2 * i], hex[n == 3 ? i : 2 * i + 1], '\0'};
        const double v = (double)strtol(digits, NULL, 16) / 255;
        sum += weight[i] * (v <= 0.03928 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4));
    }
    return sum;
}

/* Text on each colour of a map has WCAG's 4.5 to 1, on light and on dark pages, and colours go one way. */
static void maps_are_legible(void **state)
{
    char *page = render(pare_report_html, NULL, 0, "{\"models\":[]}");
    const char *dark = strstr(page, "@media(prefers-color-scheme:dark)");
    (void)state;
    CHECK(dark != NULL);
    for (int k = 0; k < 2; k++) {
        const char *css = k == 0 ? page : dark;
        double last = NAN;
        for (int i = 0; i < PARE_SVG_LEVELS; i++) {
            char name[] = {'h', (char)('0' + i), '\0'};
            const double a = luminance(css, name), b = luminance(css, i < (PARE_SVG_LEVELS + 1) / 2 ? "fg" : "bg");
            CHECK((fmax(a, b) + 0.05) / (fmin(a, b) + 0.05) >= 4.5);
            CHECK(i == 0 || (k == 0 ? a < last : a > last));
            last = a;
        }
    }
    free(page);
}

/* What a document of `pare kv` says is on its page: tails, maps with the heads that break, needles, what is research.
 */
static void kv_has_maps(void **state)
{
    static const char document[] =
        "{\"model\":\"m\",\"limit\":0.01,\"caches\":[{\"name\":\"one\",\"bytes_1024_tokens\":2048,\"programs\":\"p\","
        "\"lengths\":[{\"n_ctx\":64,\"kld_mean\":0.1,\"curve\":[{\"first\":32,\"n\":40,\"kld\":0.1,\"kld_p999\":0.77}]}"
        "],"
        "\"heads\":{\"errors\":[[0.001,0.2],[null,0.03]]},\"broken\":[{\"layer\":0,\"head\":1,\"text\":\"why\"},"
        "{\"layer\":7,\"head\":1},{\"layer\":0,\"head\":3}],\"needle\":{\"lengths\":[{\"n_ctx\":64,\"found\":[1,2],"
        "\"ln_p\":[-3,-8]},{\"n_ctx\":96,\"found\":[0,1],\"ln_p\":[-4,-9]}]}},"
        "{\"name\":\"two\",\"research\":true,\"bytes_1024_tokens\":1024,\"lengths\":[],\"heads\":{\"errors\":[3,[]]}}],"
        "\"needle\":{\"depths\":[0,1],\"n_keys\":2,\"lengths\":[{\"n_ctx\":64,\"found\":[2,2],\"ln_p\":[-1,-1]},{\"n_"
        "ctx\":96,\"found\":[2,2],\"ln_p\":[-1,-7]}]},"
        "\"recommendation\":{\"text\":\"none\",\"closest\":\"one\"}}";
    json_t *doc = parse(document);
    const pare_report_input in = {.kv = doc};
    pare_buf html = {0}, text = {0};
    pare_error err = {0};
    (void)state;
    CHECK_OK(pare_report_html(&html, &in, &err), &err);
    CHECK_OK(pare_report_markdown(&text, &in, &err), &err);
    check_balance(html.data);
    CHECK(strstr(html.data, "99.9 % of the divergence by position, windows of 64 tokens") != NULL);
    CHECK(strstr(html.data, "Bands of 40 positions: of fewer than 1000") != NULL);
    CHECK(strstr(text.data, "| one | 32 | 0.77 |") != NULL);
    CHECK(count(html.data, "Error of attention, one</title>") == 1 && strstr(html.data, "attention, two") == NULL);
    CHECK(strstr(text.data, "| 0 | 0.001 | 0.2 breaks |\n| 1 |  | 0.03 |") != NULL);
    CHECK(strstr(text.data, "| 64, one | 1 | 2 |") != NULL && strstr(text.data, "| 64, floats | -1 | -1 |") != NULL);
    CHECK(strstr(text.data, "| 96, one | 0 | 1 |") != NULL && strstr(text.data, "| 96, floats | -1 | -7 |") != NULL);
    CHECK(strstr(text.data, "| 96, two (research) |") != NULL && count(html.data, ">-9</text>") == 2);
    CHECK(strstr(html.data, "two (research)") != NULL && strstr(html.data, "one (research)") == NULL);
    pare_buf_close(&html);
    pare_buf_close(&text);
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(html_holds_hostile_names),
        cmocka_unit_test(markdown_holds_hostile_names),
        cmocka_unit_test(documents_of_any_shape_make_a_page),
        cmocka_unit_test(what_does_not_compare_is_said),
        cmocka_unit_test(flips_are_shown),
        cmocka_unit_test(a_plot_draws_what_it_can),
        cmocka_unit_test(a_map_colours_what_is_there),
        cmocka_unit_test(maps_are_legible),
        cmocka_unit_test(kv_has_maps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
