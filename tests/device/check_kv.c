/* Keys and values in codecs, and rotations of heads: all that comes of them is the CPU's, byte for byte. */
#include "device_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HEADS = 3, OFF = 17 }; /* OFF: units need no alignment */

typedef struct kv_row {
    const pare_kv_codec *codec;
    bool keys;
} kv_row;

static const uint32_t dims[] = {32, 64, 80, 128, 256};
static const uint32_t large_dims[] = {576, 1024};

typedef void (*on_dim)(check *c, const pare_kv_codec *codec, uint32_t dim, uint64_t n);

/* fn for every head that the codec can take: n rows of units. */
static void for_dims(check *c, const pare_kv_codec *codec, on_dim fn)
{
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        uint64_t n = (c->small ? 5 : 701) / (codec->group > 1 ? 4 : 1) + 1;
        check_shape(c, "%llu x %d x %u", (unsigned long long)n, HEADS, dims[i]);
        if (pare_kv_unit_bytes(codec, dims[i]) != 0)
            fn(c, codec, dims[i], n);
    }
    for (size_t i = 0; i < sizeof large_dims / sizeof *large_dims; i++) {
        uint64_t n = c->small ? 1 : 9;
        check_shape(c, "%llu x %d x %u", (unsigned long long)n, HEADS, large_dims[i]);
        if (pare_kv_unit_bytes(codec, large_dims[i]) != 0)
            fn(c, codec, large_dims[i], n);
    }
}

/* Values of a normal distribution, about; every fifth vector is large in a few elements, every seventh is 0. */
static float *values(check *c, size_t n_vectors, uint32_t dim)
{
    const size_t n = n_vectors * dim;
    float *x = check_noise(c, n, 1), *y = check_noise(c, n, 1), *z = check_noise(c, n, 1);
    for (size_t i = 0; i < n; i++) {
        const size_t vector = i / dim;
        x[i] = vector % 7 == 6 ? 0 : (x[i] + y[i] + z[i]) * (vector % 5 == 4 && i % 13 == 0 ? 40.0f : 1.0f);
    }
    /* A length between two of binary16, which one it is being up to the order of the sum of squares: 4098^2 + 4 x 1. */
    memset(x, 0, dim * sizeof *x);
    x[0] = 4098;
    for (size_t i = 1; i < 8; i += 2)
        x[i] = 1;
    return x;
}

static void same_bytes(check *c, const uint8_t *got, const uint8_t *want, size_t n)
{
    size_t different = 0;
    for (size_t i = 0; i < n; i++)
        different += got[i] != want[i];
    check_error(c, (double)different);
}

/* Bases for HEADS heads of a codec that needs them, else NULL: noise that keeps coordinates near 1, and bits that fall
 * from 10 to 0, as many as there are. */
static float *bases(check *c, const pare_kv_codec *codec, uint32_t dim)
{
    const size_t floats = pare_kv_basis_floats(dim);
    if (codec->family != PARE_KV_TRANSFORM)
        return NULL;
    float *basis = check_noise(c, HEADS * floats, 0.2f);
    for (size_t h = 0; h < HEADS; h++) {
        float *bits = basis + h * floats + (size_t)(1 + 2 * dim) * dim;
        uint32_t left = 8 * (uint32_t)pare_kv_unit_bytes(codec, dim) - 16;
        for (uint32_t i = 0; i < dim; i++) {
            const uint32_t falling = 10 - 10 * i / dim, n = i + h >= dim ? 0 : falling < left ? falling : left;
            bits[i] = (float)n;
            bits[dim + i] = n > 0 ? 1 / (1 + 0.1f * (float)i) : 0;
            left -= n;
        }
    }
    return basis;
}

/* The codec with these bases on b. */
static pare_kv_codec with_bases(check *c, pare_backend *b, const pare_kv_codec *codec, const float *basis, uint32_t dim)
{
    pare_kv_codec out = *codec;
    if (basis != NULL)
        out.basis = check_give(c, b, basis, HEADS * pare_kv_basis_floats(dim) * sizeof *basis);
    return out;
}

/* Bytes of both devices; then what both make of the CPU's. */
static void code(check *c, const pare_kv_codec *codec, uint32_t dim, uint64_t n)
{
    pare_backend *both[] = {c->gpu, c->cpu};
    const size_t count = n * codec->group * HEADS * dim, bytes = n * HEADS * pare_kv_unit_bytes(codec, dim);
    const float *x = values(c, n * codec->group * HEADS, dim), *basis = bases(c, codec, dim);
    const uint8_t *coded[2];
    const float *back[2];
    for (int k = 0; k < 2; k++) {
        pare_backend *b = both[k];
        const float *in = check_give(c, b, x, count * sizeof *x);
        uint8_t *dst = check_poisoned(c, b, OFF + bytes);
        const pare_kv_codec with = with_bases(c, b, codec, basis, dim);
        check_must(c, b->kv_encode(b, &with, in, n, HEADS, dim, dst + OFF, &c->err));
        coded[k] = check_take(c, b, dst, OFF + bytes);
    }
    same_bytes(c, coded[0], coded[1], OFF + bytes);
    for (int k = 0; k < 2; k++) {
        pare_backend *b = both[k];
        const uint8_t *src = check_give(c, b, coded[1], OFF + bytes);
        float *out = check_poisoned(c, b, count * sizeof *out);
        const pare_kv_codec with = with_bases(c, b, codec, basis, dim);
        check_must(c, b->kv_decode(b, &with, src + OFF, n, HEADS, dim, out, &c->err));
        back[k] = check_take(c, b, out, count * sizeof *out);
    }
    check_same(c, back[0], back[1], count);
}

static void run_code(check *c, const void *arg)
{
    for_dims(c, arg, code);
}

/* One value that has no code among many that have, and a larger one of a later unit: both say the same of the first. */
static void refuse(check *c, const pare_kv_codec *codec, uint32_t dim, uint64_t n)
{
    static const float bad[] = {NAN, INFINITY, -3e38f};
    pare_backend *both[] = {c->gpu, c->cpu};
    const size_t count = n * codec->group * HEADS * dim;
    const float *basis = bases(c, codec, dim);
    for (int i = 0; i < 3; i++) {
        float *x = check_noise(c, count, 1);
        pare_error said[2] = {{0}};
        x[count / 2] = bad[i];
        x[count - 1] = bad[0];
        for (int k = 0; k < 2; k++) {
            pare_backend *b = both[k];
            const float *in = check_give(c, b, x, count * sizeof *x);
            void *dst = check_poisoned(c, b, n * HEADS * pare_kv_unit_bytes(codec, dim));
            const pare_kv_codec with = with_bases(c, b, codec, basis, dim);
            check_error(c, b->kv_encode(b, &with, in, n, HEADS, dim, dst, &said[k]) == PARE_ERR_NUMBER ? 0 : INFINITY);
        }
        check_error(c, strcmp(said[0].text, said[1].text) == 0 && said[0].status == said[1].status ? 0 : INFINITY);
        if (c->worst != 0)
            check_must(c, pare_fail(&c->err, PARE_ERR_RANGE, "\"%.60s\" and on the CPU \"%.60s\"", said[0].text,
                                    said[1].text));
    }
}

static void run_refuse(check *c, const void *arg)
{
    for_dims(c, arg, refuse);
}

typedef struct turn_shape {
    uint32_t dim, largest;
    uint64_t seed;
    bool shift;
} turn_shape;

static void run_turn(check *c, const void *arg)
{
    static const turn_shape shapes[] = {
        {128, 1024, 7, true}, {64, 1024, 7, false}, {80, 64, 7, true},    {256, 1024, 3, true},  {128, 64, 0, false},
        {128, 32, 0, true},   {256, 128, 9, true},  {1, 1, 5, false},     {6, 1024, 5, true},    {63, 1024, 5, true},
        {512, 1024, 1, true}, {576, 1024, 1, true}, {1000, 256, 2, true}, {1024, 1024, 7, true},
    };
    const bool back = *(const bool *)arg;
    pare_backend *both[] = {c->gpu, c->cpu};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const turn_shape *s = &shapes[i];
        const uint32_t n = c->small ? 7 : 1009;
        const size_t count = (size_t)n * HEADS * s->dim;
        const float *x = check_noise(c, count, 2), *shift = check_noise(c, (size_t)HEADS * s->dim, 1), *out[2];
        check_shape(c, "%u x %d x %u, blocks to %u", n, HEADS, s->dim, s->largest);
        for (int k = 0; k < 2; k++) {
            pare_backend *b = both[k];
            float *p = check_poisoned(c, b, count * sizeof *p);
            const float *minus = check_give(c, b, shift, (size_t)HEADS * s->dim * sizeof *shift);
            check_must(c, b->upload(b, p, x, count * sizeof *p, &c->err));
            pare_turn t = {{s->dim, s->largest, s->seed}, s->shift ? minus : NULL, p, n, HEADS, s->dim, back};
            check_must(c, b->turn(b, &t, &c->err));
            t.rotation.dim = 0; /* the shift alone */
            check_must(c, b->turn(b, &t, &c->err));
            out[k] = check_take(c, b, p, count * sizeof *p);
        }
        check_same(c, out[0], out[1], count);
    }
}

void check_kv(check *c)
{
    static const char *const refusing[] = {"f16", "q4_0", "nvfp4", "midrise4", "turbo3.5", "turbo3p", "kivi2", "klt3"};
    static const bool back[] = {false, true};
    const pare_kv_codec *codec;
    char name[64];
    for (size_t i = 0; (codec = pare_kv_codec_at(i)) != NULL; i++) {
        snprintf(name, sizeof name, "kv %s, %s", codec->name,
                 codec->sides == PARE_KV_KEYS     ? "keys"
                 : codec->sides == PARE_KV_VALUES ? "values"
                                                  : "both");
        check_row(c, name, 0, run_code, codec);
    }
    for (size_t i = 0; i < sizeof refusing / sizeof *refusing; i++) {
        snprintf(name, sizeof name, "kv %s, no code", refusing[i]);
        check_row(c, name, 0, run_refuse, pare_kv_codec_find(refusing[i], PARE_KV_KEYS));
    }
    check_row(c, "kv turn", 0, run_turn, &back[0]);
    check_row(c, "kv turn back", 0, run_turn, &back[1]);
}
