#include "tasks/python_text.h"

#include <utf8proc.h>

/* str.isspace(): bidirectional type WS, B or S, or category Zs. */
static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

pare_str pare_strip_end(pare_str s)
{
    size_t end = 0, n;
    uint32_t c;
    for (size_t at = 0; at < s.len; at += n) {
        n = pare_utf8_next(s.data + at, s.len - at, &c);
        if (n == 0 || !is_space(c))
            end = at + (n > 0 ? n : 1);
        n = n > 0 ? n : 1;
    }
    return (pare_str){s.data, end};
}

pare_str pare_strip(pare_str s)
{
    size_t n;
    uint32_t c;
    s = pare_strip_end(s);
    while (s.len > 0 && (n = pare_utf8_next(s.data, s.len, &c)) > 0 && is_space(c)) {
        s.data += n;
        s.len -= n;
    }
    return s;
}

pare_status pare_capitalize(pare_buf *out, pare_str s, pare_error *err)
{
    pare_status st = PARE_OK;
    uint32_t c;
    for (size_t at = 0, n; at < s.len && st == PARE_OK; at += n) {
        char mapped[4];
        n = pare_utf8_next(s.data + at, s.len - at, &c);
        if (n == 0) { /* a byte that is no UTF-8 stays */
            n = 1;
            st = pare_buf_put(out, s.data + at, 1, err);
            continue;
        }
        utf8proc_int32_t to = at == 0 ? utf8proc_totitle((utf8proc_int32_t)c) : utf8proc_tolower((utf8proc_int32_t)c);
        st = pare_buf_put(out, mapped, pare_utf8_put(mapped, (uint32_t)to), err);
    }
    return st;
}

size_t pare_count_chars(pare_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((uint8_t)s.data[i] & 0xc0) != 0x80;
    return n;
}
