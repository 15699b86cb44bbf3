#include "formats/model_card.h"
#include "core/text.h"

#include <stdbool.h>
#include <string.h>

/* A line without its end and without blanks at both sides. */
typedef struct line {
    const char *s;
    size_t len, indent;
} line;

typedef struct parser {
    const char *at, *end;
    json_t *doc;
    json_t *list; /* of the key whose items may follow, borrowed from doc; NULL: none */
    char key[64]; /* of that list */
    bool out_of_memory;
} parser;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool next_line(parser *p, line *out)
{
    if (p->at >= p->end)
        return false;
    const char *stop = memchr(p->at, '\n', (size_t)(p->end - p->at));
    size_t n = (size_t)((stop != NULL ? stop : p->end) - p->at), first = 0;
    *out = (line){.s = p->at, .len = n};
    while (first < n && is_blank(out->s[first]))
        first++;
    while (out->len > first && is_blank(out->s[out->len - 1]))
        out->len--;
    out->s += first;
    out->len -= first;
    out->indent = first;
    p->at += n + (stop != NULL);
    return true;
}

static bool is_rule(const line *l)
{
    return l->indent == 0 && l->len == 3 && memcmp(l->s, "---", 3) == 0;
}

/* Length without a comment (" # ..."), which only an unquoted value can have. */
static size_t without_comment(const char *s, size_t len)
{
    for (size_t i = 0; i + 1 < len; i++)
        if (is_blank(s[i]) && s[i + 1] == '#')
            len = i;
    while (len > 0 && is_blank(s[len - 1]))
        len--;
    return len;
}

/* A text, without its quotes when it has some: the new value, or NULL for what is none (null, an anchor, a map, ...).
 */
static json_t *scalar(parser *p, const char *s, size_t len)
{
    json_t *v = NULL;
    if (len >= 2 && (s[0] == '"' || s[0] == '\'') && s[len - 1] == s[0]) {
        if (memchr(s, '\\', len) != NULL)
            return NULL;
        s++;
        len -= 2;
    } else {
        len = without_comment(s, len);
        if (len == 0 || strchr("|>&*!{[%@`\"'#", s[0]) != NULL || s[len - 1] == ':' ||
            (len == 4 && memcmp(s, "null", 4) == 0) || (len == 1 && s[0] == '~'))
            return NULL;
        for (size_t i = 0; i + 1 < len; i++)
            if (s[i] == ':' && s[i + 1] == ' ')
                return NULL;
    }
    if (pare_utf8_valid(s, len, NULL) && memchr(s, '\0', len) == NULL && (v = json_stringn(s, len)) == NULL)
        p->out_of_memory = true;
    return v;
}

/* The key's list ends; one without a single text is no value. */
static void end_list(parser *p)
{
    if (p->list != NULL && json_array_size(p->list) == 0)
        json_object_del(p->doc, p->key);
    p->list = NULL;
}

static void add_item(parser *p, const char *s, size_t len)
{
    while (len > 0 && is_blank(*s)) {
        s++;
        len--;
    }
    json_t *v = scalar(p, s, len);
    if (v != NULL && json_array_append_new(p->list, v) != 0)
        p->out_of_memory = true;
}

/* "[a, b]"; quoted commas do not occur in tags and languages. */
static void add_flow(parser *p, const char *s, size_t len)
{
    for (size_t i = 1, start = 1; i < len; i++)
        if (s[i] == ',' || i + 1 == len) {
            size_t n = i - start;
            while (n > 0 && is_blank(s[start + n - 1]))
                n--;
            add_item(p, s + start, n);
            start = i + 1;
        }
}

static bool is_key(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(s[i] >= 'a' && s[i] <= 'z') && !(s[i] >= 'A' && s[i] <= 'Z') && !(s[i] >= '0' && s[i] <= '9') &&
            s[i] != '_' && s[i] != '-')
            return false;
    return true;
}

/* "key: value", "key: [..]" or "key:" with a list below. */
static void read_key(parser *p, const line *l)
{
    char key[64];
    const char *colon = memchr(l->s, ':', l->len);
    size_t n = colon != NULL ? (size_t)(colon - l->s) : 0, rest = n + 1;
    if (n == 0 || n >= sizeof key || !is_key(l->s, n))
        return;
    memcpy(key, l->s, n);
    key[n] = '\0';
    while (rest < l->len && is_blank(l->s[rest]))
        rest++;
    const char *s = l->s + rest;
    size_t len = l->len - rest;
    if (len > 0 && s[0] == '[')
        len = without_comment(s, len);
    bool flow = len >= 2 && s[0] == '[' && s[len - 1] == ']';
    if (json_object_get(p->doc, key) != NULL)
        return;
    json_t *v = len == 0 || flow ? json_array() : scalar(p, s, len);
    if (v == NULL && (len == 0 || flow))
        p->out_of_memory = true;
    if (v == NULL)
        return;
    if (json_object_set_new(p->doc, key, v) != 0) {
        p->out_of_memory = true;
        return;
    }
    if (!json_is_array(v))
        return;
    p->list = v;
    strcpy(p->key, key);
    if (flow) {
        add_flow(p, s, len);
        end_list(p);
    }
}

pare_status pare_model_card_parse(json_t **out, const char *text, size_t len, pare_error *err)
{
    parser p = {.at = text, .end = text + len, .doc = json_object()};
    line l;
    *out = p.doc;
    if (p.doc == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a model card");
    if (!next_line(&p, &l) || !is_rule(&l))
        return PARE_OK;
    while (next_line(&p, &l) && !is_rule(&l) && !p.out_of_memory) {
        bool item = l.len >= 2 && l.s[0] == '-' && is_blank(l.s[1]);
        if (l.len == 0 || l.s[0] == '#')
            continue;
        if (item && p.list != NULL) {
            add_item(&p, l.s + 2, l.len - 2);
        } else if (!item && l.indent == 0) {
            end_list(&p);
            read_key(&p, &l);
        }
    }
    end_list(&p);
    if (!p.out_of_memory)
        return PARE_OK;
    json_decref(p.doc);
    *out = NULL;
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for a model card");
}
