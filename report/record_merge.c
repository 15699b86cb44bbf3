#include "report/record_merge.h"

#include <string.h>

/* Members that must be the same, in objects of the record that are named by `in` (NULL: the record itself). Where a
 * model or text lay may differ between machines; what it was may not. */
static const struct {
    const char *in, *member;
} same[] = {{"model", "sha256"},     {"model", "tensors_sha256"},     {"model", "tokenizer_sha256"},
            {"reference", "sha256"}, {"reference", "tensors_sha256"}, {"reference", "store"},
            {NULL, "settings"}};

static const char *const same_of_texts[] = {"sha256", "ids_sha256", "n_tokens", "n_windows"};
static const char *const same_of_tasks[] = {"sha256", "shots_sha256", "kind", "n_items", "n_shot", "n_ctx"};

static const json_t *member(const json_t *doc, const char *in, const char *name)
{
    return json_object_get(in != NULL ? json_object_get(doc, in) : doc, name);
}

static pare_status differ(const pare_record *a, const pare_record *b, const char *what, pare_error *err)
{
    return pare_fail(err, PARE_ERR_USAGE, "%s: '%s' is not that of %s: not parts of one evaluation", b->path, what,
                     a->path);
}

/* Either both have it, and the same, or neither. */
static bool agree(const json_t *x, const json_t *y)
{
    return x == NULL ? y == NULL : json_equal(x, y) != 0;
}

/* The members `keys` of each element of two lists. */
static pare_status check_list(const pare_record *a, const pare_record *b, const char *list, const char *const *keys,
                              size_t n_keys, pare_error *err)
{
    char what[64];
    const json_t *left = json_object_get(a->doc, list), *right = json_object_get(b->doc, list);
    if (json_array_size(left) != json_array_size(right))
        return differ(a, b, list, err);
    for (size_t i = 0; i < json_array_size(left); i++)
        for (size_t k = 0; k < n_keys; k++) {
            snprintf(what, sizeof what, "%s[%zu].%s", list, i, keys[k]);
            if (!agree(json_object_get(json_array_get(left, i), keys[k]),
                       json_object_get(json_array_get(right, i), keys[k])))
                return differ(a, b, what, err);
        }
    return PARE_OK;
}

static pare_status check_same(const pare_record *a, const pare_record *b, pare_error *err)
{
    char what[64];
    if (a->has_reference != b->has_reference)
        return differ(a, b, "reference", err);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        snprintf(what, sizeof what, "%s%s%s", same[i].in != NULL ? same[i].in : "", same[i].in != NULL ? "." : "",
                 same[i].member);
        if (!agree(member(a->doc, same[i].in, same[i].member), member(b->doc, same[i].in, same[i].member)))
            return differ(a, b, what, err);
    }
    pare_status st = check_list(a, b, "texts", same_of_texts, sizeof same_of_texts / sizeof *same_of_texts, err);
    return st == PARE_OK ? check_list(a, b, "tasks", same_of_tasks, sizeof same_of_tasks / sizeof *same_of_tasks, err)
                         : st;
}

/* The first record without what is computed anew, and what each part says of where and when. */
static json_t *make_head(const pare_record *parts, size_t n, const json_t *tool)
{
    static const char *const drop[] = {"average", "texts",       "tasks",   "items", "seal",
                                       "digest",  "chunk_range", "machine", "time"};
    static const char *const keep[] = {"digest", "chunk_range", "machine", "time", "tool"};
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
