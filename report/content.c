#include "report/content.h"

#include <math.h>
#include <string.h>

double pare_content_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *pare_content_string(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

const char *pare_content_base(const char *path)
{
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

const char *pare_content_value(const pare_content *c, double value)
{
    return isfinite(value) ? pare_page_text(c->page, "%.6g", value) : "";
}

const char *pare_content_bytes(const pare_content *c, double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    if (!isfinite(bytes))
        return "";
    for (; bytes >= 1024 && unit < 4; unit++)
        bytes /= 1024;
    return pare_page_text(c->page, "%.*f %s", unit > 0 ? 2 : 0, bytes, units[unit]);
}

/* Decimals at which two digits of an error are told. */
static int digits_of(double error)
{
    int decimals = 1 - (int)floor(log10(error));
    return decimals < 0 ? 0 : decimals > 9 ? 9 : decimals;
}

const char *pare_content_estimate(const pare_content *c, const json_t *figures, const char *key, const char *error_key,
                                  double scale)
{
    double value = scale * pare_content_number(figures, key), error = scale * pare_content_number(figures, error_key);
    if (!isfinite(value) || !isfinite(error) || error <= 0)
        return pare_content_value(c, value);
    double power = fabs(value) < 1e-3 && value != 0 ? floor(log10(fabs(value))) : 0, unit = pow(10, power);
    int decimals = digits_of(error / unit), enough = scale == 1 && fabs(value) >= 1 ? 4 - (int)log10(fabs(value)) : 0;
    decimals = decimals > enough ? decimals : enough;
    if (power == 0)
        return pare_page_text(c->page, "%.*f \u00b1 %.*f", decimals, value, decimals, error);
    return pare_page_text(c->page, "(%.*f \u00b1 %.*f)e%.0f", decimals, value / unit, decimals, error / unit, power);
}

const char *pare_content_interval(const pare_content *c, const json_t *figures, const char *key, double scale)
{
    const json_t *interval = json_object_get(figures, key);
    double lo = scale * json_number_value(json_array_get(interval, 0));
    double hi = scale * json_number_value(json_array_get(interval, 1));
    double least = fmin(fabs(lo), fabs(hi));
    if (json_array_size(interval) != 2 || !isfinite(lo) || !isfinite(hi))
        return "";
    if (least < 1e-3 && hi > lo)
        return pare_page_text(c->page, "%.3g .. %.3g", lo, hi);
    int decimals = hi > lo ? digits_of(hi - lo) : 6;
    return pare_page_text(c->page, "%.*f .. %.*f", decimals, lo, decimals, hi);
}

/* "A" .. "Z", "AA", ... */
static const char *key_of(pare_page *page, size_t i)
{
    return i < 26 ? pare_page_text(page, "%c", (int)('A' + i))
                  : pare_page_text(page, "%c%c", (int)('A' + i / 26 % 27 - 1), (int)('A' + i % 26));
}

static const char *name_or(const char *path, const char *otherwise)
{
    return path != NULL ? pare_content_base(path) : otherwise;
}

static void add_record(pare_content *c, const json_t *record)
{
    const json_t *model = json_object_get(record, "model"), *average = json_object_get(record, "average");
    pare_entry *e = &c->entries[c->n];
    *e = (pare_entry){.key = key_of(c->page, c->n),
                      .name = name_or(pare_content_string(model, "path"), "a model"),
                      .bytes = pare_content_number(model, "bytes"),
                      .bits_per_weight = pare_content_number(model, "bits_per_weight"),
                      .figures = json_object_size(average) > 0 ? average : NULL,
                      .record = record};
    if (!isfinite(e->bytes))
        e->bytes = pare_content_number(model, "tensor_bytes");
    c->n++;
}

/* A model of the comparison: with its record, when there is one of the same path, else an entry of its own. */
static void add_compared(pare_content *c, const json_t *compared)
{
    const char *path = pare_content_string(compared, "model");
    for (size_t i = 0; i < c->n; i++) {
        const char *other = pare_content_string(json_object_get(c->entries[i].record, "model"), "path");
        if (path != NULL && other != NULL && c->entries[i].compared == NULL && strcmp(path, other) == 0) {
            c->entries[i].compared = compared;
            return;
        }
    }
    c->entries[c->n] = (pare_entry){.key = key_of(c->page, c->n),
                                    .name = name_or(path, "a model"),
                                    .bytes = pare_content_number(compared, "bytes"),
                                    .bits_per_weight = pare_content_number(compared, "bits_per_weight"),
                                    .figures = json_object_get(compared, "mean"),
                                    .compared = compared};
    c->n++;
}

static void find_entries(pare_content *c)
{
    const json_t *models = json_object_get(c->in->comparison, "models");
    c->entries = pare_page_alloc(c->page, (c->in->n_records + json_array_size(models)) * sizeof *c->entries);
    if (c->entries == NULL)
        return;
    for (size_t i = 0; i < c->in->n_records; i++)
        add_record(c, c->in->records[i]);
    for (size_t i = 0; i < json_array_size(models); i++)
        add_compared(c, json_array_get(models, i));
}

/* The base name of what the entry was compared with, or NULL. */
static const char *reference_of(const pare_content *c, const pare_entry *e)
{
    const json_t *reference = json_object_get(e->record, "reference");
    const char *path = pare_content_string(reference, "path");
    if (path == NULL)
        path = pare_content_string(json_object_get(reference, "store"), "model");
    if (path == NULL && e->compared != NULL)
        path = pare_content_string(c->in->comparison, "reference");
    return pare_content_base(path);
}

static void add_introduction(const pare_content *c)
{
    const char *reference = c->n > 0 ? reference_of(c, &c->entries[0]) : NULL;
    for (size_t i = 1; i < c->n && reference != NULL; i++) {
        const char *other = reference_of(c, &c->entries[i]);
        if (other == NULL || strcmp(other, reference) != 0)
            reference = NULL;
    }
    if (reference != NULL)
        pare_page_add(c->page, PARE_BLOCK_TEXT,
                      pare_page_text(c->page, "Compared with %s%s.", reference,
                                     c->entries[0].figures != NULL
                                         ? "; divergence is that from it, at every scored position of a text"
                                         : ""));
}

/* What the keys stand for, where no table of figures says it. */
static void add_models(const pare_content *c)
{
    pare_table *t = NULL;
    for (size_t i = 0; i < c->n; i++)
        if (c->entries[i].figures != NULL)
            return;
    for (size_t i = 0; i < c->n; i++) {
        const pare_entry *e = &c->entries[i];
        const char *cells[] = {e->key, e->name, pare_content_bytes(c, e->bytes),
                               pare_content_value(c, e->bits_per_weight)};
        if (t == NULL)
            t = pare_page_table(c->page, "Models", "Key|Model|#Size|#Bits a weight");
        pare_page_row(c->page, t, cells);
    }
}

/* The text of a member that must be the same in all records for their figures to be comparable: first difference. */
static bool differs(const pare_content *c, json_t *(*get)(const json_t *record))
{
    const json_t *first = NULL;
    for (size_t i = 0; i < c->n; i++) {
        const json_t *value = c->entries[i].record != NULL ? get(c->entries[i].record) : NULL;
        if (value == NULL)
            continue;
        if (first != NULL && !json_equal(first, value))
            return true;
        first = first != NULL ? first : value;
    }
    return false;
}

static json_t *settings_of(const json_t *record)
{
    return json_object_get(record, "settings");
}

static json_t *reference_hash_of(const json_t *record)
{
    return json_object_get(json_object_get(record, "reference"), "sha256");
}

static bool same_tokens(const json_t *a, const json_t *b)
{
    const json_t *x = json_object_get(a, "texts"), *y = json_object_get(b, "texts");
    bool same = json_array_size(x) == json_array_size(y);
    for (size_t i = 0; i < json_array_size(x) && same; i++)
        same = json_equal(json_object_get(json_array_get(x, i), "ids_sha256"),
                          json_object_get(json_array_get(y, i), "ids_sha256"));
    return same;
}

static void warn(const pare_content *c, const char *text)
{
    pare_page_add(c->page, PARE_BLOCK_WARNING, text);
}

/* A part of an evaluation is no evaluation. */
static void warn_of_parts(const pare_content *c, const pare_entry *e)
{
    const json_t *texts = json_object_get(e->record, "texts");
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i);
        size_t n = json_array_size(json_object_get(json_object_get(text, "windows"), "window"));
        double wanted = pare_content_number(text, "n_windows");
        if (isfinite(wanted) && (double)n < wanted)
            warn(c, pare_page_text(c->page, "%s holds %zu of %.0f windows of %s: a part of an evaluation.", e->key, n,
                                   wanted, name_or(pare_content_string(text, "name"), "its text")));
    }
}

static void add_warnings(const pare_content *c)
{
    bool other_tokens = false;
    const json_t *first = c->n > 0 ? c->entries[0].record : NULL;
    for (size_t i = 1; i < c->n && first != NULL; i++)
        other_tokens = other_tokens || (c->entries[i].record != NULL && !same_tokens(first, c->entries[i].record));
    if (other_tokens)
        warn(c, "The models did not read the same tokens: their perplexities must not be compared with each other.");
    if (differs(c, settings_of))
        warn(c, "The records were made with different settings, which are listed below: a longer context alone lowers "
                "perplexity.");
    if (differs(c, reference_hash_of))
        warn(c, "The records have different references: divergences from different models do not compare.");
    for (size_t i = 0; i < c->n; i++)
        warn_of_parts(c, &c->entries[i]);
}

static const char *make_title(const pare_content *c)
{
    if (c->in->title != NULL)
        return c->in->title;
    if (c->n == 0 && c->in->measured != NULL)
        return "Device memory, predicted and measured";
    return c->n == 1 ? pare_page_text(c->page, "What was measured of %s", c->entries[0].name)
                     : pare_page_text(c->page, "What was measured of %zu models", c->n);
}

pare_status pare_content_build(pare_page *page, const pare_report_input *in, pare_error *err)
{
    pare_content c = {.in = in, .page = page};
    if (in->fit != NULL) {
        page->title = in->title != NULL ? in->title : pare_content_fit_title(&c);
        pare_content_fit(&c);
        return pare_page_status(page, err);
    }
    if (in->kv != NULL) {
        page->title = in->title != NULL ? in->title : pare_content_kv_title(&c);
        pare_content_kv(&c);
        return pare_page_status(page, err);
    }
    find_entries(&c);
    page->title = make_title(&c);
    add_introduction(&c);
    add_warnings(&c);
    add_models(&c);
    pare_content_figures(&c);
    pare_content_plots(&c);
    pare_content_embeddings(&c);
    pare_content_tasks(&c);
    pare_content_first_tokens(&c);
    pare_content_tensors(&c);
    pare_content_measured(&c);
    pare_content_settings(&c);
    return pare_page_status(page, err);
}
