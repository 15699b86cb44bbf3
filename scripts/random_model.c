/* scripts/random_model.c - a model of any size to measure speed with, and calibration statistics for it
 *
 *   cc -O2 -o random_model scripts/random_model.c -lm
 *   random_model MODEL.gguf IMATRIX.gguf LAYERS
 *
 * Llama shape (2048 wide, 5632 in the feed-forward network, 32 heads, 4 of keys, vocabulary of 32000), F16, without a
 * tokenizer: 0.27 GB and 88 MB a layer; 20 layers are 2 GB. Weights are normal with a scale of their own for each row,
 * and one in 8192 is eight times as large. Importances are log-normal. The same arguments give the same bytes. It
 * shares no code with pare, so that nothing is measured with its own ruler. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EMBD = 2048, FF = 5632, HEADS = 32, KV_HEADS = 4, VOCAB = 32000, ALIGN = 32, QUANTILES = 1 << 16 };
enum { TYPE_F32 = 0, TYPE_F16 = 1, KEY_U32 = 4, KEY_F32 = 6, KEY_STRING = 8, KEY_ARRAY = 9 };

static float quantile[QUANTILES]; /* of the standard normal distribution, in equal steps of probability */
static uint64_t state = 0x9e3779b97f4a7c15u;

static uint64_t next_random(void) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
}

static void fill_quantiles(void)
{
    double x = -4.5;
    for (int i = 0; i < QUANTILES; i++) {
        double p = (i + 0.5) / QUANTILES;
        for (int step = 0; step < 50; step++) { /* Newton's method from the quantile before */
            double d = (0.5 * erfc(-x / sqrt(2)) - p) / (exp(-x * x / 2) / sqrt(2 * acos(-1)));
            x -= d;
            if (fabs(d) < 1e-12)
                break;
        }
        quantile[i] = (float)x;
    }
}

static void put(FILE *f, const void *data, size_t n)
{
    if (fwrite(data, 1, n, f) != n) {
        perror("write");
        exit(1);
    }
}

static void put_u32(FILE *f, uint32_t v)
{
    put(f, &v, sizeof v);
}
static void put_u64(FILE *f, uint64_t v)
{
    put(f, &v, sizeof v);
}

static void put_string(FILE *f, const char *s)
{
    put_u64(f, strlen(s));
    put(f, s, strlen(s));
}

static void put_key(FILE *f, const char *key, uint32_t type)
{
    put_string(f, key);
    put_u32(f, type);
}

static void key_u32(FILE *f, const char *key, uint32_t v)
{
    put_key(f, key, KEY_U32);
    put_u32(f, v);
}

static void key_f32(FILE *f, const char *key, float v)
{
    put_key(f, key, KEY_F32);
    put(f, &v, sizeof v);
}

static void key_string(FILE *f, const char *key, const char *v)
{
    put_key(f, key, KEY_STRING);
    put_string(f, v);
}

static void put_padding(FILE *f)
{
    static const char zeros[ALIGN];
    put(f, zeros, (size_t)(-ftell(f) & (ALIGN - 1)));
}

/* binary32 to binary16, to nearest even, for what is far below 65504; what would be subnormal becomes zero. */
static uint16_t to_f16(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t mag = u & 0x7fffffffu;
    uint32_t rounded = mag < 0x38800000u ? 0 : (mag - 0x38000000u + 0xfffu + (mag >> 13 & 1)) >> 13;
    return (uint16_t)((u >> 16 & 0x8000u) | rounded);
}

static void put_f16_row(FILE *f, uint64_t n)
{
    uint16_t row[FF];
    float scale = 0.02f * expf(0.25f * quantile[next_random() >> 48]);
    for (uint64_t i = 0; i < n; i += 4) {
        uint64_t r = next_random();
        for (int k = 0; k < 4; k++)
            row[i + k] = to_f16(scale * quantile[r >> 16 * k & 0xffff]);
    }
    for (uint64_t i = 0; i < n; i += 8192) {
        uint64_t r = next_random(), at = i + r % 8192;
        if (at < n)
            row[at] = to_f16(scale * 8 * quantile[r >> 48]);
    }
    put(f, row, n * sizeof *row);
}

typedef struct tensor {
    char name[64];
    uint64_t n_rows, row_len;
} tensor;

static tensor *tensors;
static size_t n_tensors;

static void add(const char *name, int layer, uint64_t n_rows, uint64_t row_len)
{
    tensor *t = &tensors[n_tensors++];
    *t = (tensor){.n_rows = n_rows, .row_len = row_len};
    snprintf(t->name, sizeof t->name, layer < 0 ? "%s.weight" : "blk.%2$d.%1$s.weight", name, layer);
}

static void add_all(int n_layer)
{
    tensors = calloc((size_t)n_layer * 9 + 3, sizeof *tensors);
    if (tensors == NULL)
        exit(1);
    add("token_embd", -1, VOCAB, EMBD);
    for (int i = 0; i < n_layer; i++) {
        add("attn_norm", i, 1, EMBD);
        add("attn_q", i, EMBD, EMBD);
        add("attn_k", i, EMBD / HEADS * KV_HEADS, EMBD);
        add("attn_v", i, EMBD / HEADS * KV_HEADS, EMBD);
        add("attn_output", i, EMBD, EMBD);
        add("ffn_norm", i, 1, EMBD);
        add("ffn_gate", i, FF, EMBD);
        add("ffn_up", i, FF, EMBD);
        add("ffn_down", i, EMBD, FF);
    }
    add("output_norm", -1, 1, EMBD);
    add("output", -1, VOCAB, EMBD);
}

static void put_info(FILE *f, const char *name, const char *suffix, uint64_t row_len, uint64_t n_rows, uint32_t type,
                     uint64_t *offset)
{
    char full[96];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    put_string(f, full);
    put_u32(f, n_rows > 1 ? 2 : 1);
    put_u64(f, row_len);
    if (n_rows > 1)
        put_u64(f, n_rows);
    put_u32(f, type);
    put_u64(f, *offset);
    *offset += (row_len * n_rows * (type == TYPE_F32 ? 4 : 2) + ALIGN - 1) / ALIGN * ALIGN;
}

static FILE *start(const char *path, uint64_t n_infos, uint64_t n_keys)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    put(f, "GGUF", 4);
    put_u32(f, 3);
    put_u64(f, n_infos);
    put_u64(f, n_keys);
    return f;
}

static void finish(FILE *f, const char *path)
{
    put_padding(f);
    if (fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

static void write_model(const char *path, int n_layer)
{
    FILE *f = start(path, n_tensors, 11);
    uint64_t offset = 0;
    float ones[EMBD];
    key_string(f, "general.architecture", "llama");
    key_string(f, "general.name", "random");
    key_u32(f, "general.file_type", 1);
    key_u32(f, "llama.block_count", (uint32_t)n_layer);
    key_u32(f, "llama.context_length", 2048);
    key_u32(f, "llama.embedding_length", EMBD);
    key_u32(f, "llama.feed_forward_length", FF);
    key_u32(f, "llama.attention.head_count", HEADS);
    key_u32(f, "llama.attention.head_count_kv", KV_HEADS);
    key_u32(f, "llama.vocab_size", VOCAB);
    key_f32(f, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < n_tensors; i++)
        put_info(f, tensors[i].name, "", tensors[i].row_len, tensors[i].n_rows,
                 tensors[i].n_rows > 1 ? TYPE_F16 : TYPE_F32, &offset);
    for (int i = 0; i < EMBD; i++)
        ones[i] = 1;
    for (size_t i = 0; i < n_tensors; i++) {
        put_padding(f);
        if (tensors[i].n_rows == 1)
            put(f, ones, sizeof ones);
        else
            for (uint64_t r = 0; r < tensors[i].n_rows; r++)
                put_f16_row(f, tensors[i].row_len);
    }
    finish(f, path);
}

static int has_importance(const tensor *t) /* the matrices that activations are multiplied by */
{
    return t->n_rows > 1 && strcmp(t->name, "token_embd.weight") != 0;
}

static void write_imatrix(const char *path)
{
    size_t n = 0;
    for (size_t i = 0; i < n_tensors; i++)
        n += has_importance(&tensors[i]);
    FILE *f = start(path, 3 * n, 4);
    uint64_t offset = 0;
    const float count = 64 * 512;
    key_string(f, "general.type", "imatrix");
    put_key(f, "imatrix.datasets", KEY_ARRAY);
    put_u32(f, KEY_STRING);
    put_u64(f, 1);
    put_string(f, "random");
    key_u32(f, "imatrix.chunk_count", 64);
    key_u32(f, "imatrix.chunk_size", 512);
    for (size_t i = 0; i < n_tensors; i++) {
        if (!has_importance(&tensors[i]))
            continue;
        put_info(f, tensors[i].name, ".in_sum2", tensors[i].row_len, 1, TYPE_F32, &offset);
        put_info(f, tensors[i].name, ".in_sum", tensors[i].row_len, 1, TYPE_F32, &offset);
        put_info(f, tensors[i].name, ".counts", 1, 1, TYPE_F32, &offset);
    }
    for (size_t i = 0; i < n_tensors; i++) {
        float squares[FF], sums[FF];
        if (!has_importance(&tensors[i]))
            continue;
        for (uint64_t c = 0; c < tensors[i].row_len; c++)
            squares[c] = count * expf(quantile[next_random() >> 48]);
        for (uint64_t c = 0; c < tensors[i].row_len; c++) /* means hold 0.3 of the energy, as after norms */
            sums[c] = sqrtf(0.3f * count * squares[c]) * (next_random() >> 63 ? 1.0f : -1.0f);
        put_padding(f);
        put(f, squares, tensors[i].row_len * sizeof *squares);
        put_padding(f);
        put(f, sums, tensors[i].row_len * sizeof *sums);
        put_padding(f);
        put(f, &count, sizeof count);
    }
    finish(f, path);
}

int main(int argc, char **argv)
{
    int n_layer = argc == 4 ? atoi(argv[3]) : 0;
    if (n_layer < 1 || n_layer > 1000) {
        fprintf(stderr, "usage: random_model MODEL.gguf IMATRIX.gguf LAYERS\n");
        return 2;
    }
    fill_quantiles();
    add_all(n_layer);
    write_model(argv[1], n_layer);
    write_imatrix(argv[2]);
    free(tensors);
    return 0;
}
