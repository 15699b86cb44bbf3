/* safetensors (docs/formats/SAFETENSORS.md), taken apart:
 *
 *   u64 n | n bytes of JSON: {"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},...,"__metadata__":{...}} |
 * data
 *
 * The JSON is followed by its brackets and quotes alone. */
#include "mutate.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARTS = 256, MAX_NUMBERS = 1024 };

typedef struct span {
    size_t at, n;
} span;

typedef struct parts {
    span members[MAX_PARTS]; /* "name": value, without the comma */
    span keys[MAX_PARTS];    /* with quotes */
    span strings[MAX_NUMBERS], numbers[MAX_NUMBERS];
    size_t n_members, n_strings, n_numbers;
} parts;

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* The end of the string that starts at the quote. */
static size_t behind_string(const fuzz_bytes *b, size_t at)
{
    for (at++; at < b->n && b->data[at] != '"'; at++)
        at += b->data[at] == '\\';
    return at < b->n ? at + 1 : b->n;
}

static void take_apart(parts *p, const fuzz_bytes *b)
{
    size_t depth = 0, start = 0;
    *p = (parts){0};
    for (size_t at = 0; at < b->n;) {
        uint8_t ch = b->data[at];
        size_t end = at + 1;
        if (ch == '"') {
            end = behind_string(b, at);
            if (depth == 1 && start == 0 && p->n_members < MAX_PARTS) {
                start = at;
                p->keys[p->n_members] = (span){at, end - at};
            } else if (p->n_strings < MAX_NUMBERS) {
                p->strings[p->n_strings++] = (span){at, end - at};
            }
        } else if (is_digit(ch)) {
            while (end < b->n && is_digit(b->data[end]))
                end++;
            if (p->n_numbers < MAX_NUMBERS)
                p->numbers[p->n_numbers++] = (span){at, end - at};
        } else if (ch == '{' || ch == '[') {
            depth++;
        } else if (ch == '}' || ch == ']') {
            depth -= depth > 0;
        }
        if (start > 0 && ((ch == ',' && depth == 1) || (ch == '}' && depth == 0))) {
            if (p->n_members < MAX_PARTS)
                p->members[p->n_members++] = (span){start, at - start};
            start = 0;
        }
        at = end;
    }
}

static void change_number(fuzz_bytes *b, const parts *p, fuzz_chance *c, size_t n_data)
{
    static const char *const odd[] = {"-1",
                                      "1.5",
                                      "1e3",
                                      "\"2\"",
                                      "18446744073709551616",
                                      "-0",
                                      "01",
                                      "null",
                                      "[]",
                                      "1000000000000000019884624838656",
                                      "9007199254740993"};
    char text[32], now[24] = "";
    if (p->n_numbers == 0)
        return;
    span s = p->numbers[fuzz_below(c, p->n_numbers)];
    memcpy(now, b->data + s.at, s.n < sizeof now - 1 ? s.n : sizeof now - 1);
    snprintf(text, sizeof text, "%" PRIu64, fuzz_number(c, strtoull(now, NULL, 10), n_data));
    const char *put = fuzz_below(c, 4) == 0 ? odd[fuzz_below(c, sizeof odd / sizeof *odd)] : text;
    span other = p->numbers[fuzz_below(c, p->n_numbers)];
    if (fuzz_below(c, 4) == 0 && other.n < sizeof text) {
        memcpy(text, b->data + other.at, other.n);
        text[other.n] = '\0';
        put = text;
    }
    fuzz_splice(b, s.at, s.n, put, strlen(put));
}

static void change_string(fuzz_bytes *b, const parts *p, fuzz_chance *c)
{
    static const char *const words[] = {
        "\"dtype\"",       "\"shape\"",    "\"data_offsets\"", "\"BOOL\"",    "\"F4\"",      "\"F6_E2M3\"",
        "\"F6_E3M2\"",     "\"U8\"",       "\"I8\"",           "\"F8_E5M2\"", "\"F8_E4M3\"", "\"F8_E8M0\"",
        "\"F8_E4M3FNUZ\"", "\"I16\"",      "\"F16\"",          "\"BF16\"",    "\"I32\"",     "\"U32\"",
        "\"F32\"",         "\"C64\"",      "\"F64\"",          "\"I64\"",     "\"U64\"",     "\"f32\"",
        "\"FLOAT\"",       "\"I4\"",       "\"__metadata__\"", "\"\"",        "\"\\ud800\"", "\"\\u0077\"",
        "\"\\u0000\"",     "\"\xc0\xaf\"", "\"\\x\"",          "{}",          "0",           "\"../x\"",
        "\"\x1b[2J\""};
    if (p->n_strings == 0)
        return;
    const char *word = words[fuzz_below(c, sizeof words / sizeof *words)];
    span s = fuzz_below(c, 4) == 0 && p->n_members > 0 ? p->keys[fuzz_below(c, p->n_members)]
                                                       : p->strings[fuzz_below(c, p->n_strings)];
    fuzz_splice(b, s.at, s.n, word, strlen(word));
}

/* A letter of a name as \u00XX: the same name, other bytes. */
static void escape_key(fuzz_bytes *b, const parts *p, fuzz_chance *c)
{
    char text[8];
    if (p->n_members == 0)
        return;
    span s = p->keys[fuzz_below(c, p->n_members)];
    size_t at = s.at + 1 + fuzz_below(c, s.n - 1);
    if (at >= b->n || b->data[at] < ' ' || b->data[at] > '~' || b->data[at] == '"' || b->data[at] == '\\')
        return;
    snprintf(text, sizeof text, "\\u%04x", b->data[at]);
    fuzz_splice(b, at, 1, text, 6);
}

/* A member twice, away, or in another's place with it kept. */
static void change_members(fuzz_bytes *b, const parts *p, fuzz_chance *c)
{
    if (p->n_members == 0)
        return;
    span x = p->members[fuzz_below(c, p->n_members)], y = p->members[fuzz_below(c, p->n_members)];
    if (fuzz_below(c, 3) == 0) {
        bool comma = x.at + x.n < b->n && b->data[x.at + x.n] == ',';
        fuzz_splice(b, x.at, x.n + comma, NULL, 0);
        return;
    }
    fuzz_bytes copy = {0};
    fuzz_splice(&copy, 0, 0, b->data + x.at, x.n);
    fuzz_splice(&copy, copy.n, 0, ",", 1);
    if (fuzz_below(c, 2) == 0) /* under another name */
        fuzz_splice(&copy, 1, 0, fuzz_below(c, 2) == 0 ? "n" : "zz", 1);
    fuzz_splice(b, y.at, 0, copy.data, copy.n);
    free(copy.data);
}

/* A tensor behind the others that is right, with its bytes. */
static void add_tensor(fuzz_bytes *b, const parts *p, fuzz_chance *c, fuzz_bytes *body)
{
    static const struct {
        const char *name;
        size_t bits;
    } types[] = {{"F32", 32}, {"F16", 16}, {"BF16", 16},   {"U8", 8},
                 {"I64", 64}, {"F4", 4},   {"F8_E4M3", 8}, {"BOOL", 8}};
    char text[200];
    uint8_t zeros[512] = {0};
    size_t type = fuzz_below(c, sizeof types / sizeof *types), rows = fuzz_below(c, 5), cols = 2 * fuzz_below(c, 4);
    size_t n = rows * cols * types[type].bits / 8, at = body->n;
    int len = snprintf(text, sizeof text, "\"t%u\":{\"dtype\":\"%s\",\"shape\":[%zu,%zu],\"data_offsets\":[%zu,%zu]},",
                       (unsigned)fuzz_below(c, 100), types[type].name, rows, cols, at, at + n);
    if (p->n_members == 0)
        return;
    fuzz_splice(b, p->members[fuzz_below(c, p->n_members)].at, 0, text, (size_t)len);
    fuzz_splice(body, body->n, 0, zeros, n);
}

static void put_around(fuzz_bytes *b, fuzz_chance *c)
{
    static const char *const texts[] = {" ", "\n", "\t", ",", "{", "}", "[", "]", "[[[[", "\"", "x", ":", "\\"};
    const char *text = texts[fuzz_below(c, fuzz_below(c, 2) == 0 ? 3 : sizeof texts / sizeof *texts)];
    fuzz_splice(b, fuzz_below(c, b->n + 1), 0, text, strlen(text));
}

static void change_once(fuzz_bytes *header, const parts *p, fuzz_chance *c, fuzz_bytes *body)
{
    switch (fuzz_below(c, 8)) {
    case 0:
    case 1:
        change_number(header, p, c, body->n);
        break;
    case 2:
        change_string(header, p, c);
        break;
    case 3:
        escape_key(header, p, c);
        break;
    case 4:
        change_members(header, p, c);
        break;
    case 5:
    case 6:
        add_tensor(header, p, c, body);
        break;
    default:
        put_around(header, c);
    }
}

static uint64_t length_of(const uint8_t *data)
{
    uint64_t n = 0;
    for (size_t i = 0; i < 8; i++)
        n |= (uint64_t)data[i] << 8 * i;
    return n;
}

size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    fuzz_chance c = {seed};
    fuzz_bytes header = {0}, body = {0};
    uint64_t n = size >= 8 ? length_of(data) : UINT64_MAX;
    if (size < 8 || n > size - 8 || fuzz_below(&c, 8) == 0)
        return LLVMFuzzerMutate(data, size, max);
    parts *p = malloc(sizeof *p);
    if (p == NULL)
        abort();
    fuzz_splice(&header, 0, 0, data + 8, (size_t)n);
    fuzz_splice(&body, 0, 0, data + 8 + n, size - 8 - (size_t)n);
    for (size_t i = 1 + fuzz_below(&c, 1 + fuzz_below(&c, 4)); i > 0; i--) {
        take_apart(p, &header);
        change_once(&header, p, &c, &body);
    }
    free(p);
    if (fuzz_below(&c, 16) == 0)
        body.n = fuzz_below(&c, body.n + 1);
    n = fuzz_below(&c, 16) == 0 ? fuzz_number(&c, header.n, header.n + body.n) : header.n;
    uint8_t length[8];
    for (size_t i = 0; i < 8; i++)
        length[i] = (uint8_t)(n >> 8 * i);
    fuzz_splice(&header, 0, 0, length, 8);
    fuzz_splice(&header, header.n, 0, body.data, body.n);
    size = header.n < max ? header.n : max;
    memcpy(data, header.data, size);
    free(header.data);
    free(body.data);
    return size;
}
