#include "tasks/records.h"

#include "core/bytes.h"
#include "core/json.h"
#include "tasks/python_text.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

enum { MAX_ARRAY_BYTES = 256 * 1024 * 1024, LINES_PER_ITEM = 6, MAX_ANSWERS = 100 };

static const char *const mmlu_columns[] = {"question", "a", "b", "c", "d", "answer"};
static const char *const winogrande_columns[] = {"index", "sentence", "option1", "option2", "answer"};

static pare_status set_where(pare_records *r, const char *unit, uint64_t number, pare_error *err)
{
    r->where.len = 0;
    return pare_buf_printf(&r->where, err, "%s: %s %" PRIu64, r->path, unit, number);
}

static pare_status check_text(pare_records *r, pare_error *err)
{
    size_t bad = 0;
    if (pare_utf8_valid(r->data, r->len, &bad))
        return PARE_OK;
    uint64_t line = 1;
    for (size_t i = 0; i < bad; i++)
        line += r->data[i] == '\n';
    return pare_fail(err, PARE_ERR_FORMAT, "%s: line %" PRIu64 ", offset %zu: byte 0x%02x is not UTF-8", r->path, line,
                     bad, (unsigned)(uint8_t)r->data[bad]);
}

/* The line at r->at without its end; steps behind it. */
static pare_str next_line(pare_records *r)
{
    const char *from = r->data + r->at, *end = memchr(from, '\n', r->len - r->at);
    size_t n = end != NULL ? (size_t)(end - from) : r->len - r->at;
    r->at += n + (end != NULL);
    r->line++;
    return (pare_str){from, n > 0 && from[n - 1] == '\r' ? n - 1 : n};
}

static pare_container seen(const pare_records *r)
{
    pare_records peek = *r;
    if (r->len >= 4 && memchr(r->data, 0, 4) != NULL)
        return PARE_CONTAINER_BINARY;
    pare_str text = pare_strip((pare_str){r->data + r->at, r->len - r->at < 4096 ? r->len - r->at : 4096});
    if (text.len > 0 && text.data[0] == '{')
        return PARE_CONTAINER_JSON;
    next_line(&peek);
    pare_str second = next_line(&peek);
    if (second.len == 1 && isdigit((unsigned char)second.data[0]))
        return PARE_CONTAINER_LINES;
    return text.len > 0 && text.data[0] == '[' ? PARE_CONTAINER_JSON : PARE_CONTAINER_CSV;
}

/* The name of a column, in lower case: one-letter names too, so that a reader asks for one spelling. */
static pare_status add_name(pare_records *r, pare_str name, size_t column, pare_error *err)
{
    char key[64];
    name = pare_strip(name);
    if (name.len >= sizeof key)
        return pare_fail(err, PARE_ERR_RANGE, "%s: line 1: the name of column %zu has %zu bytes, limit %zu", r->path,
                         column + 1, name.len, sizeof key - 1);
    for (size_t i = 0; i < name.len; i++)
        key[i] = (char)tolower((unsigned char)name.data[i]);
    for (size_t i = 0; i < column; i++)
        if (name.len > 0 && strncmp(json_string_value(json_array_get(r->names, i)), key, name.len) == 0 &&
            json_string_length(json_array_get(r->names, i)) == name.len)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: line 1: columns %zu and %zu are both named '%.*s'", r->path,
                             i + 1, column + 1, (int)name.len, name.data);
    if (json_array_append_new(r->names, json_stringn(key, name.len)) != 0)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for the names of columns", r->path);
    return PARE_OK;
}

static bool is_header(const pare_csv *c)
{
    for (size_t i = 0; i < c->n_fields; i++) {
        pare_str s = pare_strip(c->fields[i]);
        if ((s.len == 8 && (strncasecmp(s.data, "question", 8) == 0 || strncasecmp(s.data, "sentence", 8) == 0)) ||
            (s.len == 5 && strncasecmp(s.data, "query", 5) == 0))
            return true;
    }
    return false;
}

/* Name the columns after the header, or after how many there are. The first record is read again when it is none. */
static pare_status open_csv(pare_records *r, pare_error *err)
{
    bool more;
    r->csv = (pare_csv){.path = r->path, .data = r->data + r->at, .len = r->len - r->at, .line = 1};
    pare_status st = pare_csv_next(&r->csv, &more, err);
    if (st != PARE_OK)
        return st;
    if ((r->names = json_array()) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for the names of columns", r->path);
    size_t n = r->csv.n_fields;
    r->has_header = is_header(&r->csv);
    if (!r->has_header && n != 5 && n != 6)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: line 1: %zu column%s and no header; without one, 6 are expected (MMLU: question, four "
                         "choices, answer) or 5 (WinoGrande: index, sentence, two options, answer)",
                         r->path, n, n == 1 ? "" : "s");
    const char *const *columns = n == 6 ? mmlu_columns : winogrande_columns;
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = add_name(r, r->has_header ? r->csv.fields[i] : (pare_str){columns[i], strlen(columns[i])}, i, err);
    r->csv.n_expected = n;
    if (!r->has_header) {
        r->csv.at = 0;
        r->csv.line = 1;
        r->csv.n_repaired = 0;
    }
    return st;
}

static pare_status no_memory(const pare_records *r, pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", r->where.data);
}

static pare_status next_csv(pare_records *r, json_t **out, pare_error *err)
{
    bool more;
    pare_status st = pare_csv_next(&r->csv, &more, err);
    while (st == PARE_OK && more && r->csv.n_fields == 1 && r->csv.fields[0].len == 0) /* an empty line */
        st = pare_csv_next(&r->csv, &more, err);
    if (st == PARE_OK && !more && r->csv.n_repaired > 0)
        st = pare_warn(err,
                       "%s: %" PRIu64 " record%s, the first at line %" PRIu64
                       ", with quotes inside of a quoted field that are not doubled; read as Python's csv does where "
                       "that gives %zu columns",
                       r->path, r->csv.n_repaired, r->csv.n_repaired == 1 ? "" : "s", r->csv.first_repaired,
                       r->csv.n_expected);
    if (st == PARE_OK)
        st = set_where(r, "line", r->csv.record_line, err);
    if (st != PARE_OK || !more)
        return st;
    size_t n = json_array_size(r->names);
    if (r->csv.n_fields != n)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %zu column%s, the first line has %zu", r->where.data,
                         r->csv.n_fields, r->csv.n_fields == 1 ? "" : "s", n);
    if ((*out = json_object()) == NULL)
        return no_memory(r, err);
    for (size_t i = 0; i < n; i++)
        if (json_object_set_new(*out, json_string_value(json_array_get(r->names, i)),
                                json_stringn(r->csv.fields[i].data, r->csv.fields[i].len)) != 0)
            return no_memory(r, err);
    return PARE_OK;
}

static pare_status open_json(pare_records *r, pare_error *err)
{
    pare_str text = pare_strip((pare_str){r->data + r->at, r->len - r->at});
    if (text.len == 0 || text.data[0] != '[')
        return PARE_OK;
    if (text.len > MAX_ARRAY_BYTES)
        return pare_fail(err, PARE_ERR_RANGE, "%s: an array of %zu bytes, limit %d; one object a line has none",
                         r->path, text.len, MAX_ARRAY_BYTES);
    return pare_json_parse(&r->array, r->path, text.data, text.len, PARE_JSON_BIG_AS_REAL | PARE_JSON_NUL, err);
}

static pare_status next_json(pare_records *r, json_t **out, pare_error *err)
{
    pare_status st = PARE_OK;
    if (r->array != NULL) {
        json_t *item = json_array_get(r->array, (size_t)r->n_read);
        st = set_where(r, "item", r->n_read, err);
        *out = item != NULL ? json_incref(item) : NULL;
    } else {
        pare_str line = {"", 0};
        while (r->at < r->len && line.len == 0)
            line = pare_strip(next_line(r));
        if (line.len == 0)
            return PARE_OK;
        st = set_where(r, "line", r->line - 1, err);
        if (st == PARE_OK && line.len > PARE_MAX_JSON_LINE)
            st = pare_fail(err, PARE_ERR_RANGE, "%s: %zu bytes, limit %d", r->where.data, line.len, PARE_MAX_JSON_LINE);
        if (st == PARE_OK)
            st = pare_json_parse(out, r->where.data, line.data, line.len, PARE_JSON_BIG_AS_REAL | PARE_JSON_NUL, err);
    }
    if (st == PARE_OK && *out != NULL && !json_is_object(*out))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: an object with an item's fields is expected", r->where.data);
    return st;
}

static pare_status next_lines(pare_records *r, json_t **out, pare_error *err)
{
    pare_str lines[LINES_PER_ITEM];
    pare_status st = set_where(r, "line", r->line, err);
    if (st != PARE_OK || pare_strip((pare_str){r->data + r->at, r->len - r->at}).len == 0)
        return st;
    for (size_t i = 0; i < LINES_PER_ITEM; i++) {
        if (r->at == r->len)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: the last item has %zu lines of %d", r->where.data, i,
                             LINES_PER_ITEM);
        lines[i] = next_line(r);
    }
    json_t *choices = json_array();
    for (size_t i = 2; i < LINES_PER_ITEM; i++)
        json_array_append_new(choices, json_stringn(lines[i].data, lines[i].len));
    *out = json_pack("{s:s%, s:s%, s:o}", "query", lines[0].data, lines[0].len, "gold", lines[1].data, lines[1].len,
                     "choices", choices);
    return *out != NULL && json_array_size(choices) == LINES_PER_ITEM - 2 ? PARE_OK : no_memory(r, err);
}

static pare_status take_u32(pare_records *r, const char *what, uint32_t max, uint32_t *out, pare_error *err)
{
    if (r->len - r->at < 4)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: %s: the file ends", r->where.data, r->at, what);
    *out = pare_load_u32le((const uint8_t *)r->data + r->at);
    if (*out > max)
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset %zu: %s is %" PRIu32 ", limit %" PRIu32, r->where.data, r->at,
                         what, *out, max);
    r->at += 4;
    return PARE_OK;
}

static pare_status take_string(pare_records *r, const char *what, json_t **out, pare_error *err)
{
    uint32_t n = 0;
    size_t bad;
    pare_status st = take_u32(r, what, UINT32_MAX, &n, err);
    if (st != PARE_OK)
        return st;
    if (n > r->len - r->at)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: %s: %" PRIu32 " bytes, %zu are left", r->where.data,
                         r->at, what, n, r->len - r->at);
    if (!pare_utf8_valid(r->data + r->at, n, &bad))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: %s: not UTF-8", r->where.data, r->at + bad, what);
    *out = json_stringn(r->data + r->at, n);
    r->at += n;
    return *out != NULL ? PARE_OK : no_memory(r, err);
}

static pare_status take_answers(pare_records *r, const char *what, json_t *item, pare_error *err)
{
    json_t *choices = json_array(), *labels = json_array(), *text = NULL;
    uint32_t n = 0, label = 0;
    pare_status st = PARE_OK;
    if (json_object_set_new(item, what, json_pack("{s:o, s:o}", "choices", choices, "labels", labels)) != 0)
        return no_memory(r, err);
    st = take_u32(r, what, MAX_ANSWERS, &n, err);
    for (uint32_t i = 0; i < n && st == PARE_OK; i++) {
        st = take_string(r, what, &text, err);
        if (st == PARE_OK && json_array_append_new(choices, text) != 0)
            st = no_memory(r, err);
    }
    for (uint32_t i = 0; i < n && st == PARE_OK; i++) {
        st = take_u32(r, "label", 1, &label, err);
        if (st == PARE_OK && json_array_append_new(labels, json_integer(label)) != 0)
            st = no_memory(r, err);
    }
    return st;
}

static pare_status open_binary(pare_records *r, pare_error *err)
{
    pare_status st = pare_buf_puts(&r->where, r->path, err);
    if (st == PARE_OK)
        st = take_u32(r, "number of tasks", UINT32_MAX, &r->n_binary, err);
    if (st != PARE_OK)
        return st;
    if (r->n_binary > (r->len - r->at) / 4)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset 0: %" PRIu32 " tasks in a file of %zu bytes", r->path,
                         r->n_binary, r->len);
    r->at += (size_t)r->n_binary * 4;
    return PARE_OK;
}

static pare_status next_binary(pare_records *r, json_t **out, pare_error *err)
{
    pare_status st = set_where(r, "task", r->n_read, err);
    if (st != PARE_OK)
        return st;
    if (r->n_read == r->n_binary)
        return r->at == r->len ? PARE_OK
                               : pare_warn(err, "%s: %zu bytes follow the last task", r->path, r->len - r->at);
    uint32_t offset = pare_load_u32le((const uint8_t *)r->data + 4 + 4 * (size_t)r->n_read);
    if (offset != r->at)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: its offset is %" PRIu32 ", what stands before ends at %zu",
                         r->where.data, offset, r->at);
    json_t *question = NULL;
    if ((*out = json_object()) == NULL)
        return no_memory(r, err);
    if ((st = take_string(r, "question", &question, err)) != PARE_OK)
        return st;
    if (json_object_set_new(*out, "question", question) != 0)
        return no_memory(r, err);
    if ((st = take_answers(r, "mc1_targets", *out, err)) != PARE_OK)
        return st;
    return take_answers(r, "mc2_targets", *out, err);
}

pare_status pare_records_open(pare_records *r, const char *path, const void *data, size_t len, pare_container container,
                              pare_error *err)
{
    *r = (pare_records){.path = path, .data = data, .len = len, .line = 1};
    if (len == 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: the file is empty", path);
    if (len >= 2 && memcmp(data, "\x1f\x8b", 2) == 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: compressed with gzip; unpack it first (gunzip)", path);
    if (len >= 2 && (memcmp(data, "\xff\xfe", 2) == 0 || memcmp(data, "\xfe\xff", 2) == 0))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: text in UTF-16; UTF-8 is expected", path);
    r->at = len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    r->container = container == PARE_CONTAINER_ANY ? seen(r) : container;
    r->at = r->container == PARE_CONTAINER_BINARY ? 0 : r->at;
    pare_status st = r->container == PARE_CONTAINER_BINARY ? PARE_OK : check_text(r, err);
    if (st == PARE_OK && r->container == PARE_CONTAINER_CSV)
        st = open_csv(r, err);
    if (st == PARE_OK && r->container == PARE_CONTAINER_JSON)
        st = open_json(r, err);
    if (st == PARE_OK && r->container == PARE_CONTAINER_BINARY)
        st = open_binary(r, err);
    if (st != PARE_OK)
        pare_records_close(r);
    return st;
}

pare_status pare_records_next(pare_records *r, json_t **out, pare_error *err)
{
    static pare_status (*const next[])(pare_records *, json_t **, pare_error *) = {
        [PARE_CONTAINER_CSV] = next_csv,
        [PARE_CONTAINER_JSON] = next_json,
        [PARE_CONTAINER_LINES] = next_lines,
        [PARE_CONTAINER_BINARY] = next_binary,
    };
    *out = NULL;
    pare_status st = next[r->container](r, out, err);
    if (st != PARE_OK) {
        json_decref(*out);
        *out = NULL;
    }
    r->n_read += *out != NULL;
    return st;
}

void pare_records_close(pare_records *r)
{
    pare_csv_close(&r->csv);
    pare_buf_close(&r->where);
    json_decref(r->names);
    json_decref(r->array);
    *r = (pare_records){0};
}
