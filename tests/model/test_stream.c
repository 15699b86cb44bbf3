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
        cmocka_unit_test(streams_one_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
