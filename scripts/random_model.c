/* scripts/random_model.c - a model of any size to measure speed with, and calibration statistics for it
 *
 *   cc -O2 -o random_model scripts/random_model.c -lm
 *   random_model MODEL.gguf IMATRIX.gguf LAYERS [SHAPE TYPE]    IMATRIX: - for none
 *
 * SHAPE is of the llama family: 1b (2048 wide, 5632 in the feed-forward network, 32 heads, 4 of keys, vocabulary of
 * 32000; without a tokenizer; as is when it is not given), 8b (4096, 14336, 32, 8, 128256; one token a byte) or tiny
 * (256, 512, 4, 2, 300; as 8b). TYPE of the matrices: f16 (when not given), bf16, q8_0, q6_k, q4_k, q4_0, iq4_xs. In
 * F16 a 1b layer is 88 MB, and 20 are 2 GB with the rest; 32 layers of 8b in BF16 are 16 GB.
 *
 * Floats are normal with a scale of their own for each row, and one in 8192 is eight times as large. Blocks of other
 * types are random bits under scales that are all the same, which measure speed and not errors. Importances are
 * log-normal. The same arguments give the same bytes. It shares no code with pare, so that nothing is measured with its
 * own ruler. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 32, QUANTILES = 1 << 16, LONGEST_ROW = 14336, BYTES = 256, SPECIAL = 3 };
enum { TYPE_F32 = 0, KEY_U32 = 4, KEY_I32 = 5, KEY_F32 = 6, KEY_STRING = 8, KEY_ARRAY = 9 };

typedef struct shape {
    const char *name;
    uint32_t embd, ff, heads, kv_heads, vocab, n_ctx;
    int has_tokenizer;
} shape;
static const shape shapes[] = {
    {"1b", 2048, 5632, 32, 4, 32000, 2048, 0},
    {"8b", 4096, 14336, 32, 8, 128256, 8192, 1},
    {"tiny", 256, 512, 4, 2, 300, 8192, 1},
};
static const shape *size = &shapes[0];

/* A storage type: its number in GGUF and in general.file_type, weights and bytes of a block, and the half floats in a
 * block that make weights of about 0.02. */
typedef struct storage {
    const char *name;
    uint32_t number, file_type, len, bytes;
    struct {
        int at; /* -1: none */
        float value;
    } scale[2];
} storage;
static const storage storages[] = {
    {"f16", 1, 1, 1, 2, {{-1, 0}, {-1, 0}}},
    {"bf16", 30, 32, 1, 2, {{-1, 0}, {-1, 0}}},
    {"q8_0", 8, 7, 32, 34, {{0, 2.7e-4f}, {-1, 0}}},
    {"q6_k", 14, 18, 256, 210, {{208, 1.5e-5f}, {-1, 0}}},
    {"q4_k", 12, 15, 256, 144, {{0, 1.4e-4f}, {2, 1e-3f}}},
    {"q4_0", 2, 2, 32, 18, {{0, 4.3e-3f}, {-1, 0}}},
    {"iq4_xs", 23, 30, 256, 136, {{0, 1.7e-5f}, {-1, 0}}},
};
static const storage *matrices = &storages[0];

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

/* binary32 to binary16, to nearest even, for what is far below 65504; what would be subnormal becomes zero, but for the
 * scales of blocks. */
static uint16_t to_f16(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t mag = u & 0x7fffffffu;
    uint32_t rounded = mag < 0x38800000u ? 0 : (mag - 0x38000000u + 0xfffu + (mag >> 13 & 1)) >> 13;
    return (uint16_t)((u >> 16 & 0x8000u) | rounded);
}

static uint16_t to_bf16(float x) /* to nearest even */
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

static uint16_t small_f16(float x) /* positive, in steps of 2^-24 where binary16 is subnormal */
{
    return x < 0x1p-14f ? (uint16_t)(x * 0x1p24f + 0.5f) : to_f16(x);
}

static void put_block_row(FILE *f, uint64_t n)
{
    static uint64_t row[LONGEST_ROW / 4];
    uint64_t bytes = n / matrices->len * matrices->bytes;
    for (uint64_t i = 0; i < (bytes + 7) / 8; i++)
        row[i] = next_random();
    for (uint64_t at = 0; at < bytes; at += matrices->bytes)
        for (int k = 0; k < 2; k++) {
            uint16_t scale = small_f16(matrices->scale[k].value);
            if (matrices->scale[k].at >= 0)
                memcpy((uint8_t *)row + at + matrices->scale[k].at, &scale, sizeof scale);
        }
    put(f, row, bytes);
}

static void put_float_row(FILE *f, uint64_t n)
{
    static uint16_t row[LONGEST_ROW];
    uint16_t (*to_half)(float) = matrices == &storages[0] ? to_f16 : to_bf16;
    float scale = 0.02f * expf(0.25f * quantile[next_random() >> 48]);
    for (uint64_t i = 0; i < n; i += 4) {
        uint64_t r = next_random();
        for (int k = 0; k < 4; k++)
            row[i + k] = to_half(scale * quantile[r >> 16 * k & 0xffff]);
    }
    for (uint64_t i = 0; i < n; i += 8192) {
        uint64_t r = next_random(), at = i + r % 8192;
        if (at < n)
            row[at] = to_half(scale * 8 * quantile[r >> 48]);
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
    add("token_embd", -1, size->vocab, size->embd);
    for (int i = 0; i < n_layer; i++) {
        add("attn_norm", i, 1, size->embd);
        add("attn_q", i, size->embd, size->embd);
        add("attn_k", i, size->embd / size->heads * size->kv_heads, size->embd);
        add("attn_v", i, size->embd / size->heads * size->kv_heads, size->embd);
        add("attn_output", i, size->embd, size->embd);
        add("ffn_norm", i, 1, size->embd);
        add("ffn_gate", i, size->ff, size->embd);
        add("ffn_up", i, size->ff, size->embd);
        add("ffn_down", i, size->embd, size->ff);
    }
    add("output_norm", -1, 1, size->embd);
    add("output", -1, size->vocab, size->embd);
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
    *offset += ((type == TYPE_F32 ? 4 * row_len : row_len / matrices->len * matrices->bytes) * n_rows + ALIGN - 1) /
               ALIGN * ALIGN;
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

static void put_array(FILE *f, const char *key, uint32_t type)
{
    put_key(f, key, KEY_ARRAY);
    put_u32(f, type);
    put_u64(f, size->vocab);
}

/* SentencePiece's fallback to bytes and nothing else: tokens that no text has fill the vocabulary. */
static void put_tokenizer(FILE *f)
{
    key_string(f, "tokenizer.ggml.model", "llama");
    put_array(f, "tokenizer.ggml.tokens", KEY_STRING);
    for (uint32_t i = 0; i < size->vocab; i++) {
        static const char *const special[SPECIAL] = {"<unk>", "<s>", "</s>"};
        char name[32];
        if (i < SPECIAL)
            snprintf(name, sizeof name, "%s", special[i]);
        else
            snprintf(name, sizeof name, i < SPECIAL + BYTES ? "<0x%02X>" : "\n%u",
                     i < SPECIAL + BYTES ? i - SPECIAL : i);
        put_string(f, name);
    }
    put_array(f, "tokenizer.ggml.scores", KEY_F32);
    for (uint32_t i = 0; i < size->vocab; i++) {
        float score = -(float)i;
        put(f, &score, sizeof score);
    }
    put_array(f, "tokenizer.ggml.token_type", KEY_I32);
    for (uint32_t i = 0; i < size->vocab; i++) /* unknown, control, byte, normal */
        put_u32(f, i == 0 ? 2 : i < SPECIAL ? 3 : i < SPECIAL + BYTES ? 6 : 1);
    key_u32(f, "tokenizer.ggml.bos_token_id", 1);
    key_u32(f, "tokenizer.ggml.eos_token_id", 2);
}

static void write_model(const char *path, int n_layer)
{
    FILE *f = start(path, n_tensors, size->has_tokenizer ? 17 : 11);
    uint64_t offset = 0;
    static float ones[LONGEST_ROW];
    key_string(f, "general.architecture", "llama");
    key_string(f, "general.name", "random");
    key_u32(f, "general.file_type", matrices->file_type);
    key_u32(f, "llama.block_count", (uint32_t)n_layer);
    key_u32(f, "llama.context_length", size->n_ctx);
    key_u32(f, "llama.embedding_length", size->embd);
    key_u32(f, "llama.feed_forward_length", size->ff);
    key_u32(f, "llama.attention.head_count", size->heads);
    key_u32(f, "llama.attention.head_count_kv", size->kv_heads);
    key_u32(f, "llama.vocab_size", size->vocab);
    key_f32(f, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (size->has_tokenizer)
        put_tokenizer(f);
    for (size_t i = 0; i < n_tensors; i++)
        put_info(f, tensors[i].name, "", tensors[i].row_len, tensors[i].n_rows,
                 tensors[i].n_rows > 1 ? matrices->number : TYPE_F32, &offset);
    for (uint32_t i = 0; i < size->embd; i++)
        ones[i] = 1;
    for (size_t i = 0; i < n_tensors; i++) {
        put_padding(f);
        if (tensors[i].n_rows == 1)
            put(f, ones, tensors[i].row_len * sizeof *ones);
        else
            for (uint64_t r = 0; r < tensors[i].n_rows; r++)
                (matrices->len > 1 ? put_block_row : put_float_row)(f, tensors[i].row_len);
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
        static float squares[LONGEST_ROW], sums[LONGEST_ROW];
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

static int parse(int argc, char **argv)
{
    int shape_found = argc == 4, type_found = argc == 4;
    for (size_t i = 0; argc == 6 && i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(shapes[i].name, argv[4]) == 0) {
            size = &shapes[i];
            shape_found = 1;
        }
    for (size_t i = 0; argc == 6 && i < sizeof storages / sizeof *storages; i++)
        if (strcmp(storages[i].name, argv[5]) == 0) {
            matrices = &storages[i];
            type_found = 1;
        }
    return shape_found && type_found;
}

int main(int argc, char **argv)
{
    int n_layer = argc > 3 ? atoi(argv[3]) : 0;
    if (!parse(argc, argv) || n_layer < 1 || n_layer > 1000) {
        fprintf(stderr, "usage: random_model MODEL.gguf IMATRIX.gguf|- LAYERS [1b|8b|tiny TYPE]\n");
        return 2;
    }
    fill_quantiles();
    add_all(n_layer);
    write_model(argv[1], n_layer);
    if (strcmp(argv[2], "-") != 0)
        write_imatrix(argv[2]);
    free(tensors);
    return 0;
}
