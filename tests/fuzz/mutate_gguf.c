/* GGUF (docs/formats/GGUF.md), taken apart:
 *
 *   "GGUF" u32 version u64 n_tensors u64 n_pairs | pairs | infos | padding | data
 *   pair: string key, u32 type, value      info: string name, u32 n_dims, u64 dims[], u32 type, u64 offset
 *   string: u64 length, bytes              array: u32 type, u64 count, elements */
#include "mutate.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARTS = 256, MAX_NUMBERS = 1024, MAX_STRINGS = 512, HEADER = 24, AT_TENSORS = 8, AT_PAIRS = 16 };
enum { TYPE_STRING = 8, TYPE_ARRAY = 9, N_VALUE_TYPES = 13 };

typedef struct span {
    size_t at, n;
} span;

/* Where things lie in the bytes of a header. */
typedef struct parts {
    span pairs[MAX_PARTS], infos[MAX_PARTS], numbers[MAX_NUMBERS],
        strings[MAX_STRINGS]; /* a string: of its length on */
    size_t n_pairs, n_infos, n_numbers, n_strings;
    size_t offsets[MAX_PARTS]; /* of the last field of infos[i] */
    size_t end;                /* of what could be followed */
    bool whole;                /* all that the counts promise was there */
} parts;

static uint64_t load(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static void store(uint8_t *p, size_t n, uint64_t v)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static void note(span *list, size_t *n, size_t max, size_t at, size_t len)
{
    if (*n < max)
        list[(*n)++] = (span){at, len};
}

/* Followers: false when the bytes end before the thing does. */
static bool follow_number(parts *p, const fuzz_bytes *b, size_t width, uint64_t *v)
{
    if (b->n - p->end < width)
        return false;
    *v = load(b->data + p->end, width);
    note(p->numbers, &p->n_numbers, MAX_NUMBERS, p->end, width);
    p->end += width;
    return true;
}

static bool follow_string(parts *p, const fuzz_bytes *b)
{
    size_t at = p->end;
    uint64_t n;
    if (!follow_number(p, b, 8, &n) || n > b->n - p->end)
        return false;
    p->end += (size_t)n;
    note(p->strings, &p->n_strings, MAX_STRINGS, at, 8 + (size_t)n);
    return true;
}

static bool follow_value(parts *p, const fuzz_bytes *b, uint64_t type)
{
    static const uint8_t width[N_VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint64_t v, elem, count;
    if (type == TYPE_STRING)
        return follow_string(p, b);
    if (type != TYPE_ARRAY)
        return type < N_VALUE_TYPES && follow_number(p, b, width[type], &v);
    if (!follow_number(p, b, 4, &elem) || !follow_number(p, b, 8, &count))
        return false;
    if (elem >= N_VALUE_TYPES || elem == TYPE_ARRAY || count > b->n)
        return false;
    for (uint64_t i = 0; i < count; i++)
        if (elem == TYPE_STRING ? !follow_string(p, b) : !follow_number(p, b, width[elem], &v))
            return false;
    return true;
}

static bool follow_pair(parts *p, const fuzz_bytes *b)
{
    uint64_t type;
    return follow_string(p, b) && follow_number(p, b, 4, &type) && follow_value(p, b, type);
}

static bool follow_info(parts *p, const fuzz_bytes *b)
{
    uint64_t n_dims, v;
    if (!follow_string(p, b) || !follow_number(p, b, 4, &n_dims) || n_dims > 8)
        return false;
    for (uint64_t i = 0; i < n_dims; i++)
        if (!follow_number(p, b, 8, &v))
            return false;
    return follow_number(p, b, 4, &v) && follow_number(p, b, 8, &v);
}

static void take_apart(parts *p, const fuzz_bytes *b)
{
    uint64_t n_tensors, n_pairs, version;
    *p = (parts){.end = 4};
    if (b->n < HEADER || !follow_number(p, b, 4, &version) || !follow_number(p, b, 8, &n_tensors) ||
        !follow_number(p, b, 8, &n_pairs))
        return;
    for (uint64_t i = 0; i < n_pairs; i++) {
        size_t at = p->end;
        if (!follow_pair(p, b))
            return;
        note(p->pairs, &p->n_pairs, MAX_PARTS, at, p->end - at);
    }
    for (uint64_t i = 0; i < n_tensors; i++) {
        size_t at = p->end;
        if (!follow_info(p, b))
            return;
        if (p->n_infos < MAX_PARTS)
            p->offsets[p->n_infos] = p->end - 8;
        note(p->infos, &p->n_infos, MAX_PARTS, at, p->end - at);
    }
    p->whole = true;
}

static uint64_t alignment_of(const fuzz_bytes *b, const parts *p)
{
    static const char key[] = "general.alignment";
    for (size_t i = 0; i < p->n_pairs; i++) {
        const uint8_t *pair = b->data + p->pairs[i].at;
        if (p->pairs[i].n == 8 + sizeof key - 1 + 4 + 4 && memcmp(pair + 8, key, sizeof key - 1) == 0) {
            uint64_t v = load(pair + 8 + sizeof key - 1 + 4, 4);
            return v > 0 && v <= 4096 ? v : 32;
        }
    }
    return 32;
}

static void set_string(fuzz_bytes *b, span s, const void *text, size_t n)
{
    uint8_t length[8];
    fuzz_splice(b, s.at + 8, s.n - 8, text, n);
    store(length, 8, n);
    memcpy(b->data + s.at, length, 8);
}

/* Words that mean something to a reader. */
static const char *const words[] = {"general.architecture",
                                    "general.alignment",
                                    "general.type",
                                    "general.file_type",
                                    "split.no",
                                    "split.count",
                                    "split.tensors.count",
                                    "llama",
                                    "qwen3",
                                    "gemma3",
                                    "deepseek2",
                                    "clip",
                                    "bert",
                                    "mamba",
                                    "llama.block_count",
                                    "llama.context_length",
                                    "llama.embedding_length",
                                    "llama.feed_forward_length",
                                    "llama.attention.head_count",
                                    "llama.attention.head_count_kv",
                                    "llama.attention.key_length",
                                    "llama.attention.layer_norm_rms_epsilon",
                                    "llama.rope.dimension_count",
                                    "llama.rope.scaling.type",
                                    "llama.rope.freq_base",
                                    "llama.expert_count",
                                    "llama.expert_used_count",
                                    "llama.vocab_size",
                                    "tokenizer.ggml.model",
                                    "tokenizer.ggml.pre",
                                    "tokenizer.ggml.tokens",
                                    "tokenizer.ggml.scores",
                                    "tokenizer.ggml.token_type",
                                    "tokenizer.ggml.merges",
                                    "tokenizer.ggml.bos_token_id",
                                    "tokenizer.ggml.eos_token_id",
                                    "tokenizer.ggml.padding_token_id",
                                    "tokenizer.chat_template",
                                    "gpt2",
                                    "llama-bpe",
                                    "qwen2",
                                    "default",
                                    "<0x0A>",
                                    "<0x-1>",
                                    "<0xZZ>",
                                    "a b",
                                    "\xe2\x96\x81",
                                    "token_embd.weight",
                                    "output.weight",
                                    "output_norm.weight",
                                    "blk.0.attn_q.weight",
                                    "blk.0.attn_norm.weight",
                                    "blk.1.ffn_down.weight",
                                    "blk.4294967295.attn_q.weight",
                                    "",
                                    "/../x",
                                    "\x1b[2J",
                                    "\xff\xfe",
                                    "A",
                                    "{{ x.__class__ }}"};

static void change_string(fuzz_bytes *b, const parts *p, fuzz_chance *c)
{
    if (p->n_strings == 0)
        return;
    span s = p->strings[fuzz_below(c, p->n_strings)];
    const char *word = words[fuzz_below(c, sizeof words / sizeof *words)];
    uint8_t text[80];
    size_t n = fuzz_below(c, sizeof text);
    switch (fuzz_below(c, 4)) {
    case 0:
        set_string(b, s, word, strlen(word));
        break;
    case 1:
        memset(text, 'a' + (int)fuzz_below(c, 26), n);
        set_string(b, s, text, n);
        break;
    case 2: /* as another one is, so that it is there twice */
        s = p->strings[fuzz_below(c, p->n_strings)];
        n = s.n - 8 < sizeof text ? s.n - 8 : sizeof text;
        memcpy(text, b->data + s.at + 8, n);
        set_string(b, p->strings[fuzz_below(c, p->n_strings)], text, n);
        break;
    default:
        if (s.n > 8)
            b->data[s.at + 8 + fuzz_below(c, s.n - 8)] = (uint8_t)fuzz_random(c);
    }
}

static void change_number(fuzz_bytes *b, const parts *p, fuzz_chance *c)
{
    if (p->n_numbers == 0)
        return;
    span s = p->numbers[fuzz_below(c, p->n_numbers)];
    store(b->data + s.at, s.n, fuzz_number(c, load(b->data + s.at, s.n), b->n - s.at - s.n));
}

/* A pair or an info twice, away, or exchanged with another; the count follows. */
static void change_members(fuzz_bytes *b, const parts *p, fuzz_chance *c)
{
    bool pairs = fuzz_below(c, 2) == 0;
    const span *list = pairs ? p->pairs : p->infos;
    size_t n = pairs ? p->n_pairs : p->n_infos, at_count = pairs ? AT_PAIRS : AT_TENSORS;
    if (n == 0)
        return;
    span x = list[fuzz_below(c, n)], y = list[fuzz_below(c, n)];
    uint64_t count = load(b->data + at_count, 8);
    size_t what = fuzz_below(c, 3);
    uint8_t *copy = malloc(x.n + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, b->data + x.at, x.n);
    if (what == 1) {
        fuzz_splice(b, x.at, x.n, NULL, 0);
        count--;
    } else {
        fuzz_splice(b, y.at, 0, copy, x.n);
        count++;
    }
    if (what == 2) {
        fuzz_splice(b, x.at < y.at ? x.at : x.at + x.n, x.n, NULL, 0);
        count--;
    }
    store(b->data + at_count, 8, count);
    free(copy);
}

/* A pair that was not there: a key with a meaning and a value of some type. */
static void add_pair(fuzz_bytes *b, const parts *p, fuzz_chance *c)
{
    fuzz_bytes pair = {0};
    uint8_t field[8];
    const char *key = words[fuzz_below(c, sizeof words / sizeof *words)],
               *word = words[fuzz_below(c, sizeof words / sizeof *words)];
    size_t type = fuzz_below(c, N_VALUE_TYPES), n = fuzz_below(c, 4);
    store(field, 8, strlen(key));
    fuzz_splice(&pair, 0, 0, field, 8);
    fuzz_splice(&pair, pair.n, 0, key, strlen(key));
    store(field, 4, type);
    fuzz_splice(&pair, pair.n, 0, field, 4);
    if (type == TYPE_ARRAY) {
        store(field, 4, TYPE_STRING);
        fuzz_splice(&pair, pair.n, 0, field, 4);
        store(field, 8, n);
        fuzz_splice(&pair, pair.n, 0, field, 8);
    }
    for (size_t i = 0; i < (type == TYPE_ARRAY ? n : 1); i++) {
        static const uint8_t width[N_VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 8, 8, 8, 8};
        bool text = type == TYPE_STRING || type == TYPE_ARRAY;
        store(field, 8, text ? strlen(word) : fuzz_number(c, 32, b->n));
        fuzz_splice(&pair, pair.n, 0, field, width[type]);
        if (text)
            fuzz_splice(&pair, pair.n, 0, word, strlen(word));
    }
    size_t at = p->n_pairs > 0 ? p->pairs[fuzz_below(c, p->n_pairs)].at : HEADER;
    fuzz_splice(b, at, 0, pair.data, pair.n);
    store(b->data + AT_PAIRS, 8, load(b->data + AT_PAIRS, 8) + 1);
    free(pair.data);
}

/* An element of an array of strings that is long enough to be one twice or away; its count lies 8 bytes before it. */
static void change_array(fuzz_bytes *b, const parts *p, fuzz_chance *c)
{
    for (size_t tries = 0; tries < 8 && p->n_strings > 0; tries++) {
        span s = p->strings[fuzz_below(c, p->n_strings)];
        uint64_t count = s.at >= HEADER + 12 ? load(b->data + s.at - 8, 8) : 0;
        if (count == 0 || count > MAX_STRINGS * 64 || load(b->data + s.at - 12, 4) != TYPE_STRING)
            continue; /* only the first of an array has its count there */
        bool more = fuzz_below(c, 2) == 0;
        store(b->data + s.at - 8, 8, more ? count + 1 : count - 1);
        if (more) {
            static const uint8_t empty[8];
            fuzz_splice(b, s.at, 0, empty, sizeof empty);
        } else {
            fuzz_splice(b, s.at, s.n, NULL, 0);
        }
        return;
    }
}

/* Offsets that overlap, leave gaps, or point past the end. */
static void change_offset(fuzz_bytes *b, const parts *p, fuzz_chance *c, size_t n_data)
{
    if (p->n_infos == 0)
        return;
    uint8_t *at = b->data + p->offsets[fuzz_below(c, p->n_infos)];
    uint64_t other = load(b->data + p->offsets[fuzz_below(c, p->n_infos)], 8), now = load(at, 8);
    const uint64_t choice[] = {other, now + 32, now - 32, now + 1, n_data, n_data + 31, other + 16, 0};
    store(at, 8, choice[fuzz_below(c, sizeof choice / sizeof *choice)]);
}

/* The data lies behind the header as far as its alignment says. */
static size_t data_start(const fuzz_bytes *b, const parts *p)
{
    uint64_t a = alignment_of(b, p);
    size_t start = (size_t)((p->end + a - 1) / a * a);
    return start < b->n ? start : b->n;
}

static void change_once(fuzz_bytes *header, const parts *p, fuzz_chance *c, size_t n_data)
{
    switch (fuzz_below(c, 8)) {
    case 0:
    case 1:
        change_number(header, p, c);
        break;
    case 2:
    case 3:
        change_string(header, p, c);
        break;
    case 4:
        change_members(header, p, c);
        break;
    case 5:
        add_pair(header, p, c);
        break;
    case 6:
        change_array(header, p, c);
        break;
    default:
        change_offset(header, p, c, n_data);
    }
}

size_t fuzz_mutate_gguf(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    fuzz_chance c = {seed};
    fuzz_bytes header = {0};
    parts *p = malloc(sizeof *p);
    if (p == NULL)
        abort();
    fuzz_splice(&header, 0, 0, data, size);
    take_apart(p, &header);
    if (size < HEADER || memcmp(data, "GGUF", 4) != 0 || fuzz_below(&c, 8) == 0) {
        free(p);
        free(header.data);
        return LLVMFuzzerMutate(data, size, max);
    }
    size_t start = p->whole ? data_start(&header, p) : size, n_data = size - start;
    if (p->whole)
        header.n = p->end;
    for (size_t i = 1 + fuzz_below(&c, 1 + fuzz_below(&c, 4)); i > 0; i--) {
        change_once(&header, p, &c, n_data);
        bool was_whole = p->whole;
        take_apart(p, &header);
        if (p->whole != was_whole)
            break; /* the header and what is behind it are no longer apart */
    }
    if (p->whole) {
        uint64_t a = alignment_of(&header, p);
        static const uint8_t zeros[4096];
        fuzz_splice(&header, header.n, 0, zeros, (size_t)((a - header.n % a) % a));
    }
    if (header.n < max) {
        size_t room = max - header.n, extra = fuzz_below(&c, 8) == 0 ? fuzz_below(&c, 64) : 0;
        n_data -= fuzz_below(&c, 16) == 0 ? fuzz_below(&c, n_data + 1) : 0;
        fuzz_splice(&header, header.n, 0, data + start, n_data < room ? n_data : room);
        for (; extra > 0 && header.n < max; extra--)
            fuzz_splice(&header, header.n, 0, "", 1);
    }
    size_t n = header.n < max ? header.n : max;
    memcpy(data, header.data, n);
    free(p);
    free(header.data);
    return n;
}
