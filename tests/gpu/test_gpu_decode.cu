/* Blocks of random bytes of every type, decoded on the device and by the registry: the same bits. */
#include "gpu_check.h"

#include "gpu/decode.h"

extern "C" {
#include "core/half.h"
#include "quant/registry.h"
}

static std::vector<uint8_t> random_bytes(size_t n, uint64_t seed)
{
    std::vector<uint8_t> v(n);
    for (uint8_t &x : v) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x = (uint8_t)(seed >> 56);
    }
    return v;
}

static std::vector<float> on_cpu(pare_type type, const uint8_t *src, size_t n)
{
    pare_error err = {};
    std::vector<float> v(n);
    CHECK_OK(pare_decode_rows(type, src, 1, n, v.data(), &err), &err);
    return v;
}

/* The bits of both, any NaN being as good as any other: which one a sum of two gives is not defined. */
static void check_floats(const std::vector<float> &a, const float *b)
{
    for (size_t i = 0; i < a.size(); i++)
        CHECK((isnan(a[i]) && isnan(b[i])) || pare_f32_to_bits(a[i]) == pare_f32_to_bits(b[i]));
}

static void check_halves(const std::vector<uint16_t> &a, const float *b)
{
    for (size_t i = 0; i < a.size(); i++)
        CHECK(isnan(b[i]) ? isnan(pare_bf16_to_f32(a[i])) : a[i] == pare_f32_to_bf16(b[i]));
}

static const pare_type_info *decodable(int type)
{
    const pare_type_info *info = pare_type_get((pare_type)type);
    return info->decode != NULL ? info : NULL;
}

/* n_blocks blocks at a source of odd alignment `shift`, to a destination that is as odd. */
static void check_blocks(pare_gpu *g, pare_type type, size_t n_blocks, size_t shift)
{
    const pare_type_info *info = pare_type_get(type);
    size_t n = n_blocks * info->block_len;
    pare_error err = {};
    std::vector<uint8_t> bytes = random_bytes(shift + n_blocks * info->block_bytes, type * 1000u + n_blocks);
    std::vector<float> want = on_cpu(type, bytes.data() + shift, n);
    uint8_t *src = to_device(g, bytes);
    float *f = to_device(g, std::vector<float>(shift + n + 1, 7));
    uint16_t *h = to_device(g, std::vector<uint16_t>(shift + n + 1, 7));
    CHECK_OK(pare_gpu_decode(g, type, src + shift, n, f + shift, false, &err), &err);
    CHECK_OK(pare_gpu_decode(g, type, src + shift, n, h + shift, true, &err), &err);
    check_floats(from_device(g, f + shift, n), want.data());
    check_halves(from_device(g, h + shift, n), want.data());
    CHECK(from_device(g, f + shift + n, 1)[0] == 7); /* and nothing behind */
    CHECK(from_device(g, h + shift + n, 1)[0] == 7);
    pare_gpu_free(g, src, bytes.size());
    pare_gpu_free(g, f, (shift + n + 1) * sizeof *f);
    pare_gpu_free(g, h, (shift + n + 1) * sizeof *h);
}

static void every_type_decodes(void **)
{
    pare_gpu *g = open_device(false);
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        if (decodable(type) == NULL)
            continue;
        size_t a_tile = 8192 / decodable(type)->block_len; /* more than a block of threads, and less */
        for (size_t n_blocks : {(size_t)1, (size_t)31, a_tile, a_tile + 33})
            for (size_t shift : {0, 1, 2, 4})
                if (shift == 0 || n_blocks < a_tile)
                    check_blocks(g, (pare_type)type, n_blocks, shift);
    }
    pare_gpu_close(g);
}

static void rows_by_number(void **)
{
    enum { ROWS = 7 };
    const std::vector<int32_t> ids = {6, 0, 3, 3, 5};
    pare_gpu *g = open_device(false);
    pare_error err = {};
    int32_t *device_ids = to_device(g, ids);
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        const pare_type_info *info = decodable(type);
        if (info == NULL)
            continue;
        size_t row_len = 3 * (size_t)info->block_len, row_bytes = 3 * (size_t)info->block_bytes;
        std::vector<uint8_t> bytes = random_bytes(ROWS * row_bytes, type + 5u);
        std::vector<float> want = on_cpu((pare_type)type, bytes.data(), ROWS * row_len);
        uint8_t *src = to_device(g, bytes);
        float *y = to_device(g, std::vector<float>(ids.size() * row_len, 7));
        CHECK_OK(pare_gpu_decode_rows(g, (pare_type)type, src, row_len, row_bytes, device_ids, (uint32_t)ids.size(), y,
                                      &err),
                 &err);
        for (size_t i = 0; i < ids.size(); i++)
            check_floats(from_device(g, y + i * row_len, row_len), want.data() + (size_t)ids[i] * row_len);
        pare_gpu_free(g, src, bytes.size());
        pare_gpu_free(g, y, ids.size() * row_len * sizeof *y);
    }
    pare_gpu_free(g, device_ids, ids.size() * sizeof *device_ids);
    pare_gpu_close(g);
}

static void no_decoder_is_said(void **)
{
    pare_gpu *g = open_device(false);
    pare_error err = {};
    uint8_t *src = to_device(g, std::vector<uint8_t>(64));
    CHECK(pare_gpu_decode(g, PARE_TYPE_C64, src, 1, src + 32, false, &err) == PARE_ERR_UNSUPPORTED);
    CHECK(strstr(err.text, "c64") != NULL);
    CHECK_OK(pare_gpu_decode(g, PARE_TYPE_Q4_0, src, 0, src + 32, false, &err), &err);
    pare_gpu_free(g, src, 64);
    pare_gpu_close(g);
}

static void rounds_to_bf16(void **)
{
    pare_gpu *g = open_device(false);
    pare_error err = {};
    for (size_t n : {1, 3, 4, 1023, 5000})
        for (size_t shift : {0, 1, 2}) {
            std::vector<uint8_t> bits = random_bytes((n + shift) * sizeof(float), n);
            std::vector<float> x(n + shift);
            memcpy(x.data(), bits.data(), bits.size());
            float *d = to_device(g, x);
            uint16_t *h = to_device(g, std::vector<uint16_t>(n + shift + 1, 7));
            CHECK_OK(pare_gpu_round_bf16(g, d + shift, n, h + shift, &err), &err);
            check_halves(from_device(g, h + shift, n), x.data() + shift);
            CHECK(from_device(g, h + shift + n, 1)[0] == 7);
            pare_gpu_free(g, d, x.size() * sizeof *d);
            pare_gpu_free(g, h, (n + shift + 1) * sizeof *h);
        }
    CHECK_OK(pare_gpu_round_bf16(g, NULL, 0, NULL, &err), &err);
    pare_gpu_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_decodes),
        cmocka_unit_test(rows_by_number),
        cmocka_unit_test(no_decoder_is_said),
        cmocka_unit_test(rounds_to_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
