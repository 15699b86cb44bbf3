#include "formats/pack_rows.h"
#include "core/checked.h"
#include "core/scratch.h"
#include "quant/path_table.h"

#include <float.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

/* What is being made. */
typedef struct making {
    pare_tensor weight;
    uint64_t group;
    pare_group_shape shape;
    pare_pack_put put;
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t moved;
    uint8_t *whole;         /* NULL: not yet, or no more */
    uint64_t next, n_begun; /* row to make next; threads at work */
    uint64_t n_taken;       /* rows of t that were delivered */
    pare_status st;
    uint64_t bad_row; /* the first that failed */
    pare_error why;
} making;

/* Fit and put one row of the weight, x. */
static pare_status make_row(const making *m, const pare_tensor *t, uint64_t row, const float *x, uint8_t *codes,
                            uint8_t *whole, pare_error *err)
{
    const pare_path_table *path = pare_path_now();
    pare_pack_item item = {.row = row, .codes = codes, .n = m->group, .bits = m->shape.bits};
    size_t bad = path->find_above(x, (size_t)m->weight.row_len, FLT_MAX);
    if (bad < m->weight.row_len)
        return pare_fail(err, PARE_ERR_NUMBER,
                         "tensor '%s': row %" PRIu64 ", column %zu holds a weight that is not finite", m->weight.name,
                         row, bad);
    for (; item.column < m->weight.row_len; item.column += m->group, item.group++) {
        if (!path->group_fit(&m->shape, x + item.column, NULL, (size_t)m->group, &item.fit, codes))
            return pare_fail(err, PARE_ERR_NUMBER,
                             "tensor '%s': row %" PRIu64 ": the weights from column %" PRIu64
                             " on are too large for a binary16 scale",
                             m->weight.name, row, item.column);
        m->put(t, &item, whole);
    }
    return PARE_OK;
}

/* n rows from *row on. On error *row is the one that failed. They are read at once: what is read row by row leaves its
 * pages behind. */
static pare_status make_unit(const making *m, const pare_tensor *t, uint64_t *row, uint64_t n, uint8_t *whole,
                             pare_error *err)
{
    uint64_t first = *row;
    size_t row_len = (size_t)m->weight.row_len, bytes = 0;
    float *x = NULL;
    if (pare_mul_size((size_t)n * sizeof *x, row_len, &bytes) && pare_add_size(bytes, (size_t)m->group, &bytes))
        x = pare_scratch_alloc(bytes);
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for rows of %zu weights", m->weight.name,
                         row_len);
    uint8_t *codes = (uint8_t *)(x + n * row_len);
    pare_status st = pare_tensor_read_f32(&m->weight, first, n, x, err);
    for (; *row < first + n && st == PARE_OK; *row += st == PARE_OK)
        st = make_row(m, t, *row, x + (*row - first) * row_len, codes, whole, err);
    pare_scratch_free(x, bytes);
    pare_tensor_release(&m->weight, first, n);
    return st;
}

/* Work on the whole tensor until there is nothing left to begin, and nobody is at it. The lock is held. */
static void make_whole(making *m, const pare_tensor *t)
{
    while (m->next < m->weight.n_rows && m->st == PARE_OK) {
        pare_error why = {0};
        uint64_t row = m->next, left = m->weight.n_rows - row, n = left < PARE_PACK_UNIT ? left : PARE_PACK_UNIT;
        m->next += n;
        m->n_begun++;
        pthread_mutex_unlock(&m->lock);
        pare_status st = pare_check_interrupt(&why);
        if (st == PARE_OK)
            st = make_unit(m, t, &row, n, m->whole, &why);
        pthread_mutex_lock(&m->lock);
        m->n_begun--;
        if (st != PARE_OK && (m->st == PARE_OK || row < m->bad_row)) {
            m->st = st;
            m->bad_row = row;
            m->why = why;
        }
    }
    while (m->n_begun > 0)
        pthread_cond_wait(&m->moved, &m->lock);
    pthread_cond_broadcast(&m->moved);
}

static void drop(making *m, const pare_tensor *t)
{
    pare_scratch_free(m->whole, (size_t)t->n_bytes);
    m->whole = NULL;
    m->next = m->n_taken = 0;
}

static pare_status read_made(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    making *m = (making *)(uintptr_t)t->ctx; /* ours, in the arena; const only through the tensor */
    pare_status st = PARE_OK;
    pthread_mutex_lock(&m->lock);
    if (m->whole == NULL && (m->whole = pare_scratch_alloc((size_t)t->n_bytes)) != NULL)
        memset(m->whole, 0, (size_t)t->n_bytes);
    if (m->whole == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %" PRIu64 " bytes", t->name, t->n_bytes);
    else {
        make_whole(m, t);
        st = m->st;
        if (st != PARE_OK && err != NULL)
            *err = m->why;
    }
    if (st == PARE_OK) {
        memcpy(dst, m->whole + row * t->row_bytes, (size_t)(n_rows * t->row_bytes));
        if ((m->n_taken += n_rows) >= t->n_rows)
            drop(m, t);
    }
    pthread_mutex_unlock(&m->lock);
    return st;
}

static void drop_all(pare_model *hub)
{
    for (size_t i = 0; i < hub->n_tensors; i++)
        if (hub->tensors[i].read == read_made) {
            making *m = (making *)(uintptr_t)hub->tensors[i].ctx;
            drop(m, &hub->tensors[i]);
            pthread_mutex_destroy(&m->lock);
            pthread_cond_destroy(&m->moved);
        }
}

pare_status pare_pack_rows(pare_model *hub, pare_tensor *t, const pare_tensor *weight, uint64_t group,
                           const pare_group_shape *shape, pare_pack_put put, pare_error *err)
{
    making *m = pare_arena_alloc(&hub->arena, sizeof *m, err);
    if (m == NULL)
        return PARE_ERR_MEMORY;
    *m = (making){.weight = *weight, .group = group, .shape = *shape, .put = put};
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->moved, NULL);
    hub->closing = drop_all;
    t->read = read_made;
    t->ctx = m;
    t->scratch_bytes =
        weight->scratch_bytes + (size_t)weight->row_bytes + (size_t)weight->row_len * (sizeof(float) + sizeof(uint8_t));
    return pare_tensor_set_shape(t, weight->name, err);
}
