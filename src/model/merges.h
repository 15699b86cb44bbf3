/* model/merges.h - joining neighbours of a sequence, best pair first: what both kinds of BPE come down to */
#ifndef PARE_MODEL_MERGES_H
#define PARE_MODEL_MERGES_H

#include "model/vocab.h"

/* One symbol of a word that is being merged: len bytes at start of the caller's text. */
typedef struct pare_symbol {
    int32_t id; /* token, or PARE_TOKEN_NONE */
    uint32_t start, len;
    int32_t prev, next; /* neighbours, -1 at the ends */
} pare_symbol;

/* What joining left and right makes. False: they do not join. *id is the token, *rank orders: smallest first. */
typedef bool pare_join(const void *context, const char *text, const pare_symbol *left, const pare_symbol *right,
                       int32_t *id, uint32_t *rank);

/* Room that a caller keeps between words. Zeroed is empty. */
typedef struct pare_merge_work {
    pare_symbol *symbols;
    size_t n, cap;
    struct pare_merge_pair *heap;
    size_t n_heap, heap_cap;
} pare_merge_work;

void pare_merge_work_close(pare_merge_work *w);

/* Add a symbol behind the last one; the first of a word is added after w->n was set to 0. */
pare_status pare_merge_put(pare_merge_work *w, int32_t id, uint32_t start, uint32_t len, pare_error *err);

/* Join until nothing joins: always the pair of the smallest rank, the leftmost of equals. What is left is read from
 * symbols[0] along next. O(n log n) joins for n symbols, no recursion. */
pare_status pare_merge_run(pare_merge_work *w, const char *text, pare_join *join, const void *context, pare_error *err);

/* The merges of a vocabulary as a table from two ids to rank and result. */
typedef struct pare_merge_table {
    struct pare_merge_slot *slots;
    size_t n_slots;
} pare_merge_table;

/* ids: text of a token -> id. Errors: PARE_ERR_FORMAT for a merge of unknown pieces, PARE_ERR_MEMORY. */
pare_status pare_merge_table_open(pare_merge_table *t, const pare_vocab *v, const pare_index *ids, pare_error *err);
void pare_merge_table_close(pare_merge_table *t);

/* A pare_join whose context is a pare_merge_table. */
bool pare_merge_table_join(const void *table, const char *text, const pare_symbol *left, const pare_symbol *right,
                           int32_t *id, uint32_t *rank);

#endif
