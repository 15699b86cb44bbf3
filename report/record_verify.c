#include "report/record_verify.h"
#include "core/look.h"
#include "core/map.h"
#include "formats/open.h"
#include "formats/safe_path.h"
#include "report/record_model.h"
#include "report/record_read.h"
#include "report/record_seal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FINDINGS = 100, MAX_NAME = 512 };

void pare_record_report_close(pare_record_report *r)
{
    for (size_t i = 0; i < r->n_findings; i++) {
        free(r->findings[i].kind);
        free(r->findings[i].file);
        free(r->findings[i].item);
        free(r->findings[i].text);
    }
    for (size_t i = 0; i < r->n_absent; i++)
        free(r->absent[i]);
    free(r->findings);
    free(r->absent);
    *r = (pare_record_report){0};
}

/* One verification. */
typedef struct check {
    const char *path;
    pare_record_report *out;
    pare_verdict *verdict; /* that a finding makes worse */
    const char *kind;
} check;

static pare_status add_finding(check *c, const char *item, const char *text, pare_error *err)
{
    pare_record_report *r = c->out;
    *c->verdict = PARE_VERDICT_DIFFERENT;
    if (r->n_findings == MAX_FINDINGS)
        return PARE_OK;
    pare_finding *more = reallocarray(r->findings, r->n_findings + 1, sizeof *more);
    if (more == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a finding", c->path);
    r->findings = more;
    pare_finding *f = &more[r->n_findings++];
    *f = (pare_finding){strdup(c->kind), strdup(c->path), strdup(item), strdup(text)};
    if (f->kind == NULL || f->file == NULL || f->item == NULL || f->text == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a finding", c->path);
    return PARE_OK;
}

static pare_status add_part(const char *part, const char *what, void *user, pare_error *err)
{
    return add_finding(user, part, what, err);
}

/* True for an error that says something about a file, not about this program's surroundings. */
static bool blames_file(pare_status st)
{
    return st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE || st == PARE_ERR_NUMBER || st == PARE_ERR_UNSUPPORTED ||
           st == PARE_ERR_USAGE;
}

static void value_text(char *dst, size_t size, const json_t *value)
{
    if (json_is_real(value))
        snprintf(dst, size, "%.17g", json_real_value(value));
    else if (json_is_integer(value))
        snprintf(dst, size, "%" PRId64, (int64_t)json_integer_value(value));
    else if (json_is_string(value))
        snprintf(dst, size, "'%.200s'", json_string_value(value));
    else
        snprintf(dst, size, "%s", value == NULL ? "missing" : json_is_array(value) ? "an array" : "an object");
}

/* Figures go through exp and log, whose last bit is the C library's and the CPU's affair: 2^-46 of the value is room
 * for that, and nothing that a digit somebody wrote would pass through unseen, as the digest is exact. */
static bool same_value(const json_t *a, const json_t *b)
{
    if (!json_is_real(a) || !json_is_real(b))
        return json_equal(a, b);
    double x = json_real_value(a), y = json_real_value(b);
    return fabs(x - y) <= ldexp(fmax(fabs(x), fabs(y)), -46);
}

/* Findings where `actual` is not what `expected` says; name[0..len) is where both stand. The depth is that of expected,
 * which this program has made. */
static pare_status compare(check *c, char *name, size_t len, const json_t *expected, const json_t *actual,
                           const char *source, pare_error *err)
{
    char text[700], left[256], right[256];
    const char *key;
    json_t *value;
    size_t i;
    pare_status st = PARE_OK;
    if (json_is_object(expected) && json_is_object(actual)) {
        json_object_foreach((json_t *)expected, key, value)
        {
            int n = snprintf(name + len, MAX_NAME - len, ".%s", key);
            if (st == PARE_OK)
                st = compare(c, name, (size_t)n < MAX_NAME - len ? len + (size_t)n : MAX_NAME - 1, value,
                             json_object_get(actual, key), source, err);
        }
        json_object_foreach((json_t *)actual, key, value)
        {
            snprintf(name + len, MAX_NAME - len, ".%s", key);
            snprintf(text, sizeof text, "does not follow from %s", source);
            if (st == PARE_OK && json_object_get(expected, key) == NULL)
                st = add_finding(c, name, text, err);
        }
    } else if (json_is_array(expected) && json_is_array(actual) &&
               json_array_size(expected) == json_array_size(actual)) {
        json_array_foreach(expected, i, value)
        {
            int n = snprintf(name + len, MAX_NAME - len, "[%zu]", i);
            if (st == PARE_OK)
                st = compare(c, name, (size_t)n < MAX_NAME - len ? len + (size_t)n : MAX_NAME - 1, value,
                             json_array_get(actual, i), source, err);
        }
    } else if (!same_value(expected, actual)) {
        value_text(left, sizeof left, actual);
        value_text(right, sizeof right, expected);
        snprintf(text, sizeof text, "is %s, but %s from %s", left, right, source);
        st = add_finding(c, name, text, err);
    }
    name[len] = '\0';
    return st;
}

/* Members of one element of "texts" or "tasks", against those that the items give. */
static pare_status compare_element(check *c, const json_t *doc, const json_t *again, const char *list, size_t i,
                                   const char *member, pare_error *err)
{
    char name[MAX_NAME];
    const json_t *expected = json_array_get(json_object_get(again, list), i);
    const json_t *actual = json_array_get(json_object_get(doc, list), i);
    int n = snprintf(name, sizeof name, "%s[%zu].%s", list, i, member);
    return compare(c, name, (size_t)n, json_object_get(expected, member), json_object_get(actual, member), "the items",
                   err);
}

/* All figures of the document, against those that the items give. */
static pare_status compare_figures(check *c, const pare_record *r, const json_t *again, pare_error *err)
{
    char name[MAX_NAME] = "average";
    pare_status st = PARE_OK;
    for (size_t i = 0; i < r->n_texts && st == PARE_OK; i++) {
        st = compare_element(c, r->doc, again, "texts", i, "figures", err);
        if (st == PARE_OK)
            st = compare_element(c, r->doc, again, "texts", i, "windows", err);
    }
    for (size_t i = 0; i < r->n_tasks && st == PARE_OK; i++)
        st = compare_element(c, r->doc, again, "tasks", i, "figures", err);
    return st == PARE_OK ? compare(c, name, strlen(name), json_object_get(again, "average"),
                                   json_object_get(r->doc, "average"), "the items", err)
                         : st;
}

static pare_status check_figures(check *c, const pare_record *r, pare_error *err)
{
    pare_record_writer *w = NULL;
    json_t *none = json_object(), *again = NULL;
    pare_error fault = {0};
    pare_replay_counts counts = {0};
    c->verdict = &c->out->figures;
    c->kind = "figure";
    pare_status st = pare_record_open(&w, NULL, false, err);
    if (st == PARE_OK && (st = pare_record_replay(r, 1, w, &counts, &fault)) != PARE_OK) {
        if (blames_file(st))
            st = add_finding(c, "items", fault.text, err);
        else if (err != NULL)
            *err = fault;
    } else if (st == PARE_OK && (st = pare_record_document(w, none, &again, err)) == PARE_OK)
        st = compare_figures(c, r, again, err);
    c->out->n_windows = counts.n_windows;
    c->out->n_positions = counts.n_positions;
    c->out->n_items = counts.n_items;
    pare_record_close(w);
    json_decref(none);
    json_decref(again);
    return st;
}

static pare_status add_absent(check *c, const char *path, pare_error *err)
{
    char **more = reallocarray(c->out->absent, c->out->n_absent + 1, sizeof *more);
    char *copy = more != NULL ? strdup(path) : NULL;
    if (more != NULL)
        c->out->absent = more;
    if (copy == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", c->path);
    c->out->absent[c->out->n_absent++] = copy;
    return PARE_OK;
}

/* Where a file that a record names lies: as it was given, else beside the record. Owned; *found says whether it is
 * there.
 */
static char *locate(const check *c, const char *name, bool *found, pare_error *err)
{
    struct stat info;
    char *path = strdup(name);
    if (path == NULL) {
        pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", c->path);
        return NULL;
    }
    pare_status st = pare_look(path, &info, found, err);
    if (st == PARE_OK && (*found || name[0] == '/'))
        return path;
    char *folder = st == PARE_OK ? pare_path_folder(c->path, err) : NULL;
    char *beside = folder != NULL ? pare_path_join(folder, name, err) : NULL;
    free(folder);
    free(path);
    if (beside != NULL && pare_look(beside, &info, found, err) != PARE_OK) {
        free(beside);
        return NULL;
    }
    return beside;
}

static pare_status compare_model(check *c, const char *member, const char *path, const json_t *actual, pare_error *err)
{
    char name[MAX_NAME];
    pare_model m = {0};
    pare_model_hash hash = {0};
    json_t *expected = NULL;
    pare_error fault = {0};
    bool had_vocab = json_object_get(actual, "tokenizer_sha256") != NULL;
    int n = snprintf(name, sizeof name, "%s", member);
    pare_status st = pare_model_open(&m, path, had_vocab ? 0 : PARE_OPEN_NO_VOCAB, &fault);
    if (st == PARE_OK)
        st = pare_model_hash_open(&hash, &m, &fault);
    if (blames_file(st))
        st = add_finding(c, name, fault.text, err);
    else if (st != PARE_OK && err != NULL)
        *err = fault;
    else if ((st = pare_record_model(&expected, &m, &hash, err)) == PARE_OK) {
        json_object_set(expected, "path", json_object_get(actual, "path"));
        st = compare(c, name, (size_t)n, expected, actual, "the file", err);
    }
    json_decref(expected);
    pare_model_hash_close(&hash);
    pare_model_close(&m);
    return st;
}

static pare_status check_model(check *c, const pare_record *r, const char *member, pare_error *err)
{
    bool found = false;
    const json_t *model = json_object_get(r->doc, member);
    const char *name = json_string_value(json_object_get(model, "path"));
    if (name == NULL)
        return PARE_OK;
    char *path = locate(c, name, &found, err);
    pare_status st = path == NULL ? PARE_ERR_MEMORY : PARE_OK;
    if (st == PARE_OK && !found)
        st = add_absent(c, name, err);
    else if (st == PARE_OK) {
        c->out->n_files++;
        st = compare_model(c, member, path, model, err);
    }
    free(path);
    return st;
}

/* A file of which a record has the SHA-256. item names it in findings. */
static pare_status check_file(check *c, const char *item, const char *name, const json_t *entry, pare_error *err)
{
    bool found = false;
    char hex[PARE_SHA256_HEX], text[400], member[MAX_NAME];
    pare_error fault = {0};
    const char *sha256 = json_string_value(json_object_get(entry, "sha256"));
    if (name == NULL || sha256 == NULL || strcmp(name, "-") == 0)
        return PARE_OK;
    char *path = locate(c, name, &found, err);
    if (path == NULL)
        return PARE_ERR_MEMORY;
    pare_status st = PARE_OK;
    if (!found)
        st = add_absent(c, name, err);
    else if (blames_file(st = pare_file_hash(hex, path, NULL, &fault)))
        st = add_finding(c, item, fault.text, err);
    else if (st != PARE_OK && err != NULL)
        *err = fault;
    else if (st == PARE_OK) {
        c->out->n_files++;
        snprintf(text, sizeof text, "is %.64s, but the SHA-256 of %.150s is %s", sha256, name, hex);
        snprintf(member, sizeof member, "%s.sha256", item);
        if (strcmp(hex, sha256) != 0)
            st = add_finding(c, member, text, err);
    }
    free(path);
    return st;
}

static pare_status check_files(check *c, const pare_record *r, pare_error *err)
{
    char item[64];
    c->verdict = &c->out->files;
    c->kind = "file";
    pare_status st = check_model(c, r, "model", err);
    if (st == PARE_OK)
        st = check_model(c, r, "reference", err);
    const json_t *store = json_object_get(json_object_get(r->doc, "reference"), "store");
    if (st == PARE_OK)
        st = check_file(c, "reference.store", json_string_value(json_object_get(store, "path")), store, err);
    for (size_t i = 0; i < r->n_texts && st == PARE_OK; i++) {
        const json_t *text = json_array_get(json_object_get(r->doc, "texts"), i);
        snprintf(item, sizeof item, "texts[%zu]", i);
        st = check_file(c, item, json_string_value(json_object_get(text, "name")), text, err);
    }
    for (size_t i = 0; i < r->n_tasks && st == PARE_OK; i++) {
        const json_t *task = json_array_get(json_object_get(r->doc, "tasks"), i);
        snprintf(item, sizeof item, "tasks[%zu]", i);
        st = check_file(c, item, json_string_value(json_object_get(task, "path")), task, err);
    }
    if (c->out->files == PARE_VERDICT_OK && c->out->n_files == 0)
        c->out->files = PARE_VERDICT_ABSENT;
    return st;
}

/* The digest of the record; of one that was edited, which parts were. */
static pare_status check_bytes(check *c, const pare_map *file, bool *edited, pare_error *err)
{
    bool found, fits;
    json_t *doc = NULL;
    pare_error fault = {0};
    const void *text = file->size > 0 ? (const char *)file->data : "";
    c->verdict = &c->out->bytes;
    c->kind = "edited";
    pare_status st = pare_record_check_digest(text, (size_t)file->size, &found, &fits, err);
    *edited = st == PARE_OK && !fits;
    if (st != PARE_OK || fits)
        return st;
    if ((st = pare_json_parse(&doc, c->path, text, (size_t)file->size, PARE_JSON_NUL, &fault)) != PARE_OK)
        st = blames_file(st) ? add_finding(c, "", fault.text, err) : st;
    else
        st = pare_record_check_seal(doc, add_part, c, err);
    if (st == PARE_OK)
        st = add_finding(c, "digest", found ? "does not fit the text of the record" : "is missing or cut", err);
    json_decref(doc);
    return st;
}

static pare_status check_items(check *c, const pare_record *r, pare_error *err)
{
    bool fit = false;
    char why[MAX_NAME] = "";
    c->verdict = &c->out->bytes;
    c->kind = "items";
    pare_status st = pare_record_check_items(r, &fit, why, sizeof why, err);
    return st == PARE_OK && !fit ? add_finding(c, "items.sha256", why, err) : st;
}

static pare_status verify(check *c, const pare_map *file, pare_error *err)
{
    bool edited = false;
    pare_record r = {0};
    pare_error fault = {0};
    pare_status st = check_bytes(c, file, &edited, err);
    if (st != PARE_OK)
        return st;
    st = pare_record_parse(&r, c->path, file->data, (size_t)file->size, &fault);
    if (st != PARE_OK && edited && blames_file(st)) {
        c->out->figures = c->out->files = PARE_VERDICT_ABSENT;
        return add_finding(c, "", fault.text, err);
    }
    if (st != PARE_OK && err != NULL)
        *err = fault;
    if (st == PARE_OK)
        st = check_items(c, &r, err);
    if (st == PARE_OK)
        st = check_figures(c, &r, err);
    if (st == PARE_OK)
        st = check_files(c, &r, err);
    pare_record_unload(&r);
    return st;
}

bool pare_is_record(const char *path)
{
    pare_map file = {0};
    bool is = !pare_path_is_folder(path) && pare_map_open(&file, path, NULL) == PARE_OK &&
              file.size <= PARE_RECORD_MAX_BYTES && pare_record_is_one(file.data, (size_t)file.size);
    pare_map_close(&file);
    return is;
}

pare_status pare_verify_record(const char *path, pare_record_report *out, pare_error *err)
{
    pare_map file = {0};
    *out = (pare_record_report){0};
    check c = {.path = path, .out = out};
    pare_status st = pare_map_open(&file, path, err);
    if (st == PARE_OK && file.size > PARE_RECORD_MAX_BYTES)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu64 " bytes, at most %d are allowed", path, file.size,
                       PARE_RECORD_MAX_BYTES);
    if (st == PARE_OK)
        st = verify(&c, &file, err);
    pare_map_close(&file);
    if (st != PARE_OK)
        pare_record_report_close(out);
    return st;
}
