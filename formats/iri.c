#include "formats/iri.h"

#include <string.h>

static bool is_one_of(uint32_t c, const char *set)
{
    return c > 0 && c < 0x80 && strchr(set, (int)c) != NULL;
}

static bool is_hex(char c)
{
    return is_one_of((unsigned char)c, "0123456789abcdefABCDEF");
}

/* ucschar, and with private the iprivate that only a query may have; no noncharacters. */
static bool is_international(uint32_t c, bool private)
{
    if ((c >= 0xe000 && c <= 0xf8ff) || c >= 0xf0000)
        return private && (c & 0xffff) <= 0xfffd;
    return (c >= 0xa0 && c <= 0xfdcf) || (c >= 0xfdf0 && c <= 0xffef) ||
           (c >= 0x10000 && (c & 0xffff) <= 0xfffd && (c < 0xe0000 || c >= 0xe1000));
}

/* All of text is iunreserved, pct-encoded, sub-delims or one of further. */
static bool consists_of(pare_str text, const char *further, bool private)
{
    for (size_t i = 0, n; i < text.len; i += n) {
        uint32_t c = 0;
        if ((n = pare_utf8_next(text.data + i, text.len - i, &c)) == 0)
            return false;
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (c == '%' && text.len - i >= 3 && is_hex(text.data[i + 1]) && is_hex(text.data[i + 2]))
            n = 3;
        else if (!letter && !is_one_of(c, "-._~!$&'()*+,;=") && !is_one_of(c, further) && !is_international(c, private))
            return false;
    }
    return true;
}

/* What stands before the first of `ends`; text goes on there. */
static pare_str take(pare_str *text, const char *ends)
{
    pare_str taken = {text->data, 0};
    while (taken.len < text->len && !is_one_of((unsigned char)taken.data[taken.len], ends))
        taken.len++;
    *text = (pare_str){text->data + taken.len, text->len - taken.len};
    return taken;
}

static bool is_port(pare_str text)
{
    for (size_t i = 1; i < text.len; i++)
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
    return text.len == 0 || text.data[0] == ':';
}

static bool is_authority(pare_str text)
{
    pare_str rest = text, user = take(&rest, "@");
    if (rest.len > 0) {
        if (!consists_of(user, ":", false))
            return false;
        text = (pare_str){rest.data + 1, rest.len - 1};
    }
    const pare_str host = take(&text, ":"); /* a literal address in brackets is no name of a place on the web */
    return host.len > 0 && consists_of(host, "", false) && is_port(text);
}

bool pare_iri_is_web(pare_str text)
{
    const size_t scheme = text.len >= 7 && memcmp(text.data, "http://", 7) == 0    ? 7
                          : text.len >= 8 && memcmp(text.data, "https://", 8) == 0 ? 8
                                                                                   : 0;
    if (scheme == 0)
        return false;
    text = (pare_str){text.data + scheme, text.len - scheme};
    if (!is_authority(take(&text, "/?#")) || !consists_of(take(&text, "?#"), "/:@", false))
        return false;
    const pare_str query = take(&text, "#");
    return consists_of(query, "/:@?", true) &&
           (text.len == 0 || consists_of((pare_str){text.data + 1, text.len - 1}, "/:@?", false));
}
