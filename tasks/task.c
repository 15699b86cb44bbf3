#include "tasks/task.h"

#include "core/checked.h"
#include "core/hash.h"
#include "core/map.h"
#include "tasks/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE_BYTES = 1 << 30, MAX_PROMPT_BYTES = 1 << 30 /* of all items together */, MAX_ITEMS = 1 << 20 };

/* The items of one file. */
typedef struct reading {
    pare_task *task;
    const pare_format *format; /* NULL: to be seen from the first record */
    pare_str subject;
    pare_item *items;
    pare_str *descriptions; /* [n] */
    size_t n, cap;
    uint64_t n_in_file, limit; /* limit: items to keep; 0: all */
} reading;

static pare_status grow(reading *f, const char *path, pare_error *err)
{
    size_t cap = f->cap < 64 ? 64 : f->cap * 2, item_bytes, text_bytes;
    if (f->n < f->cap)
        return PARE_OK;
    if (f->n >= MAX_ITEMS)
        return pare_fail(err, PARE_ERR_RANGE, "%s: more than %d items", path, MAX_ITEMS);
    if (!pare_mul_size(cap, sizeof *f->items, &item_bytes) || !pare_mul_size(cap, sizeof(pare_str), &text_bytes))
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu items", path, cap);
    pare_item *items = realloc(f->items, item_bytes);
    f->items = items != NULL ? items : f->items;
    pare_str *texts = realloc(f->descriptions, text_bytes);
    f->descriptions = texts != NULL ? texts : f->descriptions;
    if (items == NULL || texts == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu items", path, cap);
    f->cap = cap;
    return PARE_OK;
}

static pare_status add_known_formats(pare_buf *text, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; pare_task_format_name(i) != NULL && st == PARE_OK; i++)
        st = pare_buf_printf(text, err, "%s%s", i > 0 ? ", " : "", pare_task_format_name(i));
    return st;
}

/* Fail with the formats that are known. what: printf's for one text. */
static pare_status unknown_format(const char *where, const char *what, pare_error *err)
{
    pare_buf known = {0};
    pare_status st = add_known_formats(&known, err);
    if (st == PARE_OK)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: %s; known formats: %s", where, what, known.data);
    pare_buf_close(&known);
    return st;
}

static pare_status see_format(reading *f, const pare_records *r, const json_t *record, pare_error *err)
{
    char fields[256] = "";
    size_t at = 0;
    const char *key;
    json_t *value;
    f->format = pare_format_of(r->container, record);
    if (f->format != NULL)
        return PARE_OK;
    json_object_foreach((json_t *)record, key, value) if (at < sizeof fields) at +=
        (size_t)snprintf(fields + at, sizeof fields - at, "%s%s", at > 0 ? ", " : "", key);
    char what[320];
    snprintf(what, sizeof what, "no known task has the fields {%s}", fields);
    return unknown_format(r->where.data, what, err);
}

/* "mmlu_marketing" is about "marketing". */
static void drop_prefix(reading *f)
{
    size_t n = f->format->prefix != NULL ? strlen(f->format->prefix) : 0;
    if (n > 0 && f->subject.len > n && memcmp(f->subject.data, f->format->prefix, n) == 0)
        f->subject = (pare_str){f->subject.data + n, f->subject.len - n};
}

static pare_status read_record(reading *f, const pare_records *r, const json_t *record, pare_error *err)
{
    char number[24];
    pare_status st = grow(f, r->path, err);
    if (st == PARE_OK && f->format == NULL)
        st = see_format(f, r, record, err);
    if (st != PARE_OK)
        return st;
    drop_prefix(f);
    pare_reader reader = {
        .where = r->where.data, .memory = &f->task->memory, .number = r->n_read - 1, .subject = f->subject};
    pare_item *item = &f->items[f->n];
    *item = (pare_item){0};
    if ((st = f->format->item(&reader, record, item, err)) != PARE_OK)
        return st;
    if (item->id.len == 0) {
        int len = snprintf(number, sizeof number, "%" PRIu64, reader.number);
        item->id = (pare_str){pare_arena_copy(&f->task->memory, number, (size_t)len, err), (size_t)len};
    }
    f->descriptions[f->n++] = reader.description;
    return item->id.data != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

/* All records are read and checked, also those behind the limit: a broken file is refused whatever part of it is used.
 */
static pare_status read_records(reading *f, pare_records *r, pare_error *err)
{
    json_t *record = NULL;
    pare_status st = pare_records_next(r, &record, err);
    while (st == PARE_OK && record != NULL) {
        st = read_record(f, r, record, err);
        json_decref(record);
        f->n_in_file += st == PARE_OK;
        f->n -= st == PARE_OK && f->limit != 0 && f->n > f->limit;
        if (st == PARE_OK)
            st = pare_check_interrupt(err);
        if (st == PARE_OK)
            st = pare_records_next(r, &record, err);
    }
    if (st == PARE_OK && f->n == 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: no items", r->path);
    return st;
}

static pare_status read_bytes(reading *f, const char *path, const void *data, size_t size, char sha256[65],
                              pare_error *err)
{
    pare_records records = {0};
    pare_digest digest;
    pare_status st = PARE_OK;
    if (size > MAX_FILE_BYTES)
        return pare_fail(err, PARE_ERR_RANGE, "%s: %zu bytes, limit %d", path, size, MAX_FILE_BYTES);
    if ((st = pare_hash_bytes(data, size, PARE_HASH_SHA256, &digest, err)) != PARE_OK)
        return st;
    pare_hex(sha256, digest.sha256, sizeof digest.sha256);
    st = pare_records_open(&records, path, data, size, f->format != NULL ? f->format->container : PARE_CONTAINER_ANY,
                           err);
    if (st == PARE_OK)
        st = read_records(f, &records, err);
    pare_records_close(&records);
    return st;
}

static pare_status read_file(reading *f, const char *path, char sha256[65], pare_error *err)
{
    pare_map map = {0};
    pare_status st = pare_map_open_content(&map, path, err);
    if (st == PARE_OK)
        st = read_bytes(f, path, map.data, (size_t)map.size, sha256, err);
    pare_map_close(&map);
    return st;
}

/* "data/test/abstract_algebra_test.csv" -> "abstract_algebra" */
static pare_str subject_of(const char *path)
{
    static const char *const splits[] = {"_test", "_dev", "_val", "_validation", "_train"};
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path, *dot = strchr(name, '.');
    pare_str s = {name, dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name)};
    for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++) {
        size_t n = strlen(splits[i]);
        if (s.len > n && memcmp(s.data + s.len - n, splits[i], n) == 0)
            return (pare_str){s.data, s.len - n};
    }
    return s;
}

/* What an item looks like as an example. */
static pare_status example_text(const pare_item *item, pare_buf *out, pare_error *err)
{
    const pare_choice *c = item->n_choices > 0 ? &item->choices[item->answer] : NULL;
    pare_str first = c != NULL ? c->context : item->prompt, second = c != NULL ? c->continuation : item->solution;
    pare_status st = pare_buf_put(out, first.data, first.len, err);
    return st == PARE_OK ? pare_buf_put(out, second.data, second.len, err) : st;
}

/* Examples [n_shot] joined by blank lines, leaving out those that are the item itself. */
static pare_status add_examples(pare_buf *out, const pare_buf *examples, size_t n, uint32_t n_shot,
                                const pare_item *item, pare_error *err)
{
    pare_buf own = {0};
    uint32_t n_used = 0;
    pare_status st = example_text(item, &own, err);
    for (size_t i = 0; i < n && n_used < n_shot && st == PARE_OK; i++) {
        if (examples[i].len == own.len && memcmp(examples[i].data, own.data, own.len) == 0)
            continue;
        st = pare_buf_put(out, examples[i].data, examples[i].len, err);
        if (st == PARE_OK)
            st = pare_buf_puts(out, "\n\n", err);
        n_used++;
    }
    pare_buf_close(&own);
    if (st == PARE_OK && n_used < n_shot)
        st = pare_fail(err, PARE_ERR_RANGE,
                       "%zu examples, of which one is the item '%.*s' itself; %" PRIu32 " are needed", n,
                       (int)item->id.len, item->id.data, n_shot);
    return st;
}

/* Put `prefix` in front of the contexts (one copy for those that are one) and of the prompt. */
static pare_status put_in_front(pare_task *t, pare_item *item, const pare_buf *prefix, pare_error *err)
{
    pare_reader reader = {.where = t->path, .memory = &t->memory};
    const pare_str front = {prefix->data, prefix->len};
    pare_status st = PARE_OK;
    if (prefix->len == 0)
        return PARE_OK;
    if (item->prompt.len > 0)
        st = PARE_JOIN(&reader, &item->prompt, err, front, item->prompt);
    const char *shared = NULL;
    for (size_t i = 0; i < item->n_choices && st == PARE_OK; i++) {
        pare_choice *c = &item->choices[i];
        if (i > 0 && c->context.data == shared) {
            c->context = item->choices[0].context;
            continue;
        }
        if (i == 0)
            shared = c->context.data;
        st = PARE_JOIN(&reader, &c->context, err, front, c->context);
    }
    return st;
}

/* Description, examples, then what the reader made. */
static pare_status finish_items(reading *f, const pare_task_options *o, const pare_buf *examples, size_t n_examples,
                                pare_error *err)
{
    pare_buf prefix = {0};
    pare_status st = PARE_OK;
    size_t total = 0;
    for (size_t i = 0; i < f->n && st == PARE_OK; i++) {
        prefix.len = 0;
        st = o->description != NULL ? pare_buf_puts(&prefix, o->description, err)
                                    : pare_buf_put(&prefix, f->descriptions[i].data, f->descriptions[i].len, err);
        if (st == PARE_OK && n_examples > 0)
            st = pare_fail_in(err, add_examples(&prefix, examples, n_examples, f->task->n_shot, &f->items[i], err),
                              o->shots);
        total += prefix.len;
        if (st == PARE_OK && total > MAX_PROMPT_BYTES)
            st = pare_fail(err, PARE_ERR_RANGE, "%s: examples in front of %zu items take more than %d bytes",
                           f->task->path, f->n, MAX_PROMPT_BYTES);
        if (st == PARE_OK)
            st = put_in_front(f->task, &f->items[i], &prefix, err);
    }
    pare_buf_close(&prefix);
    return st;
}

static pare_status read_examples(const reading *f, const pare_task_options *o, pare_buf **out, size_t *n,
                                 pare_error *err)
{
    pare_task shots = {0};
    reading r = {.task = &shots, .format = f->format, .subject = f->subject, .limit = (uint64_t)f->task->n_shot + 1};
    pare_status st = read_file(&r, o->shots, f->task->shots_sha256, err);
    if (st == PARE_OK && r.n < f->task->n_shot)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: %zu examples, %" PRIu32 " are needed", o->shots, r.n, f->task->n_shot);
    if (st == PARE_OK && (*out = calloc(r.n, sizeof **out)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu examples", o->shots, r.n);
    for (*n = 0; st == PARE_OK && *n < r.n; ++*n)
        st = example_text(&r.items[*n], &(*out)[*n], err);
    free(r.items);
    free(r.descriptions);
    pare_task_close(&shots);
    return st;
}

static pare_status add_examples_and_description(reading *f, const pare_task_options *o, pare_error *err)
{
    pare_buf *examples = NULL;
    size_t n = 0;
    pare_status st = PARE_OK;
    if (o->shots != NULL && f->format->has_own_shots)
        return pare_fail(err, PARE_ERR_USAGE, "%s: the prompts of %s have their own examples; none can be added",
                         f->task->path, f->format->name);
    if (o->shots != NULL) {
        f->task->n_shot = o->n_shot != 0 ? o->n_shot : PARE_DEFAULT_SHOTS;
        st = read_examples(f, o, &examples, &n, err);
    }
    if (st == PARE_OK)
        st = finish_items(f, o, examples, n, err);
    for (size_t i = 0; examples != NULL && i < n; i++)
        pare_buf_close(&examples[i]);
    free(examples);
    return st;
}

static pare_status copy_name(pare_task *t, const reading *f, pare_error *err)
{
    pare_buf name = {0};
    const char *prefix = f->format->prefix, *suffix = f->format->suffix;
    pare_status st = pare_buf_puts(&name, prefix != NULL ? prefix : "", err);
    if (st == PARE_OK)
        st = pare_buf_put(&name, f->subject.data, f->subject.len, err);
    if (st == PARE_OK)
        st = pare_buf_puts(&name, suffix != NULL ? suffix : "", err);
    if (st == PARE_OK && (t->name = pare_arena_copy(&t->memory, name.data, name.len, err)) == NULL)
        st = PARE_ERR_MEMORY;
    if (st == PARE_OK &&
        (t->format = pare_arena_copy(&t->memory, f->format->name, strlen(f->format->name), err)) == NULL)
        st = PARE_ERR_MEMORY;
    pare_buf_close(&name);
    return st;
}

static pare_status copy_stops(pare_task *t, const pare_format *format, pare_error *err)
{
    size_t n = 0;
    while (format->stops != NULL && format->stops[n] != NULL)
        n++;
    t->max_tokens = format->max_tokens;
    pare_str *stops = n > 0 ? pare_arena_alloc(&t->memory, n * sizeof *stops, err) : NULL;
    if (n > 0 && stops == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; i < n; i++)
        stops[i] = (pare_str){format->stops[i], strlen(format->stops[i])};
    t->stops = stops;
    t->n_stops = n;
    return PARE_OK;
}

/* Move what was read into the task. */
static pare_status finish_task(pare_task *t, reading *f, pare_error *err)
{
    pare_status st = copy_name(t, f, err);
    if (st == PARE_OK)
        st = copy_stops(t, f->format, err);
    if (st == PARE_OK && (t->items = pare_arena_alloc(&t->memory, f->n * sizeof *t->items, err)) == NULL)
        st = PARE_ERR_MEMORY;
    if (st != PARE_OK)
        return st;
    memcpy(t->items, f->items, f->n * sizeof *t->items);
    t->n_items = f->n;
    t->n_in_file = f->n_in_file;
    t->kind = f->format->kind;
    t->has_norm = f->format->has_norm;
    return PARE_OK;
}

pare_status pare_task_parse(pare_task *out, const char *path, const void *data, size_t size,
                            const pare_task_options *options, pare_error *err)
{
    reading f = {.task = out, .subject = subject_of(path), .limit = options->limit};
    *out = (pare_task){0};
    if (options->shots == NULL && options->n_shot != 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: %" PRIu32 " examples are asked for, but no file of them is given",
                         path, options->n_shot);
    if (options->format != NULL && (f.format = pare_format_named(options->format)) == NULL) {
        char what[128];
        snprintf(what, sizeof what, "the format '%.80s' is not known", options->format);
        return unknown_format(path, what, err);
    }
    out->path = pare_arena_copy(&out->memory, path, strlen(path), err);
    pare_status st = out->path != NULL ? read_bytes(&f, path, data, size, out->sha256, err) : PARE_ERR_MEMORY;
    if (st == PARE_OK)
        st = add_examples_and_description(&f, options, err);
    if (st == PARE_OK)
        st = finish_task(out, &f, err);
    free(f.items);
    free(f.descriptions);
    if (st != PARE_OK)
        pare_task_close(out);
    return st;
}

pare_status pare_task_load(pare_task *out, const char *path, const pare_task_options *options, pare_error *err)
{
    pare_map map = {0};
    *out = (pare_task){0};
    pare_status st = pare_map_open_content(&map, path, err);
    if (st == PARE_OK)
        st = pare_task_parse(out, path, map.data, (size_t)map.size, options, err);
    pare_map_close(&map);
    return st;
}

void pare_task_close(pare_task *t)
{
    pare_arena_close(&t->memory);
    *t = (pare_task){0};
}
