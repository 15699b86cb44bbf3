#include "formats/shard_index.h"
#include "core/json.h"
#include "formats/json_cursor.h"
#include "formats/safe_path.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 100000000, MAX_REST_BYTES = 1 << 20, MAX_SHARDS = 100000 /* names have five digits */ };

/* An index while it is read. */
typedef struct reading {
    pare_shard_index *x;
    pare_json_cursor c;
    pare_index numbers; /* of shards, by name */
    size_t cap;         /* of x->names */
    size_t from, to;    /* what stands between the braces of the map; to 0: no map yet */
} reading;

/* The number of a shard, which it gets when it is named first. */
static pare_status number_of(reading *r, pare_str name, int64_t *number, pare_error *err)
{
    *number = pare_index_find(&r->numbers, name);
    if (*number != PARE_INDEX_NONE)
        return PARE_OK;
    size_t n = r->numbers.n_used;
    if (n == MAX_SHARDS)
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset %" PRIu64 ": weight_map: more than %d shards", r->x->path,
                         pare_cursor_offset(&r->c), MAX_SHARDS);
    if (n == r->cap) {
        size_t cap = r->cap < 16 ? 16 : r->cap + r->cap / 2;
        const char **names = reallocarray(r->x->names, cap, sizeof *names);
        if (names == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu names", r->x->path, cap);
        r->x->names = names;
        r->cap = cap;
    }
    char *copy = pare_arena_copy(&r->x->arena, name.data, name.len, err);
    *number = (int64_t)n;
    r->x->names[n] = copy;
    return copy == NULL ? PARE_ERR_MEMORY : pare_index_add(&r->numbers, (pare_str){copy, name.len}, *number, NULL, err);
}

static pare_status read_entry(reading *r, pare_error *err)
{
    static const char where[] = "weight_map";
    pare_str tensor, shard;
    int64_t number, old;
    pare_cursor_at(&r->c, '"'); /* behind spaces */
    uint64_t offset = pare_cursor_offset(&r->c);
    pare_status st = pare_cursor_string(&r->c, where, &tensor, err);
    if (st != PARE_OK || (st = pare_cursor_expect(&r->c, ':', where, err)) != PARE_OK)
        return st;
    if (!pare_cursor_at(&r->c, '"'))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %" PRIu64 ": weight_map: '%.*s' is no string", r->x->path,
                         pare_cursor_offset(&r->c), (int)(tensor.len < 256 ? tensor.len : 256), tensor.data);
    if ((st = pare_cursor_string(&r->c, where, &shard, err)) != PARE_OK ||
        (st = number_of(r, shard, &number, err)) != PARE_OK ||
        (st = pare_index_add(&r->x->tensors, tensor, number, &old, err)) != PARE_OK)
        return st;
    if (old != PARE_INDEX_NONE)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %" PRIu64 ": weight_map: duplicate name '%.*s'", r->x->path,
                         offset, (int)(tensor.len < 256 ? tensor.len : 256), tensor.data);
    return PARE_OK;
}

static pare_status read_map(reading *r, pare_error *err)
{
    bool more = true;
    pare_status st = pare_cursor_expect(&r->c, '{', "weight_map", err);
    r->from = r->c.at;
    for (size_t n = 0; st == PARE_OK && more; n++) {
        st = pare_cursor_item(&r->c, n, '}', "weight_map", &more, err);
        if (st == PARE_OK && more)
            st = read_entry(r, err);
    }
    r->to = r->c.at > 0 ? r->c.at - 1 : 0;
    return st;
}

/* Find the map among the members of the document, and read it. What is no JSON outside of it is for read_rest to tell:
 * the search ends there. */
static pare_status find_map(reading *r, pare_error *err)
{
    pare_str key;
    bool more = true;
    if (pare_cursor_expect(&r->c, '{', "index", NULL) != PARE_OK)
        return PARE_OK;
    for (size_t n = 0; r->to == 0; n++) {
        if (pare_cursor_item(&r->c, n, '}', "index", &more, NULL) != PARE_OK || !more ||
            pare_cursor_string(&r->c, "index", &key, NULL) != PARE_OK ||
            pare_cursor_expect(&r->c, ':', "index", NULL) != PARE_OK)
            return PARE_OK;
        if (pare_str_equal(key, "weight_map") && pare_cursor_at(&r->c, '{'))
            return read_map(r, err);
        if (!pare_cursor_skip(&r->c))
            return PARE_OK;
    }
    return PARE_OK;
}

/* The document with blanks in place of what is in the map, so that offsets and lines in messages are those of the file.
 */
static pare_status read_rest(reading *r, pare_error *err)
{
    size_t len = r->c.len, rest = 0;
    char *text = malloc(len + 1);
    if (text == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu bytes", r->x->path, len);
    memcpy(text, r->c.text, len);
    for (size_t i = 0; i < len; i++) {
        if (i >= r->from && i < r->to && text[i] != '\n')
            text[i] = ' ';
        rest += memchr(" \t\n\r", text[i], 4) == NULL;
    }
    if (rest > MAX_REST_BYTES) {
        free(text);
        return r->to > 0 ? pare_fail(err, PARE_ERR_RANGE, "%s: %zu bytes beside those of the weight_map, limit %d",
                                     r->x->path, rest, MAX_REST_BYTES)
                         : pare_fail(err, PARE_ERR_FORMAT,
                                     "%s: offset %zu: no 'weight_map' that is an object came up to here", r->x->path,
                                     r->c.at);
    }
    pare_status st = pare_json_parse(&r->x->rest, r->x->path, text, len, PARE_JSON_BIG_AS_REAL, err);
    free(text);
    if (st == PARE_OK && r->to == 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: 'weight_map' is missing or no object", r->x->path);
    return st;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static pare_status sort_shards(reading *r, pare_error *err)
{
    pare_shard_index *x = r->x;
    size_t n = r->numbers.n_used;
    x->shards = malloc((n > 0 ? n : 1) * sizeof *x->shards);
    x->places = malloc((n > 0 ? n : 1) * sizeof *x->places);
    if (x->shards == NULL || x->places == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu names", x->path, n);
    x->n_shards = n;
    if (n == 0)
        return PARE_OK;
    memcpy(x->shards, x->names, n * sizeof *x->shards);
    qsort(x->shards, n, sizeof *x->shards, compare_names);
    for (size_t place = 0; place < n; place++)
        x->places[pare_index_find(&r->numbers, (pare_str){x->shards[place], strlen(x->shards[place])})] = place;
    return PARE_OK;
}

/* A shard's name that is no plain path below the folder, as an error with one of its tensors. */
static pare_status check_names(const pare_shard_index *x, pare_error *err)
{
    for (size_t i = 0; i < x->tensors.n_used; i++) {
        int64_t number;
        pare_str tensor = pare_index_key(&x->tensors, i, &number);
        const char *name = x->names[number], *fault = pare_path_fault((pare_str){name, strlen(name)});
        if (fault != NULL)
            return pare_fail(err, PARE_ERR_FORMAT,
                             "%s: weight_map: '%.*s' is in '%.256s', which %s; expected a plain relative path", x->path,
                             (int)(tensor.len < 256 ? tensor.len : 256), tensor.data, name, fault);
    }
    return PARE_OK;
}

pare_status pare_shard_index_open(pare_shard_index *x, const char *path, bool *leads_out, pare_error *err)
{
    pare_error name = {0};
    bool leads = false;
    *x = (pare_shard_index){.path = path};
    reading r = {.x = x};
    size_t bad = 0;
    pare_status st = pare_map_open_content(&x->file, path, err);
    if (st == PARE_OK && x->file.size > MAX_BYTES)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu64 " bytes, limit %d", path, x->file.size, MAX_BYTES);
    r.c = (pare_json_cursor){.text = x->file.data != NULL ? (const char *)x->file.data : "",
                             .len = st == PARE_OK ? (size_t)x->file.size : 0,
                             .path = path,
                             .arena = &x->arena};
    if (st == PARE_OK && !pare_utf8_valid(r.c.text, r.c.len, &bad))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: not UTF-8", path, bad);
    if (st == PARE_OK && (st = find_map(&r, err)) == PARE_OK && (st = read_rest(&r, err)) == PARE_OK)
        st = sort_shards(&r, err);
    pare_index_close(&r.numbers);
    if ((st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE) && (leads = check_names(x, &name) != PARE_OK)) {
        st = PARE_ERR_FORMAT;
        if (err != NULL)
            *err = name;
    }
    if (leads_out != NULL)
        *leads_out = leads;
    if (st != PARE_OK)
        pare_shard_index_close(x);
    return st;
}

void pare_shard_index_close(pare_shard_index *x)
{
    free(x->shards);
    free(x->names);
    free(x->places);
    json_decref(x->rest);
    pare_index_close(&x->tensors);
    pare_map_close(&x->file);
    pare_arena_close(&x->arena);
    *x = (pare_shard_index){0};
}

int64_t pare_shard_index_find(const pare_shard_index *x, pare_str tensor)
{
    int64_t number = pare_index_find(&x->tensors, tensor);
    return number == PARE_INDEX_NONE ? number : (int64_t)x->places[number];
}

pare_str pare_shard_index_at(const pare_shard_index *x, size_t i, size_t *shard)
{
    int64_t number = 0;
    pare_str tensor = pare_index_key(&x->tensors, i, &number);
    *shard = x->places[number];
    return tensor;
}

pare_status pare_shard_index_check(const pare_shard_index *x, pare_error *err)
{
    return check_names(x, err);
}
