#include "check.h"

#include "core/text.h"
#include "core/threads.h"
#include "model/stream.h"

#include <stdlib.h>
#include <string.h>

enum { N_TENSORS = 6 };

/* What one taker got. */
typedef struct taken {
    pare_buf bytes[N_TENSORS];
    size_t tensor;
    size_t n_slices, largest;
} taken;

typedef struct job {
    pare_tensor tensors[N_TENSORS];
    taken takers[2];
} job;

/* Different from byte to byte and from tensor to tensor. */
static uint8_t byte_at(const pare_tensor *t, uint64_t i)
{
    return (uint8_t)(i * 7 + i / 251 + t->row_len + t->n_rows * 3);
}

static pare_status read_rows(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    (void)err;
    for (uint64_t i = 0; i < n_rows * t->row_bytes; i++)
        ((uint8_t *)dst)[i] = byte_at(t, row * t->row_bytes + i);
    return PARE_OK;
}

static pare_status take(job *j, taken *to, const pare_slice *slice, pare_error *err)
{
    CHECK(slice->t == &j->tensors[to->tensor]);
    pare_buf *bytes = &to->bytes[to->tensor];
    pare_status st = pare_buf_put(bytes, slice->data != NULL ? slice->data : "", slice->n, err);
    CHECK(slice->last == (bytes->len == slice->t->n_bytes));
    CHECK(slice->n % pare_type_get(slice->t->type)->block_bytes == 0);
    to->n_slices++;
    to->largest = slice->n > to->largest ? slice->n : to->largest;
    to->tensor += slice->last;
    return st;
}

static pare_status take_first(const pare_slice *slice, void *user, pare_error *err)
{
    job *j = user;
    return take(j, &j->takers[0], slice, err);
}

static pare_status take_second(const pare_slice *slice, void *user, pare_error *err)
{
    job *j = user;
    return take(j, &j->takers[1], slice, err);
}

static void open_job(job *j)
{
    static const struct {
        pare_type type;
        uint64_t n_rows, row_len;
        bool in_place;
    } shapes[N_TENSORS] = {
        {PARE_TYPE_F32, 1, 64, true},      {PARE_TYPE_F16, 3000, 512, false},
        {PARE_TYPE_F32, 0, 64, false},     {PARE_TYPE_F32, 1, 300001, true}, /* a row of several slices */
        {PARE_TYPE_F32, 2, 200000, false},                                   /* two of one row each */
        {PARE_TYPE_Q8_0, 700, 4096, true},
    };
    pare_error err = {0};
    *j = (job){0};
    for (size_t i = 0; i < N_TENSORS; i++) {
        pare_tensor *t = &j->tensors[i];
        *t = (pare_tensor){
            .name = "t", .type = shapes[i].type, .n_dims = 2, .dim = {shapes[i].n_rows, shapes[i].row_len}};
        CHECK_OK(pare_tensor_set_shape(t, "test", &err), &err);
        uint8_t *data = shapes[i].in_place ? check_malloc((size_t)t->n_bytes) : NULL;
        if (data != NULL)
            CHECK_OK(read_rows(t, 0, t->n_rows, data, &err), &err);
        t->data = data;
        t->read = data == NULL ? read_rows : NULL;
    }
}

static void close_job(job *j)
{
    for (size_t i = 0; i < N_TENSORS; i++) {
        free((void *)(uintptr_t)j->tensors[i].data);
        pare_buf_close(&j->takers[0].bytes[i]);
        pare_buf_close(&j->takers[1].bytes[i]);
    }
}

static void delivers_all_to_each_taker(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 8; threads *= 2) {
        job j;
        pare_error err = {0};
        open_job(&j);
        pare_set_threads(threads);
        CHECK_OK(pare_stream(j.tensors, N_TENSORS, (pare_take_fn[]){take_first, take_second}, 2, &j, &err), &err);
        for (size_t k = 0; k < 2; k++) {
            CHECK(j.takers[k].tensor == N_TENSORS && j.takers[k].n_slices > 20 && j.takers[k].largest <= 800000);
            for (size_t i = 0; i < N_TENSORS; i++) {
                const pare_buf *got = &j.takers[k].bytes[i];
                CHECK(got->len == j.tensors[i].n_bytes);
                for (size_t at = 0; at < got->len; at++)
                    if ((uint8_t)got->data[at] != byte_at(&j.tensors[i], at))
                        fail_msg("tensor %zu, byte %zu", i, at);
            }
        }
        close_job(&j);
    }
    pare_set_threads(0);
}

/* Where each tensor has come to, and the order of the slices. */
typedef struct places {
    const pare_tensor *tensors;
    uint64_t at[7];
    size_t n_slices, order[64];
} places;

static pare_status take_in_turn(const pare_slice *slice, void *user, pare_error *err)
{
    places *p = user;
    size_t i = (size_t)(slice->t - p->tensors);
    (void)err;
    CHECK(slice->offset == p->at[i] && slice->n % slice->t->row_bytes == 0);
    for (size_t k = 0; k < slice->n; k++)
        CHECK(((const uint8_t *)slice->data)[k] == byte_at(slice->t, slice->offset + k));
    p->at[i] += slice->n;
    CHECK(slice->last == (p->at[i] == slice->t->n_bytes));
    CHECK(p->n_slices < 64);
    p->order[p->n_slices++] = i;
    return PARE_OK;
}

/* Tensors 1 and 2 share what they are read from; 3 and 4 too, but a slice has no room for a row of each; 5 and 6 are
 * alike and share nothing. */
static void takes_in_turn_what_shares_memory(void **state)
{
    (void)state;
    static const uint8_t a = 0, b = 0;
    static const uint64_t shape[7][2] = {{3, 512},    {700, 512}, {700, 512}, {2, 100000},
                                         {2, 100000}, {700, 512}, {700, 512}};
    pare_tensor t[7] = {0};
    pare_error err = {0};
    for (size_t i = 0; i < 7; i++) {
        t[i] = (pare_tensor){.name = "t", .type = PARE_TYPE_F16, .n_dims = 2, .dim = {shape[i][0], shape[i][1]}};
        CHECK_OK(pare_tensor_set_shape(&t[i], "test", &err), &err);
        t[i].read = read_rows;
        t[i].shared = i < 3 || i == 6 ? &a : &b;
    }
    for (int threads = 1; threads <= 8; threads *= 2) {
        places p = {.tensors = t};
        pare_set_threads(threads);
        CHECK_OK(pare_stream_in_turn(t, 7, take_in_turn, &p, &err), &err);
        CHECK(p.n_slices == 1 + 12 + 4 + 6 && p.order[0] == 0); /* 700 rows, 128 of each at a time */
        for (size_t i = 0; i < 12; i++)
            CHECK(p.order[1 + i] == 1 + i % 2);
        for (size_t i = 0; i < 4; i++)
            CHECK(p.order[13 + i] == 3 + i / 2);
        for (size_t i = 0; i < 6; i++)
            CHECK(p.order[17 + i] == 5 + i / 3);
        for (size_t i = 0; i < 7; i++)
            CHECK(p.at[i] == t[i].n_bytes);
    }
    pare_set_threads(0);
}

static pare_status count(const void *data, size_t n, void *user, pare_error *err)
{
    (void)data, (void)err;
    *(size_t *)user += n;
    return PARE_OK;
}

static void streams_one_tensor(void **state)
{
    (void)state;
    job j;
    pare_error err = {0};
    open_job(&j);
    for (size_t i = 0; i < N_TENSORS; i++) {
        size_t n = 0;
        CHECK_OK(pare_tensor_stream(&j.tensors[i], count, &n, &err), &err);
        CHECK(n == j.tensors[i].n_bytes);
    }
    CHECK_OK(pare_stream(NULL, 0, &(pare_take_fn){take_first}, 1, &j, &err), &err);
    close_job(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers_all_to_each_taker),
        cmocka_unit_test(takes_in_turn_what_shares_memory),
        cmocka_unit_test(streams_one_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
