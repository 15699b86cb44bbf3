#include "report/record_merge.h"

#include <stdlib.h>
#include <string.h>

/* Members that must be the same, in objects of the record that are named by `in`, beside all settings. Where a model or
 * text lay may differ between machines; what it was may not. */
static const struct {
    const char *in, *member;
} same[] = {{"model", "sha256"},     {"model", "tensors_sha256"},     {"model", "tokenizer_sha256"},
            {"reference", "sha256"}, {"reference", "tensors_sha256"}, {"reference", "store"}};

#define N(array) (sizeof(array) / sizeof *(array))
static const char *const same_of_texts[] = {"sha256", "ids_sha256", "n_tokens", "n_windows"};
static const char *const same_of_tasks[] = {"sha256", "shots_sha256", "kind", "n_items", "n_shot", "n_ctx"};

/* A document, and what messages call it. */
typedef struct named {
    const char *path;
    const json_t *doc;
} named;

/* A member's value in a message: short ones as they are. */
static void show(char *out, size_t size, const json_t *value)
{
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    snprintf(out, size, "%s", value == NULL ? "absent" : text != NULL && strlen(text) < size ? text : "another");
    free(text);
}

static pare_status differ(const named *a, const named *b, const char *what, const json_t *x, const json_t *y,
                          pare_error *err)
{
    char left[80], right[80];
    show(left, sizeof left, x);
    show(right, sizeof right, y);
    return pare_fail(err, PARE_ERR_USAGE, "%s: '%s' is not that of %s (%s, and there %s): not parts of one evaluation",
                     b->path, what, a->path, right, left);
}

/* Either both have it, and the same, or neither. */
static bool agree(const json_t *x, const json_t *y)
{
    return x == NULL ? y == NULL : json_equal(x, y) != 0;
}

/* All members of settings, so that the one that differs is named. */
static pare_status check_settings(const named *a, const named *b, pare_error *err)
{
    const json_t *const of[] = {json_object_get(a->doc, "settings"), json_object_get(b->doc, "settings")};
    char what[64];
    for (int side = 0; side < 2; side++) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)of[side], key, value)
        {
            const json_t *x = json_object_get(of[0], key), *y = json_object_get(of[1], key);
            snprintf(what, sizeof what, "settings.%s", key);
            if (!agree(x, y))
                return differ(a, b, what, x, y, err);
        }
    }
    return PARE_OK;
}

/* The members `keys` of the first n elements of two lists. */
static pare_status check_list(const named *a, const named *b, const char *list, size_t n, const char *const *keys,
                              size_t n_keys, pare_error *err)
{
    char what[64];
    const json_t *left = json_object_get(a->doc, list), *right = json_object_get(b->doc, list);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n_keys; k++) {
            const json_t *x = json_object_get(json_array_get(left, i), keys[k]),
                         *y = json_object_get(json_array_get(right, i), keys[k]);
            snprintf(what, sizeof what, "%s[%zu].%s", list, i, keys[k]);
            if (!agree(x, y))
                return differ(a, b, what, x, y, err);
        }
    return PARE_OK;
}

/* Models and settings. */
static pare_status check_job(const named *a, const named *b, pare_error *err)
{
    char what[64];
    const json_t *x = json_object_get(a->doc, "reference"), *y = json_object_get(b->doc, "reference");
    if ((x != NULL) != (y != NULL))
        return differ(a, b, "reference", json_object_get(x, "path"), json_object_get(y, "path"), err);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        x = json_object_get(json_object_get(a->doc, same[i].in), same[i].member);
        y = json_object_get(json_object_get(b->doc, same[i].in), same[i].member);
        snprintf(what, sizeof what, "%s.%s", same[i].in, same[i].member);
        if (!agree(x, y))
            return differ(a, b, what, x, y, err);
    }
    return check_settings(a, b, err);
}

static size_t count(const named *a, const char *list)
{
    return json_array_size(json_object_get(a->doc, list));
}

static pare_status check_same(const pare_record *first, const pare_record *other, pare_error *err)
{
    const named a = {first->path, first->doc}, b = {other->path, other->doc};
    static const char *const lists[] = {"texts", "tasks"};
    pare_status st = check_job(&a, &b, err);
    for (int i = 0; i < 2 && st == PARE_OK; i++)
        if (count(&a, lists[i]) != count(&b, lists[i]))
            st = pare_fail(err, PARE_ERR_USAGE, "%s: has %zu %s, %s has %zu: not parts of one evaluation", b.path,
                           count(&b, lists[i]), lists[i], a.path, count(&a, lists[i]));
    if (st == PARE_OK)
        st = check_list(&a, &b, "texts", count(&a, "texts"), same_of_texts, N(same_of_texts), err);
    return st == PARE_OK ? check_list(&a, &b, "tasks", count(&a, "tasks"), same_of_tasks, N(same_of_tasks), err) : st;
}

/* "cuda" of "cuda:0,1" */
static json_t *device_kind(const json_t *doc)
{
    const char *name = json_string_value(json_object_get(json_object_get(doc, "machine"), "device"));
    return name != NULL ? json_stringn(name, strcspn(name, ":")) : NULL;
}

pare_status pare_record_check_unfinished(const pare_record *part, const char *name, const json_t *now, pare_error *err)
{
    const named a = {name, now}, b = {part->path, part->doc};
    size_t n_now = count(&a, "texts"), n_texts = n_now < part->n_texts ? n_now : part->n_texts;
    const json_t *range = json_object_get(now, "chunk_range"), *part_range = json_object_get(part->doc, "chunk_range");
    json_t *kind = device_kind(now), *part_kind = device_kind(part->doc);
    pare_status st = check_job(&a, &b, err);
    if (st == PARE_OK && !agree(kind, part_kind))
        st = differ(&a, &b, "machine.device", kind, part_kind, err);
    if (st == PARE_OK && !agree(range, part_range))
        st = differ(&a, &b, "chunk_range", range, part_range, err);
    if (st == PARE_OK)
        st = check_list(&a, &b, "texts", n_texts, same_of_texts, N(same_of_texts), err);
    json_decref(kind);
    json_decref(part_kind);
    return st;
}

/* The first record without what is computed anew, and what each part says of where and when. */
static json_t *make_head(const pare_record *parts, size_t n, const json_t *tool)
{
    static const char *const drop[] = {"average",     "texts",   "tasks", "items",   "seal",      "digest",
                                       "chunk_range", "machine", "time",  "resumed", "unfinished"};
    static const char *const keep[] = {"digest", "chunk_range", "machine", "time", "tool", "resumed"};
    json_t *head = json_copy(parts[0].doc), *list = json_array();
    for (size_t i = 0; i < sizeof drop / sizeof drop[0]; i++)
        json_object_del(head, drop[i]);
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_object();
        for (size_t k = 0; k < sizeof keep / sizeof keep[0]; k++)
            if (json_object_get(parts[i].doc, keep[k]) != NULL)
                json_object_set(row, keep[k], json_object_get(parts[i].doc, keep[k]));
        if (json_object_get(parts[i].doc, "self_check") == NULL)
            json_object_del(head, "self_check");
        json_array_append_new(list, row);
    }
    if (json_object_set_new(head, "parts", list) == 0 && json_object_set(head, "tool", (json_t *)tool) == 0)
        return head;
    json_decref(head);
    return NULL;
}

pare_status pare_record_merge(const pare_record *parts, size_t n, const char *path, bool force, const json_t *tool,
                              pare_output_set *set, uint64_t *n_missing, pare_error *err)
{
    pare_record_writer *w = NULL;
    pare_replay_counts counts = {0};
    pare_status st = PARE_OK;
    for (size_t i = 1; i < n && st == PARE_OK; i++)
        st = check_same(&parts[0], &parts[i], err);
    if (st != PARE_OK)
        return st;
    json_t *head = make_head(parts, n, tool);
    if (head == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
    st = pare_record_open(&w, path, force, err);
    if (st == PARE_OK)
        st = pare_record_replay(parts, n, w, &counts, err);
    if (st == PARE_OK)
        st = pare_record_finish(w, head, set, err);
    uint64_t wanted = 0;
    for (size_t i = 0; i < parts[0].n_texts; i++)
        wanted += (uint64_t)json_integer_value(
            json_object_get(json_array_get(json_object_get(parts[0].doc, "texts"), i), "n_windows"));
    if (n_missing != NULL)
        *n_missing = wanted > counts.n_windows ? wanted - counts.n_windows : 0;
    pare_record_close(w);
    json_decref(head);
    return st;
}
