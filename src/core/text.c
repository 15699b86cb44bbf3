#include "core/text.h"
#include "core/checked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* memcmp wants valid pointers even for no bytes; an empty view may be NULL. */
static bool same_bytes(pare_str a, pare_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool pare_str_equal(pare_str s, const char *text)
{
    return same_bytes(s, (pare_str){text, strlen(text)});
}

size_t pare_utf8_next(const char *s, size_t len, uint32_t *cp)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s;
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (n == 0 || n > len)
        return 0;
    uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    if (cp != NULL)
        *cp = c;
    return n;
}

size_t pare_utf8_put(char *dst, uint32_t cp)
{
    if (cp < 0x80) {
        dst[0] = (char)cp;
        return 1;
    }
    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        return 0;
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        dst[i] = (char)(0x80 | (cp & 0x3f));
        cp >>= 6;
    }
    dst[0] = (char)(0xf00u >> n | cp); /* 110xxxxx, 1110xxxx or 11110xxx */
    return n;
}

bool pare_utf8_valid(const char *s, size_t len, size_t *bad)
{
    for (size_t i = 0; i < len;) {
        size_t n = pare_utf8_next(s + i, len - i, NULL);
        if (n == 0) {
            if (bad != NULL)
                *bad = i;
            return false;
        }
        i += n;
    }
    return true;
}

size_t pare_utf8_start(const char *s, size_t len, bool *whole)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0, i = 1;
    /* The second byte keeps out overlong forms, surrogates and values above U+10FFFF. */
    unsigned char lo = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char hi = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    *whole = false;
    if (n == 0)
        return 0;
    for (; i < n && i < len && p[i] >= lo && p[i] <= hi; i++) {
        lo = 0x80;
        hi = 0xbf;
    }
    *whole = i == n;
    return i;
}

bool pare_char_unsafe(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x61c || cp == 0x200e || cp == 0x200f ||
           (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
}

bool pare_char_invisible(uint32_t cp)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {{0xad, 0xad},       {0x34f, 0x34f},    {0x61c, 0x61c},   {0x115f, 0x1160}, {0x17b4, 0x17b5},
                  {0x180b, 0x180f},   {0x200b, 0x200f},  {0x202a, 0x202e}, {0x2060, 0x206f}, {0x3164, 0x3164},
                  {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},  {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3},
                  {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0] && cp >= ranges[i].first; i++)
        if (cp <= ranges[i].last)
            return true;
    return false;
}

bool pare_text_unsafe(const char *s, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t cp = 0;
        if ((n = pare_utf8_next(s + i, len - i, &cp)) == 0 || pare_char_unsafe(cp))
            return true;
    }
    return false;
}

static char *escape(char *dst, size_t size, const char *src, size_t len, bool invisible)
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < len;) {
        uint32_t cp = 0;
        size_t n = pare_utf8_next(src + i, len - i, &cp);
        if (n > 0 && !pare_char_unsafe(cp) && !(invisible && pare_char_invisible(cp))) {
            if (at + n >= size)
                break;
            memcpy(dst + at, src + i, n);
            at += n;
            i += n;
            continue;
        }
        if (at + 4 >= size)
            break;
        unsigned char byte = (unsigned char)src[i++];
        dst[at++] = '\\';
        dst[at++] = 'x';
        dst[at++] = digits[byte >> 4];
        dst[at++] = digits[byte & 15];
    }
    dst[at] = '\0';
    return dst;
}

char *pare_escape(char *dst, size_t size, const char *src, size_t len)
{
    return escape(dst, size, src, len, true);
}

char *pare_escape_text(char *dst, size_t size, const char *src, size_t len)
{
    return escape(dst, size, src, len, false);
}

pare_status pare_buf_reserve(pare_buf *b, size_t n, pare_error *err)
{
    size_t need = 0;
    if (!pare_add_size(b->len, n, &need) || !pare_add_size(need, 1, &need))
        return pare_fail(err, PARE_ERR_MEMORY, "no memory: a buffer of %zu + %zu bytes overflows", b->len, n);
    if (need <= b->cap)
        return PARE_OK;
    size_t cap = b->cap < 256 ? 256 : b->cap;
    while (cap < need && cap <= SIZE_MAX / 2)
        cap *= 2;
    if (cap < need)
        cap = need;
    char *data = realloc(b->data, cap);
    if (data == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a buffer of %zu bytes", cap);
    if (b->data == NULL)
        data[0] = '\0';
    b->data = data;
    b->cap = cap;
    return PARE_OK;
}

pare_status pare_buf_put(pare_buf *b, const void *src, size_t n, pare_error *err)
{
    pare_status st = pare_buf_reserve(b, n, err);
    if (st != PARE_OK)
        return st;
    if (n > 0)
        memcpy(b->data + b->len, src, n);
    b->len += n;
    b->data[b->len] = '\0';
    return PARE_OK;
}

pare_status pare_buf_puts(pare_buf *b, const char *text, pare_error *err)
{
    return pare_buf_put(b, text, strlen(text), err);
}

pare_status pare_buf_printf(pare_buf *b, pare_error *err, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    pare_status st =
        n < 0 ? pare_fail(err, PARE_ERR_MEMORY, "cannot format a message") : pare_buf_reserve(b, (size_t)n, err);
    if (st == PARE_OK) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return st;
}

pare_status pare_buf_put_utf8(pare_buf *b, const char *s, size_t len, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < len && st == PARE_OK;) {
        bool whole;
        size_t n = pare_utf8_start(s + i, len - i, &whole);
        st = whole ? pare_buf_put(b, s + i, n, err) : pare_buf_puts(b, "\xef\xbf\xbd", err);
        i += n > 0 ? n : 1;
    }
    return st;
}

void pare_buf_close(pare_buf *b)
{
    free(b->data);
    *b = (pare_buf){0};
}

/* Keys lie in the order of their arrival, 16 bytes each; the table of slots holds their numbers. */
struct pare_index_entry {
    const char *data;
    uint32_t len, value;
};

static pare_str key_of(const struct pare_index_entry *e)
{
    return (pare_str){e->data, e->len};
}

/* The slot that holds key, or the free one where it belongs. The table is never full. */
static size_t find_slot(const pare_index *map, pare_str key)
{
    size_t mask = map->n_slots - 1;
    size_t i = (size_t)XXH3_64bits_withSeed(key.data, key.len, map->seed) & mask;
    while (map->slots[i] != 0 && !same_bytes(key_of(&map->entries[map->slots[i] - 1]), key))
        i = (i + 1) & mask;
    return i;
}

/* Slots that hold n keys with a quarter of them free. */
static bool slots_for(size_t n, size_t *n_slots)
{
    *n_slots = 64;
    while (*n_slots / 4 * 3 < n)
        if (!pare_mul_size(*n_slots, 2, n_slots))
            return false;
    return true;
}

pare_status pare_index_reserve(pare_index *map, size_t n_keys, pare_error *err)
{
    size_t n = 0;
    if (n_keys > map->cap) {
        struct pare_index_entry *entries =
            n_keys < UINT32_MAX ? reallocarray(map->entries, n_keys, sizeof *entries) : NULL;
        if (entries == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for an index of %zu names", n_keys);
        map->entries = entries;
        map->cap = n_keys;
    }
    if (!slots_for(n_keys, &n))
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for an index of %zu names", n_keys);
    if (n <= map->n_slots)
        return PARE_OK;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (slots == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for an index of %zu names", n_keys);
    if (map->n_slots == 0 && getrandom(&map->seed, sizeof map->seed, 0) != (ssize_t)sizeof map->seed)
        map->seed = 0; /* the order of slots is never visible, so any seed is correct */
    free(map->slots);
    map->slots = slots;
    map->n_slots = n;
    for (size_t i = 0; i < map->n_used; i++)
        slots[find_slot(map, key_of(&map->entries[i]))] = (uint32_t)i + 1;
    return PARE_OK;
}

pare_status pare_index_add(pare_index *map, pare_str key, int64_t value, int64_t *old, pare_error *err)
{
    if (key.len > UINT32_MAX || value < 0 || value > UINT32_MAX)
        return pare_fail(err, PARE_ERR_MEMORY, "a name of %zu bytes or the number %lld is too large for an index",
                         key.len, (long long)value);
    pare_status st = PARE_OK;
    if (map->n_used == map->cap)
        st = pare_index_reserve(map, map->cap < 48 ? 48 : map->cap + map->cap / 2, err);
    if (st != PARE_OK)
        return st;
    size_t i = find_slot(map, key);
    if (old != NULL)
        *old = map->slots[i] != 0 ? (int64_t)map->entries[map->slots[i] - 1].value : PARE_INDEX_NONE;
    if (map->slots[i] == 0) {
        map->entries[map->n_used] = (struct pare_index_entry){key.data, (uint32_t)key.len, (uint32_t)value};
        map->slots[i] = (uint32_t)++map->n_used;
    }
    return PARE_OK;
}

int64_t pare_index_find(const pare_index *map, pare_str key)
{
    size_t i = map->n_slots == 0 ? 0 : find_slot(map, key);
    return map->n_slots == 0 || map->slots[i] == 0 ? PARE_INDEX_NONE : (int64_t)map->entries[map->slots[i] - 1].value;
}

pare_str pare_index_key(const pare_index *map, size_t i, int64_t *value)
{
    *value = map->entries[i].value;
    return key_of(&map->entries[i]);
}

void pare_index_close(pare_index *map)
{
    free(map->entries);
    free(map->slots);
    *map = (pare_index){0};
}

struct pare_arena_block {
    struct pare_arena_block *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

void *pare_arena_alloc(pare_arena *a, size_t n, pare_error *err)
{
    size_t room = 0, total = 0;
    struct pare_arena_block *b = a->head;
    if (!pare_add_size(n, 15, &room))
        room = SIZE_MAX;
    room &= ~(size_t)15;
    if (b != NULL)
        b->used = (b->used + 15) & ~(size_t)15; /* a multiple of 16, as is the size */
    if (b == NULL || b->size - b->used < room) {
        size_t size = room < 65536 ? 65536 : room;
        b = pare_add_size(size, sizeof *b, &total) && room >= n ? calloc(1, total) : NULL;
        if (b == NULL) {
            pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu bytes", n);
            return NULL;
        }
        b->size = size;
        b->next = a->head;
        a->head = b;
    }
    void *p = b->bytes + b->used;
    b->used += room;
    return p;
}

char *pare_arena_copy(pare_arena *a, const char *src, size_t len, pare_error *err)
{
    struct pare_arena_block *b = a->head;
    size_t n = 0;
    char *p = NULL;
    if (!pare_add_size(len, 1, &n))
        return NULL;
    if (b != NULL && n <= b->size - b->used) { /* texts need no alignment: pare_arena_alloc aligns what comes next */
        p = (char *)b->bytes + b->used;
        b->used += n;
    } else {
        p = pare_arena_alloc(a, n, err);
    }
    if (p != NULL && len > 0)
        memcpy(p, src, len);
    return p;
}

void pare_arena_close(pare_arena *a)
{
    for (struct pare_arena_block *b = a->head, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    a->head = NULL;
}
