#include "gpu_check.h"

#include "gpu/ops.h"
#include "gpu/weights.h"

#include <atomic>
#include <string>
#include <unistd.h>

enum : uint64_t { KIB = 1 << 10, MIB = 1 << 20 };

/* A tensor whose bytes are made from their index, and which counts who reads it. */
struct fake {
    pare_tensor t = {};
    uint64_t seed = 0, bad_row = UINT64_MAX; /* reading that row fails */
    std::atomic<uint64_t> n_read{0};
    std::string name;
};

static uint64_t word_at(uint64_t seed, uint64_t i)
{
    uint64_t x = (seed << 40) + i;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    return x ^ x >> 27;
}

static pare_status read_fake(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    fake *f = (fake *)(uintptr_t)t->ctx;
    if (f->bad_row >= row && f->bad_row - row < n_rows)
        return pare_fail(err, PARE_ERR_IO, "tensor '%s': row %llu cannot be read", t->name,
                         (unsigned long long)f->bad_row);
    uint64_t first = row * t->row_bytes / 4, n = n_rows * t->row_bytes / 4;
    for (uint64_t i = 0; i < n; i++)
        ((uint32_t *)dst)[i] = (uint32_t)word_at(f->seed, first + i);
    f->n_read += n_rows;
    return PARE_OK;
}

static void make_fake(fake *f, uint64_t seed, uint64_t n_matrices, uint64_t n_rows, uint64_t row_len)
{
    f->seed = seed;
    f->name = "t" + std::to_string(seed);
    f->t.name = f->name.c_str();
    f->t.type = PARE_TYPE_F32;
    f->t.n_dims = n_matrices > 1 ? 3 : 2;
    uint64_t *dim = f->t.dim;
    if (n_matrices > 1)
        *dim++ = n_matrices;
    dim[0] = n_rows;
    dim[1] = row_len;
    f->t.row_len = row_len;
    f->t.n_rows = n_matrices * n_rows;
    f->t.row_bytes = row_len * 4;
    f->t.n_bytes = f->t.n_rows * f->t.row_bytes;
    f->t.read = read_fake;
    f->t.ctx = f;
}

static uint64_t sum_of(const fake *f, uint64_t row, uint64_t n_rows)
{
    uint64_t sum = 0, first = row * f->t.row_len;
    for (uint64_t i = 0; i < n_rows * f->t.row_len; i++)
        sum = sum * 31 + (uint32_t)word_at(f->seed, first + i);
    return sum;
}

static __global__ void sum_kernel(const uint32_t *p, uint64_t n, uint64_t *out)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum = sum * 31 + p[i];
    *out = sum;
}

/* Kernels that sum weights, each into a place of its own; looked at when all are done. */
struct checker {
    pare_gpu *g;
    uint64_t *sums;
    size_t room;
    std::vector<uint64_t> want;
};

static checker open_checker(uint64_t budget)
{
    static const pare_gpu_host host = {PARE_GPU_ABI,     pare_fail,           pare_check_interrupt,
                                       pare_tensor_read, pare_tensor_release, pare_tensor_matrices,
                                       pare_kv_refuse};
    pare_gpu_calls = &host;
    pare_gpu_options options = {};
    options.max_bytes = budget;
    options.no_blas = true;
    checker c = {NULL, NULL, 8 * KIB, {}};
    pare_error err = {};
    CHECK_OK(pare_gpu_open(&c.g, &options, &err), &err);
    c.sums = (uint64_t *)pare_gpu_alloc(c.g, c.room * sizeof *c.sums, "sums", &err);
    CHECK(c.sums != NULL);
    return c;
}

static void look(checker *c)
{
    std::vector<uint64_t> got = from_device(c->g, c->sums, c->want.size());
    for (size_t i = 0; i < got.size(); i++)
        CHECK(got[i] == c->want[i]);
    c->want.clear();
    CHECK(c->g->peak_bytes <= c->g->max_bytes);
}

static void close_checker(checker *c)
{
    look(c);
    pare_gpu_free(c->g, c->sums, c->room * sizeof *c->sums);
    pare_gpu_close(c->g);
}

static pare_status use_rows(checker *c, const fake *f, uint64_t row, uint64_t n_rows, pare_error *err)
{
    const void *p;
    pare_status st = pare_gpu_weight(c->g, &f->t, row, n_rows, &p, err);
    if (st != PARE_OK)
        return st;
    if (c->want.size() == c->room)
        look(c);
    PARE_LAUNCH(sum_kernel, 1, 1, 0, c->g->stream, (const uint32_t *)p, n_rows * f->t.row_len,
                c->sums + c->want.size());
    c->want.push_back(sum_of(f, row, n_rows));
    return pare_gpu_launched(c->g, "sum", err);
}

/* All of a tensor, as products use it: in the parts that are cheap. */
static void use(checker *c, const fake *f)
{
    pare_error err = {};
    for (uint64_t row = 0, n; row < f->t.n_rows; row += n) {
        n = pare_gpu_weight_piece(c->g, &f->t, row, f->t.n_rows - row);
        CHECK(n > 0 && n <= f->t.n_rows - row);
        CHECK_OK(use_rows(c, f, row, n, &err), &err);
    }
}

/* Layers of four tensors of different sizes, one of them with rows of an odd length. */
struct model {
    fake *tensors;
    size_t n_layers;
    std::vector<const pare_tensor *> all;
    uint64_t bytes;
};
enum : size_t { PER_LAYER = 4 };

static model make_model(size_t n_layers, uint64_t seed)
{
    static const uint64_t n_rows[PER_LAYER] = {150, 40, 301, 97}, row_len[PER_LAYER] = {512, 511, 256, 1000};
    model m = {new fake[n_layers * PER_LAYER], n_layers, {}, 0};
    for (size_t i = 0; i < n_layers * PER_LAYER; i++) {
        make_fake(&m.tensors[i], seed + i, 1, n_rows[i % PER_LAYER], row_len[i % PER_LAYER]);
        m.all.push_back(&m.tensors[i].t);
        m.bytes += m.tensors[i].t.n_bytes;
    }
    return m;
}

static void run_pass(checker *c, const model *m, unsigned n_slices)
{
    pare_error err = {};
    CHECK_OK(pare_gpu_weights_expect(c->g, m->all.data(), PER_LAYER, &err), &err);
    for (size_t layer = 0; layer < m->n_layers; layer++) {
        if (layer + 1 < m->n_layers)
            CHECK_OK(pare_gpu_weights_expect(c->g, &m->all[(layer + 1) * PER_LAYER], PER_LAYER, &err), &err);
        for (unsigned slice = 0; slice < n_slices; slice++)
            for (size_t i = 0; i < PER_LAYER; i++)
                use(c, &m->tensors[layer * PER_LAYER + i]);
    }
}

/* Until so many rows were read by those who fetch ahead; false: they do not. */
static bool comes_unasked(const fake *f, uint64_t n_rows)
{
    for (int i = 0; i < 5000 && f->n_read < n_rows; i++)
        usleep(1000);
    return f->n_read >= n_rows;
}

static pare_gpu_traffic traffic_of(const checker *c)
{
    pare_gpu_traffic t;
    pare_gpu_weights_traffic(c->g, &t);
    return t;
}

static void what_fits_is_copied_once(void **)
{
    checker c = open_checker(0);
    model m = make_model(3, 1);
    pare_error err = {};
    for (int pass = 0; pass < 3; pass++)
        run_pass(&c, &m, 2);
    CHECK_OK(use_rows(&c, &m.tensors[2], 300, 1, &err), &err);
    look(&c);
    pare_gpu_traffic t = traffic_of(&c);
    CHECK(t.resident_bytes == m.bytes && t.all_bytes == m.bytes && t.streamed_bytes == 0);
    for (size_t i = 0; i < m.all.size(); i++)
        CHECK(m.tensors[i].n_read == m.all[i]->n_rows);
    close_checker(&c);
    delete[] m.tensors;
}

/* Each streamed tensor passes through the ring once a pass, in however many slices the pass goes. */
static void passes_stream_the_rest_once(void **)
{
    for (int held = 0; held < 2; held++)
        for (unsigned n_slices = 1; n_slices < 4; n_slices++) {
            checker c = open_checker(7 * MIB);
            model m = make_model(9, 1);
            pare_error err = {};
            CHECK(m.bytes > 9 * MIB);
            if (held)
                CHECK_OK(pare_gpu_weights_hold(c.g, m.all.data(), m.all.size(), &err), &err);
            run_pass(&c, &m, n_slices);
            run_pass(&c, &m, n_slices);
            look(&c);
            pare_gpu_traffic before = traffic_of(&c);
            CHECK(before.resident_bytes > (held ? 3 : 1) * MIB && before.resident_bytes < 7 * MIB);
            run_pass(&c, &m, n_slices);
            uint64_t streamed = traffic_of(&c).streamed_bytes - before.streamed_bytes;
            CHECK(streamed <= m.bytes - before.resident_bytes);
            close_checker(&c);
            delete[] m.tensors;
        }
}

/* A ring that holds one list and a part of the next: the slices after the first find their layer still there. */
static void a_tight_ring_keeps_what_is_in_use(void **)
{
    checker c = open_checker(2300 * KIB);
    model m = make_model(6, 1);
    run_pass(&c, &m, 3);
    look(&c);
    uint64_t before = traffic_of(&c).streamed_bytes;
    run_pass(&c, &m, 3);
    uint64_t streamed = traffic_of(&c).streamed_bytes - before;
    CHECK(streamed >= m.bytes - traffic_of(&c).resident_bytes && streamed < m.bytes * 3 / 2);
    close_checker(&c);
    delete[] m.tensors;
}

/* Of weights that are held, what stays is spread over the layers: no layer streams much more than its part. */
static void what_stays_is_spread(void **)
{
    checker c = open_checker(7 * MIB);
    model m = make_model(9, 1);
    pare_error err = {};
    CHECK_OK(pare_gpu_weights_hold(c.g, m.all.data(), m.all.size(), &err), &err);
    run_pass(&c, &m, 1);
    run_pass(&c, &m, 1);
    look(&c);
    size_t n_before = 0, most = 0, run = 0;
    for (size_t i = 0; i < m.all.size(); i++) {
        bool stays = m.tensors[i].n_read == m.all[i]->n_rows;
        run = stays ? run + 1 : 0;
        most = run > most ? run : most;
        n_before += stays && i < m.all.size() / 2;
    }
    CHECK(most <= 2 * PER_LAYER);
    CHECK(n_before > 2 && n_before < m.all.size() / 2);
    close_checker(&c);
    delete[] m.tensors;
}

static void any_order_works(void **)
{
    checker c = open_checker(5 * MIB);
    model m = make_model(8, 1);
    pare_error err = {};
    uint64_t seed = 7;
    for (int i = 0; i < 150; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t layer = seed >> 33 & 7, which = seed >> 40 & 31;
        if (seed >> 50 & 1)
            CHECK_OK(pare_gpu_weights_expect(c.g, &m.all[layer * PER_LAYER], PER_LAYER, &err), &err);
        fake *f = &m.tensors[which];
        uint64_t row = (seed >> 45) % f->t.n_rows, n = (seed >> 20) % (f->t.n_rows - row) + 1;
        CHECK_OK(use_rows(&c, f, row, n, &err), &err);
        if (seed >> 51 & 1)
            use(&c, f);
    }
    close_checker(&c);
    delete[] m.tensors;
}

static void two_models_take_turns(void **)
{
    checker c = open_checker(9 * MIB);
    model a = make_model(6, 1), b = make_model(7, 100);
    pare_error err = {};
    CHECK_OK(pare_gpu_weights_hold(c.g, a.all.data(), a.all.size(), &err), &err);
    CHECK_OK(pare_gpu_weights_hold(c.g, b.all.data(), b.all.size(), &err), &err);
    for (int pass = 0; pass < 3; pass++) {
        run_pass(&c, &a, 1);
        run_pass(&c, &b, 2);
        use(&c, &a.tensors[5]);
        use(&c, &b.tensors[5]);
    }
    look(&c);
    pare_gpu_weights_drop(c.g, a.all.data(), a.all.size());
    CHECK(traffic_of(&c).all_bytes == b.bytes);
    run_pass(&c, &b, 1);
    look(&c);
    pare_gpu_weights_drop(c.g, b.all.data(), b.all.size());
    CHECK(traffic_of(&c).all_bytes == 0 && traffic_of(&c).resident_bytes == 0);
    close_checker(&c);
    delete[] a.tensors;
    delete[] b.tensors;
}

/* Another model's tensors at the addresses of one that was dropped. */
static void dropped_weights_are_forgotten(void **)
{
    for (uint64_t budget : {(uint64_t)0, 3 * MIB}) {
        checker c = open_checker(budget);
        model m = make_model(3, 1);
        pare_error err = {};
        uint64_t used = c.g->used_bytes;
        for (int time = 0; time < 3; time++) {
            CHECK_OK(pare_gpu_weights_hold(c.g, m.all.data(), m.all.size(), &err), &err);
            CHECK_OK(pare_gpu_weights_hold(c.g, m.all.data(), m.all.size(), &err), &err);
            run_pass(&c, &m, 1);
            pare_gpu_weights_drop(c.g, m.all.data(), m.all.size());
            run_pass(&c, &m, 1);
            pare_gpu_weights_drop(c.g, m.all.data(), m.all.size());
            look(&c);
            CHECK(budget != 0 || c.g->used_bytes == used);
            for (size_t i = 0; i < m.all.size(); i++)
                m.tensors[i].seed += 1000;
        }
        close_checker(&c);
        delete[] m.tensors;
    }
}

static void a_tensor_larger_than_the_ring(void **)
{
    checker c = open_checker(3 * MIB);
    fake large, small;
    make_fake(&large, 1, 1, 3000, 1001);
    make_fake(&small, 2, 1, 100, 100);
    const pare_tensor *list[] = {&large.t, &small.t};
    pare_error err = {};
    for (int pass = 0; pass < 3; pass++) {
        if (pass > 0)
            CHECK_OK(pare_gpu_weights_expect(c.g, list, 2, &err), &err);
        use(&c, &large);
        use(&c, &small);
        for (uint64_t row : {0, 1, 777, 2900})
            CHECK_OK(use_rows(&c, &large, row, 100, &err), &err);
    }
    look(&c);
    CHECK(use_rows(&c, &large, 0, large.t.n_rows, &err) == PARE_ERR_MEMORY);
    CHECK(strstr(err.text, "t1") != NULL && strstr(err.text, "--device-memory") != NULL);
    CHECK(use_rows(&c, &large, 2999, 2, &err) == PARE_ERR_RANGE);
    close_checker(&c);
}

/* Experts that few tokens choose are fetched when they are asked for; once many were, ahead. */
static void experts_by_need(void **)
{
    enum { N_EXPERTS = 16, N_ROWS = 30 };
    checker c = open_checker(3 * MIB);
    fake experts[4];
    pare_error err = {};
    for (uint64_t i = 0; i < 4; i++)
        make_fake(&experts[i], i + 1, N_EXPERTS, N_ROWS, 700);
    for (int pass = 0; pass < 4; pass++)
        for (int layer = 0; layer < 4; layer++) {
            const pare_tensor *list[] = {&experts[layer].t};
            uint64_t before = experts[layer].n_read;
            bool stays = before == experts[layer].t.n_rows;
            for (int time = pass < 3 ? 2 : 0; time < 3; time++) /* pass 3: nothing in the ring is wanted any more */
                CHECK_OK(pare_gpu_weights_expect(c.g, list, time == 2, &err), &err);
            CHECK(pass < 3 || stays || comes_unasked(&experts[layer], before + 1));
            for (uint64_t i = 0; i < N_EXPERTS; i += pass < 2 ? 5 : 1)
                CHECK_OK(use_rows(&c, &experts[layer], i * N_ROWS, N_ROWS, &err), &err);
            CHECK(layer == 0 || pass >= 2 || experts[layer].n_read - before <= N_EXPERTS * N_ROWS);
        }
    CHECK(experts[3].n_read > experts[3].t.n_rows && experts[3].n_read <= (4 + 4 + 16 + 16) * N_ROWS);
    close_checker(&c);
}

static void errors_come_where_the_rows_are_needed(void **)
{
    for (uint64_t budget : {(uint64_t)0, 3 * MIB}) {
        checker c = open_checker(budget);
        model m = make_model(6, 1);
        pare_error err = {};
        fake *bad = &m.tensors[2 * PER_LAYER + 2];
        bad->bad_row = 300;
        run_pass(&c, &m, 0); /* expected, and not used */
        for (size_t i = 0; i < 2 * PER_LAYER + 2; i++)
            use(&c, &m.tensors[i]);
        CHECK(use_rows(&c, bad, 0, bad->t.n_rows, &err) == PARE_ERR_IO);
        CHECK(strstr(err.text, "row 300") != NULL);
        bad->bad_row = UINT64_MAX;
        use(&c, bad);
        use(&c, &m.tensors[2 * PER_LAYER + 3]);
        run_pass(&c, &m, 1);
        close_checker(&c);
        delete[] m.tensors;
    }
}

static void others_take_memory_from_weights(void **)
{
    checker c = open_checker(8 * MIB);
    model m = make_model(6, 1);
    pare_error err = {};
    const void *p;
    run_pass(&c, &m, 1);
    const fake *last = &m.tensors[m.all.size() - 1];
    CHECK_OK(pare_gpu_weight(c.g, &last->t, 0, last->t.n_rows, &p, &err), &err);
    void *mine = pare_gpu_alloc(c.g, 5 * MIB, "a test", &err);
    CHECK(mine != NULL);
    std::vector<float> got = from_device(c.g, (const float *)p, 1000); /* still there */
    uint32_t word = (uint32_t)word_at(last->seed, 999);
    CHECK(memcmp(&got[999], &word, sizeof word) == 0);
    CHECK(traffic_of(&c).resident_bytes < 3 * MIB);
    run_pass(&c, &m, 1);
    run_pass(&c, &m, 2);
    look(&c);
    CHECK(pare_gpu_alloc(c.g, 8 * MIB, "a test", &err) == NULL);
    CHECK(strstr(err.text, "8.0 MiB") != NULL && strstr(err.text, "--device-memory") != NULL);
    run_pass(&c, &m, 1);
    pare_gpu_free(c.g, mine, 5 * MIB);
    close_checker(&c);
    delete[] m.tensors;
}

/* All memory is the ring's and what was held apart: the ring gives way too, but for the piece in use. */
static void others_take_memory_from_the_ring(void **)
{
    checker c = open_checker(3 * MIB);
    model m = make_model(9, 1);
    pare_error err = {};
    CHECK_OK(pare_gpu_weights_hold(c.g, m.all.data(), m.all.size(), &err), &err);
    run_pass(&c, &m, 2);
    const void *p;
    const fake *f = &m.tensors[0];
    CHECK_OK(pare_gpu_weight(c.g, &f->t, 0, 10, &p, &err), &err);
    CHECK(traffic_of(&c).resident_bytes < 1 * MIB);
    CHECK(pare_gpu_alloc(c.g, 2 * MIB, "a test", &err) == NULL);
    pare_gpu_weight_done(c.g);
    void *mine = pare_gpu_alloc(c.g, 2 * MIB, "a test", &err);
    CHECK(mine != NULL);
    run_pass(&c, &m, 2);
    look(&c);
    pare_gpu_free(c.g, mine, 2 * MIB);
    close_checker(&c);
    delete[] m.tensors;
}

static void lists_are_fetched_ahead(void **)
{
    checker c = open_checker(4 * MIB);
    model m = make_model(6, 1);
    pare_error err = {};
    run_pass(&c, &m, 1);
    run_pass(&c, &m, 1);
    for (size_t layer = 0; layer < m.n_layers; layer++)
        for (size_t i = 0; i < PER_LAYER; i++) {
            fake *f = &m.tensors[layer * PER_LAYER + i];
            if (f->n_read == f->t.n_rows) /* stays */
                continue;
            uint64_t before = f->n_read;
            const pare_tensor *list[] = {&f->t};
            for (int time = 0; time < 3; time++) /* whatever stood in the ring is not wanted any more */
                CHECK_OK(pare_gpu_weights_expect(c.g, list, time == 2, &err), &err);
            CHECK(comes_unasked(f, before + 1));
        }
    close_checker(&c);
    delete[] m.tensors;
}

static void closing_under_way(void **)
{
    for (uint64_t budget : {(uint64_t)0, 3 * MIB}) {
        checker c = open_checker(budget);
        model m = make_model(6, 1);
        run_pass(&c, &m, 0);
        close_checker(&c);
        delete[] m.tensors;
    }
}

static void vectors_are_floats(void **)
{
    checker c = open_checker(0);
    fake f;
    make_fake(&f, 1, 1, 1, 1000);
    const float *p, *again;
    pare_error err = {};
    CHECK_OK(pare_gpu_vector(c.g, &f.t, &p, &err), &err);
    CHECK_OK(pare_gpu_vector(c.g, &f.t, &again, &err), &err);
    CHECK(p == again && f.n_read == 1);
    std::vector<float> got = from_device(c.g, p, 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        uint32_t word = (uint32_t)word_at(1, i);
        CHECK(memcmp(&got[i], &word, sizeof word) == 0);
    }
    close_checker(&c);
}

static void rows_are_gathered_from_tables(void **)
{
    checker c = open_checker(6 * MIB);
    fake f;
    make_fake(&f, 1, 1, 6000, 300);
    pare_error err = {};
    const int32_t ids[] = {2999, 0, 7, 7};
    const void *p;
    CHECK(!pare_gpu_weight_stays(c.g, &f.t));
    CHECK_OK(pare_gpu_weight_gather(c.g, &f.t, ids, 4, &p, &err), &err);
    std::vector<uint32_t> got = from_device(c.g, (const uint32_t *)p, 4 * 300);
    for (uint64_t i = 0; i < 4; i++)
        for (uint64_t j = 0; j < 300; j++)
            CHECK(got[i * 300 + j] == (uint32_t)word_at(1, (uint64_t)ids[i] * 300 + j));
    std::vector<int32_t> many;
    for (int32_t i = 0; i < 2000; i++)
        many.push_back(i * 7 % 3000);
    float *y = to_device(c.g, std::vector<float>(many.size() * 300));
    CHECK_OK(pare_gpu_embed(c.g, &f.t, many.data(), (uint32_t)many.size(), y, &err), &err);
    std::vector<float> rows = from_device(c.g, y, many.size() * 300);
    for (uint64_t i = 0; i < rows.size(); i++) {
        uint32_t word = (uint32_t)word_at(1, (uint64_t)many[i / 300] * 300 + i % 300);
        CHECK(memcmp(&rows[i], &word, sizeof word) == 0);
    }
    pare_gpu_free(c.g, y, rows.size() * sizeof *y);
    f.bad_row = 7;
    CHECK(pare_gpu_weight_gather(c.g, &f.t, ids, 4, &p, &err) == PARE_ERR_IO);
    close_checker(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_copied_once),
        cmocka_unit_test(passes_stream_the_rest_once),
        cmocka_unit_test(a_tight_ring_keeps_what_is_in_use),
        cmocka_unit_test(what_stays_is_spread),
        cmocka_unit_test(any_order_works),
        cmocka_unit_test(two_models_take_turns),
        cmocka_unit_test(dropped_weights_are_forgotten),
        cmocka_unit_test(a_tensor_larger_than_the_ring),
        cmocka_unit_test(experts_by_need),
        cmocka_unit_test(errors_come_where_the_rows_are_needed),
        cmocka_unit_test(others_take_memory_from_weights),
        cmocka_unit_test(others_take_memory_from_the_ring),
        cmocka_unit_test(lists_are_fetched_ahead),
        cmocka_unit_test(closing_under_way),
        cmocka_unit_test(vectors_are_floats),
        cmocka_unit_test(rows_are_gathered_from_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
