#include "report/record_items.h"
#include "core/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 16, N_ARRAYS = 4 };

static const char *const array_keys[N_ARRAYS] = {"nll", "ref_nll", "kld", "kld_reverse"};

/* 17 digits are enough for every double (IEEE 754, 5.12.2). A minus sign of zero is kept by writing a real number. */
static pare_status put_real(pare_buf *out, double value, pare_error *err)
{
    char text[40];
    int n = snprintf(text, sizeof text, "%.17g", value);
    bool whole = true;
    for (int i = 0; i < n; i++) {
        if (strchr("0123456789+-e", text[i]) == NULL)
            text[i] = '.'; /* whatever the locale writes */
        whole = whole && text[i] != '.' && text[i] != 'e';
    }
    pare_status st = pare_buf_put(out, text, (size_t)n, err);
    return st == PARE_OK && whole ? pare_buf_put(out, ".0", 2, err) : st;
}

static pare_status put_array(pare_buf *out, const char *key, const double *values, uint32_t n, pare_error *err)
{
    pare_status st = pare_buf_printf(out, err, ",\"%s\":[", key);
    for (uint32_t i = 0; i < n && st == PARE_OK; i++) {
        if (i > 0)
            st = pare_buf_put(out, ",", 1, err);
        if (st == PARE_OK)
            st = put_real(out, values[i], err);
    }
    return st == PARE_OK ? pare_buf_put(out, "]", 1, err) : st;
}

static pare_status put_flags(pare_buf *out, const char *key, const uint8_t *flags, uint32_t n, pare_error *err)
{
    pare_status st = pare_buf_printf(out, err, ",\"%s\":\"", key);
    if (st == PARE_OK)
        st = pare_buf_reserve(out, n + 1, err);
    for (uint32_t i = 0; i < n && st == PARE_OK; i++)
        st = pare_buf_put(out, flags[i] ? "1" : "0", 1, err);
    return st == PARE_OK ? pare_buf_put(out, "\"", 1, err) : st;
}

pare_status pare_record_put_scores(pare_buf *out, size_t text, const pare_scores *s, pare_error *err)
{
    const double *arrays[N_ARRAYS] = {s->nll, s->ref_nll, s->kld, s->kld_reverse};
    pare_status st =
        pare_buf_printf(out, err, "{\"text\":%zu,\"window\":%" PRIu32 ",\"first\":%" PRIu32, text, s->window, s->first);
    for (size_t i = 0; i < (s->has_reference ? N_ARRAYS : 1) && st == PARE_OK; i++)
        st = put_array(out, array_keys[i], arrays[i], s->n, err);
    if (st == PARE_OK && s->has_reference)
        st = put_flags(out, "same_top1", s->same_top1, s->n, err);
    return st == PARE_OK ? pare_buf_put(out, "}\n", 2, err) : st;
}

void pare_record_line_close(pare_record_line *line)
{
    free(line->values);
    free(line->flags);
    json_decref(line->item);
    *line = (pare_record_line){0};
}

static pare_status make_room(pare_record_line *line, const char *name, size_t n, pare_error *err)
{
    if (n <= line->cap)
        return PARE_OK;
    free(line->values);
    free(line->flags);
    line->values = malloc(n * N_ARRAYS * sizeof *line->values); /* n numbers lie in memory: no overflow */
    line->flags = malloc(n);
    line->cap = n;
    if (line->values != NULL && line->flags != NULL)
        return PARE_OK;
    line->cap = 0;
    return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu positions", name, n);
}

static pare_status read_array(double *out, const json_t *doc, const char *name, const char *key, size_t n,
                              pare_error *err)
{
    const json_t *array = json_object_get(doc, key);
    if (!json_is_array(array) || json_array_size(array) != n)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' has %zu numbers, expected %zu", name, key,
                         json_array_size(array), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_number(value))
            return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' element %zu is no number", name, key, i);
        out[i] = json_number_value(value);
        if (!isfinite(out[i]))
            return pare_fail(err, PARE_ERR_NUMBER, "%s: '%s' element %zu is not finite", name, key, i);
    }
    return PARE_OK;
}

static pare_status read_flags(uint8_t *out, const json_t *doc, const char *name, const char *key, size_t n,
                              pare_error *err)
{
    pare_str text = {0};
    pare_status st = pare_json_str(doc, name, key, &text, NULL, err);
    if (st == PARE_OK && text.len != n)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' has %zu digits, expected %zu", name, key, text.len, n);
    for (size_t i = 0; i < text.len && st == PARE_OK; i++) {
        if (text.data[i] != '0' && text.data[i] != '1')
            return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' digit %zu is neither 0 nor 1", name, key, i);
        out[i] = text.data[i] == '1';
    }
    return st;
}

static pare_status read_scores(pare_record_line *line, const json_t *doc, const char *name, pare_error *err)
{
    uint64_t text = 0, window = 0, first = 0;
    size_t n = json_array_size(json_object_get(doc, array_keys[0]));
    bool has_reference = json_object_get(doc, array_keys[1]) != NULL;
    if (n == 0 || n > INT32_MAX)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'nll' has %zu numbers, expected 1 to %d", name, n, INT32_MAX);
    pare_status st = pare_json_u64(doc, name, "text", 0, INT32_MAX, &text, NULL, err);
    if (st == PARE_OK)
        st = pare_json_u64(doc, name, "window", 0, INT32_MAX, &window, NULL, err);
    if (st == PARE_OK)
        st = pare_json_u64(doc, name, "first", 0, INT32_MAX - n, &first, NULL, err);
    if (st == PARE_OK)
        st = make_room(line, name, n, err);
    for (size_t i = 0; i < (has_reference ? N_ARRAYS : 1) && st == PARE_OK; i++)
        st = read_array(line->values + i * n, doc, name, array_keys[i], n, err);
    if (st == PARE_OK && has_reference)
        st = read_flags(line->flags, doc, name, "same_top1", n, err);
    if (st != PARE_OK)
        return st;
    line->index = (size_t)text;
    line->number = (uint32_t)window;
    line->scores = (pare_scores){.window = (uint32_t)window,
                                 .first = (uint32_t)first,
                                 .n = (uint32_t)n,
                                 .nll = line->values,
                                 .has_reference = has_reference};
    if (has_reference) {
        line->scores.ref_nll = line->values + n;
        line->scores.kld = line->values + 2 * n;
        line->scores.kld_reverse = line->values + 3 * n;
        line->scores.same_top1 = line->flags;
    }
    return PARE_OK;
}

static pare_status read_item(pare_record_line *line, json_t *doc, const char *name, pare_error *err)
{
    uint64_t task = 0, item = 0;
    pare_status st = pare_json_u64(doc, name, "task", 0, INT32_MAX, &task, NULL, err);
    if (st == PARE_OK)
        st = pare_json_u64(doc, name, "item", 0, INT32_MAX, &item, NULL, err);
    line->index = (size_t)task;
    line->number = (uint32_t)item;
    line->item = json_incref(doc);
    return st;
}

pare_status pare_record_line_parse(pare_record_line *line, const char *name, const void *text, size_t len,
                                   pare_error *err)
{
    json_t *doc = NULL;
    json_decref(line->item);
    line->item = NULL;
    pare_status st = pare_json_parse(&doc, name, text, len, PARE_JSON_NUL, err);
    if (st == PARE_OK && !json_is_object(doc))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: no object", name);
    line->is_task = json_object_get(doc, "task") != NULL;
    if (st == PARE_OK)
        st = line->is_task ? read_item(line, doc, name, err) : read_scores(line, doc, name, err);
    json_decref(doc);
    return st;
}

pare_status pare_record_items_open(pare_record_items *it, const char *path, pare_error *err)
{
    struct stat info;
    *it = (pare_record_items){0};
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* O_NONBLOCK: a FIFO is told, not waited for */
    if (fd < 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return pare_fail(err, PARE_ERR_FORMAT, "%s: no regular file", path);
    }
    it->fd = fd;
    if ((it->path = strdup(path)) == NULL) {
        close(fd);
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", path);
    }
    return pare_hasher_open(&it->hasher, PARE_HASH_SHA256, err);
}

void pare_record_items_close(pare_record_items *it)
{
    if (it->path != NULL)
        close(it->fd);
    free(it->path);
    pare_buf_close(&it->buf);
    pare_hasher_close(&it->hasher);
    pare_record_line_close(&it->line);
    *it = (pare_record_items){0};
}

/* Append some bytes of the file to it->buf, without what was used of it. */
static pare_status read_more(pare_record_items *it, pare_error *err)
{
    memmove(it->buf.data, it->buf.data + it->at, it->buf.len - it->at);
    it->buf.len -= it->at;
    it->at = 0;
    pare_status st = pare_buf_reserve(&it->buf, READ_BYTES, err);
    if (st != PARE_OK)
        return st;
    ssize_t n;
    do
        n = read(it->fd, it->buf.data + it->buf.len, READ_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot read: %s", it->path, strerror(errno));
    it->ended = n == 0;
    st = pare_hasher_add(&it->hasher, it->buf.data + it->buf.len, (size_t)n, err);
    it->buf.len += (size_t)n;
    return st;
}

pare_status pare_record_items_next(pare_record_items *it, bool *more, pare_error *err)
{
    size_t seen = 0; /* of the line, without a newline */
    const char *end = NULL;
    char name[512];
    *more = false;
    for (;;) {
        if (it->buf.data != NULL)
            end = memchr(it->buf.data + it->at + seen, '\n', it->buf.len - it->at - seen);
        if (end != NULL || it->ended)
            break;
        seen = it->buf.len - it->at;
        if (seen > PARE_RECORD_MAX_LINE)
            return pare_fail(err, PARE_ERR_RANGE, "%s: line %" PRIu64 " is longer than %d bytes", it->path,
                             it->n_lines + 1, PARE_RECORD_MAX_LINE);
        pare_status st = it->buf.data != NULL ? read_more(it, err) : pare_buf_reserve(&it->buf, READ_BYTES, err);
        if (st != PARE_OK)
            return st;
    }
    if (end == NULL && it->at == it->buf.len)
        return PARE_OK;
    it->n_lines++;
    if (end == NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: line %" PRIu64 " has no end: the file is cut", it->path,
                         it->n_lines);
    const char *start = it->buf.data + it->at;
    snprintf(name, sizeof name, "%s: line %" PRIu64, it->path, it->n_lines);
    it->at = (size_t)(end - it->buf.data) + 1;
    *more = true;
    it->text = start;
    it->text_len = (size_t)(end - start);
    return pare_record_line_parse(&it->line, name, start, (size_t)(end - start), err);
}

pare_status pare_record_items_digest(pare_record_items *it, pare_digest *out, pare_error *err)
{
    pare_status st = PARE_OK;
    while (!it->ended && st == PARE_OK) {
        it->at = it->buf.len;
        st = it->buf.data != NULL ? read_more(it, err) : pare_buf_reserve(&it->buf, READ_BYTES, err);
    }
    return st == PARE_OK ? pare_hasher_finish(&it->hasher, out, err) : st;
}
