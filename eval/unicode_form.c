#include "eval/unicode_form.h"

#include <stdlib.h>
#include <utf8proc.h>

/* Marks, and characters that decompose, since Unicode 10. The marks up to version 15 were found by asking `tokenizers`
 * 0.23.3 for the order of each beside marks of other classes. */
static const struct {
    uint32_t first, last;
} newer[] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0xece, 0xece},     {0x1715, 0x1715},   {0x1abf, 0x1ace},
    {0x1df6, 0x1dfa},   {0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},   {0xa82c, 0xa82c},   {0xab69, 0xab69},
    {0x10781, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac},
    {0x10efd, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b},
    {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193d, 0x1193e},
    {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99},
    {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1},
    {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e4ec, 0x1e4ef}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
};

static bool is_newer(uint32_t c)
{
    size_t low = 0, high = sizeof newer / sizeof newer[0];
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > newer[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < sizeof newer / sizeof newer[0] && c >= newer[low].first;
}

/* Length of the leading part of text that the tables know, and of the character or bytes behind it that they do not. */
static size_t known_part(const char *text, size_t len, size_t *n_other)
{
    size_t i = 0;
    *n_other = 0;
    while (i < len) {
        uint32_t c = 0;
        size_t n = pare_utf8_next(text + i, len - i, &c);
        if (n == 0 || is_newer(c)) {
            *n_other = n == 0 ? 1 : n;
            return i;
        }
        i += n;
    }
    return i;
}

static pare_status put_form(pare_normalizer form, const char *text, size_t len, pare_buf *out, pare_error *err)
{
    bool compose = form == PARE_NORMALIZE_NFC || form == PARE_NORMALIZE_NFKC;
    bool compat = form == PARE_NORMALIZE_NFKC || form == PARE_NORMALIZE_NFKD;
    int options = UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | (compat ? UTF8PROC_COMPAT : 0);
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &mapped, (utf8proc_option_t)options);
    if (n < 0)
        return pare_fail(err, n == UTF8PROC_ERROR_NOMEM ? PARE_ERR_MEMORY : PARE_ERR_FORMAT,
                         "normalizing %zu bytes: %s", len, utf8proc_errmsg(n));
    pare_status st = pare_buf_put(out, mapped, (size_t)n, err);
    free(mapped);
    return st;
}

pare_status pare_unicode_form(pare_normalizer form, const char *text, size_t len, pare_buf *out, pare_error *err)
{
    size_t ascii = 0;
    while (ascii < len && (unsigned char)text[ascii] < 0x80)
        ascii++;
    if (form == PARE_NORMALIZE_NONE || ascii == len)
        return pare_buf_put(out, text, len, err);
    pare_status st = PARE_OK;
    while (len > 0 && st == PARE_OK) {
        size_t other = 0, known = known_part(text, len, &other);
        if (known > 0)
            st = put_form(form, text, known, out, err);
        if (st == PARE_OK)
            st = pare_buf_put(out, text + known, other, err);
        text += known + other;
        len -= known + other;
    }
    return st;
}
