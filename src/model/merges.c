#include "model/merges.h"

#include "core/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A pair that may be joined: rank, then position, decide. It is stale when the two symbols no longer span len bytes. */
struct pare_merge_pair {
    uint32_t rank, left; /* left is the index of the left symbol; symbols keep their index, so it orders by position */
    uint32_t len;
    int32_t id;
};

void pare_merge_work_close(pare_merge_work *w)
{
    free(w->symbols);
    free(w->heap);
    *w = (pare_merge_work){0};
}

/* Room for one more element of the given size. */
static pare_status grow(void **data, size_t n, size_t *cap, size_t size, pare_error *err)
{
    if (n < *cap)
        return PARE_OK;
    size_t more = *cap < 64 ? 64 : *cap * 2, bytes = 0;
    void *p = pare_mul_size(more, size, &bytes) ? realloc(*data, bytes) : NULL;
    if (p == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu symbols of a text", more);
    *data = p;
    *cap = more;
    return PARE_OK;
}

pare_status pare_merge_put(pare_merge_work *w, int32_t id, uint32_t start, uint32_t len, pare_error *err)
{
    if (w->n >= INT32_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "more than %" PRId32 " symbols in one piece of text", INT32_MAX);
    void *data = w->symbols;
    pare_status st = grow(&data, w->n, &w->cap, sizeof *w->symbols, err);
    w->symbols = data;
    if (st != PARE_OK)
        return st;
    int32_t i = (int32_t)w->n++;
    w->symbols[i] = (pare_symbol){id, start, len, i - 1, -1};
    if (i > 0)
        w->symbols[i - 1].next = i;
    return PARE_OK;
}

static bool before(const struct pare_merge_pair *a, const struct pare_merge_pair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static pare_status push(pare_merge_work *w, struct pare_merge_pair pair, pare_error *err)
{
    void *data = w->heap;
    pare_status st = grow(&data, w->n_heap, &w->heap_cap, sizeof *w->heap, err);
    w->heap = data;
    if (st != PARE_OK)
        return st;
    size_t i = w->n_heap++;
    while (i > 0 && before(&pair, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = pair;
    return PARE_OK;
}

static struct pare_merge_pair pop(pare_merge_work *w)
{
    struct pare_merge_pair top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t child = 1; child < w->n_heap; child = 2 * i + 1) {
        if (child + 1 < w->n_heap && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

/* Put the pair that starts at symbol i on the heap when it joins. */
static pare_status consider(pare_merge_work *w, int32_t i, const char *text, pare_join *join, const void *context,
                            pare_error *err)
{
    if (i < 0 || w->symbols[i].next < 0)
        return PARE_OK;
    const pare_symbol *left = &w->symbols[i], *right = &w->symbols[left->next];
    struct pare_merge_pair pair = {0, (uint32_t)i, left->len + right->len, PARE_TOKEN_NONE};
    if (!join(context, text, left, right, &pair.id, &pair.rank))
        return PARE_OK;
    return push(w, pair, err);
}

pare_status pare_merge_run(pare_merge_work *w, const char *text, pare_join *join, const void *context, pare_error *err)
{
    pare_status st = PARE_OK;
    w->n_heap = 0;
    for (size_t i = 0; i < w->n && st == PARE_OK; i++)
        st = consider(w, (int32_t)i, text, join, context, err);
    while (w->n_heap > 0 && st == PARE_OK) {
        struct pare_merge_pair pair = pop(w);
        pare_symbol *left = &w->symbols[pair.left];
        /* A symbol that was swallowed has length 0; every pair spans at least 2 bytes. */
        if (left->len == 0 || left->next < 0 || left->len + w->symbols[left->next].len != pair.len)
            continue;
        pare_symbol *right = &w->symbols[left->next];
        left->id = pair.id;
        left->len = pair.len;
        left->next = right->next;
        right->len = 0;
        if (left->next >= 0)
            w->symbols[left->next].prev = (int32_t)pair.left;
        st = consider(w, left->prev, text, join, context, err);
        if (st == PARE_OK)
            st = consider(w, (int32_t)pair.left, text, join, context, err);
    }
    return st;
}

struct pare_merge_slot {
    int32_t left, right, id; /* id PARE_TOKEN_NONE: free */
    uint32_t rank;
};

/* Finalizer of MurmurHash3 over both ids: neighbouring ids must not cluster. */
static size_t slot_of(const pare_merge_table *t, int32_t left, int32_t right)
{
    uint64_t h = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    size_t i = (size_t)(h ^ h >> 33) & (t->n_slots - 1);
    while (t->slots[i].id != PARE_TOKEN_NONE && (t->slots[i].left != left || t->slots[i].right != right))
        i = (i + 1) & (t->n_slots - 1);
    return i;
}

/* The ids of merge `number`, "left right", and of both joined; text is scratch room for the latter. */
static pare_status ids_of_merge(pare_str merge, uint32_t number, const pare_index *ids, pare_buf *text, int64_t out[3],
                                pare_error *err)
{
    const char *space = merge.len > 0 ? memchr(merge.data, ' ', merge.len) : NULL;
    size_t left = space != NULL ? (size_t)(space - merge.data) : 0, right = space != NULL ? merge.len - left - 1 : 0;
    text->len = 0;
    pare_status st = space != NULL ? pare_buf_put(text, merge.data, left, err) : PARE_ERR_FORMAT;
    if (st == PARE_OK)
        st = pare_buf_put(text, space + 1, right, err);
    if (st == PARE_ERR_MEMORY)
        return st;
    if (st == PARE_OK) {
        out[0] = pare_index_find(ids, (pare_str){merge.data, left});
        out[1] = pare_index_find(ids, (pare_str){space + 1, right});
        out[2] = pare_index_find(ids, (pare_str){text->data, text->len});
    }
    if (st != PARE_OK || out[0] < 0 || out[1] < 0 || out[2] < 0)
        return pare_fail(err, PARE_ERR_FORMAT, "merge %" PRIu32 " is of unknown pieces", number);
    return PARE_OK;
}

pare_status pare_merge_table_open(pare_merge_table *t, const pare_vocab *v, const pare_index *ids, pare_error *err)
{
    pare_buf text = {0};
    pare_status st = PARE_OK;
    size_t n_slots = 16;
    while (n_slots < 2 * (size_t)v->n_merges)
        n_slots *= 2;
    *t = (pare_merge_table){malloc(n_slots * sizeof *t->slots), n_slots};
    if (t->slots == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " merges", v->n_merges);
    for (size_t i = 0; i < n_slots; i++)
        t->slots[i].id = PARE_TOKEN_NONE;
    for (uint32_t i = 0; i < v->n_merges && st == PARE_OK; i++) {
        int64_t id[3] = {0};
        if ((st = ids_of_merge(v->merges[i], i, ids, &text, id, err)) != PARE_OK)
            continue;
        /* Of a repeated merge the last rank counts, as in `tokenizers`. */
        t->slots[slot_of(t, (int32_t)id[0], (int32_t)id[1])] =
            (struct pare_merge_slot){(int32_t)id[0], (int32_t)id[1], (int32_t)id[2], i};
    }
    pare_buf_close(&text);
    if (st != PARE_OK)
        pare_merge_table_close(t);
    return st;
}

void pare_merge_table_close(pare_merge_table *t)
{
    free(t->slots);
    *t = (pare_merge_table){0};
}

bool pare_merge_table_join(const void *table, const char *text, const pare_symbol *left, const pare_symbol *right,
                           int32_t *id, uint32_t *rank)
{
    (void)text;
    const pare_merge_table *t = table;
    if (left->id < 0 || right->id < 0)
        return false;
    const struct pare_merge_slot *slot = &t->slots[slot_of(t, left->id, right->id)];
    *id = slot->id;
    *rank = slot->rank;
    return slot->id != PARE_TOKEN_NONE;
}
