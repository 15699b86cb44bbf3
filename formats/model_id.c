#include "formats/model_id.h"

#include <math.h>
#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARTS = PARE_MODEL_ID_TEXT / 2, IS_BASE = 1, IS_SIZE = 2, IS_FINETUNE = 4, IS_VERSION = 8, IS_TYPE = 16 };

typedef struct part {
    char text[PARE_MODEL_ID_TEXT];
    unsigned is;
} part;

/* The whole of text matches the pattern, without regard to case. A pattern that does not compile (no memory) matches
 * nothing. */
static bool matches(const char *pattern, const char *text)
{
    regex_t re;
    char whole[160];
    snprintf(whole, sizeof whole, "^(%s)$", pattern);
    if (regcomp(&re, whole, REG_EXTENDED | REG_ICASE | REG_NOSUB) != 0)
        return false;
    bool yes = regexec(&re, text, 0, NULL, 0) == 0;
    regfree(&re);
    return yes;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* "7b1" is 7.1B, "1_5b" 1.5B; a number far from the model's own size is a context length, say. */
static void annotate_size(part *p, uint64_t n_params)
{
    static const char units[] = "KMBT";
    char *text = p->text;
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (text[i] == '_')
            text[i] = '.';
    if (n >= 3 && is_digit(text[n - 1]) && n + 1 < sizeof p->text) {
        char unit = text[n - 2], digit = text[n - 1];
        text[n - 2] = '.';
        text[n - 1] = digit;
        text[n] = unit;
        text[++n] = '\0';
    }
    if (n > 1 && is_digit(text[n - 2]) && memchr("kmbt", text[n - 1], 4) != NULL)
        text[n - 1] = upper(text[n - 1]);
    const char *unit = strchr(units, text[n - 1]);
    char *end = NULL;
    double size = strtod(text, &end);
    if (n_params > 0 && unit != NULL && is_digit(text[0]) && end == text + n - 1 &&
        fabs(size * pow(1000, (double)(unit - units + 1)) - (double)n_params) > floor(7.0 * (double)n_params / 8)) {
        p->is |= IS_FINETUNE;
        text[n - 1] = lower(text[n - 1]);
    }
    if (p->is == 0)
        p->is = IS_SIZE;
}

static void annotate(part *p, bool first, uint64_t n_params)
{
    if (matches("(v|iter)?[0-9]+([.][0-9]+)*", p->text))
        p->is = IS_VERSION;
    else if (matches("i?q[0-9](_[[:alnum:]_])*|b?fp?(16|32)", p->text)) {
        p->is = IS_TYPE;
        for (char *c = p->text; *c != '\0'; c++)
            *c = upper(*c);
    } else if (!first && matches("([A]|[0-9]+x)?[0-9]+([._][0-9]+)?[KMBT][0-9]?|small|mini|medium|large|x?xl", p->text))
        annotate_size(p, n_params);
    else if (!first && matches("chat|instruct|vision|lora", p->text))
        p->is = IS_FINETUNE;
}

/* A size in words ("mini") does not count beside one in numbers. */
static void drop_word_sizes(part *parts, size_t n)
{
    bool numbered = false;
    for (size_t i = 0; i < n; i++)
        numbered = numbered || ((parts[i].is & IS_SIZE) && strpbrk(parts[i].text, "0123456789") != NULL);
    for (size_t i = 0; i < n && numbered; i++) {
        const char *c = parts[i].text;
        while (is_alpha(*c))
            c++;
        if (*c == '\0')
            parts[i].is &= ~(unsigned)IS_SIZE;
    }
}

/* The base is the run of plain words and versions at the start, without versions at its end; what is left without a
 * kind is a finetune. */
static void find_base(part *parts, size_t n)
{
    bool at_start = true;
    for (size_t i = 0; i < n; i++) {
        if (at_start && ((parts[i].is == 0 && is_alpha(parts[i].text[0])) || (parts[i].is & IS_VERSION)))
            parts[i].is |= IS_BASE;
        else {
            at_start = false;
            if (parts[i].is == 0)
                parts[i].is = IS_FINETUNE;
        }
    }
    for (size_t i = n; i > 0 && (parts[i - 1].is & IS_BASE) && parts[i - 1].is != IS_BASE; i--)
        parts[i - 1].is &= ~(unsigned)IS_BASE;
}

/* Join the parts that are `kind` and not `except` with hyphens; distinct: each text once. */
static void join(char *dst, const part *parts, size_t n, unsigned kind, unsigned except, bool distinct)
{
    size_t at = 0;
    dst[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        bool take = (parts[i].is & kind) && !(parts[i].is & except);
        for (size_t j = 0; j < i && take && distinct; j++)
            take = !(parts[j].is & kind) || strcmp(parts[j].text, parts[i].text) != 0;
        if (take && at < PARE_MODEL_ID_TEXT)
            at += (size_t)snprintf(dst + at, PARE_MODEL_ID_TEXT - at, "%s%s", at > 0 ? "-" : "", parts[i].text);
    }
}

static size_t split(part *parts, const char *name)
{
    size_t n = 0;
    for (const char *s = name; *s != '\0' && n < MAX_PARTS;) {
        size_t len = strcspn(s, "-");
        if (len > 0) {
            memcpy(parts[n].text, s, len);
            parts[n].text[len] = '\0';
            parts[n++].is = 0;
        }
        s += len + (s[len] == '-');
    }
    return n;
}

void pare_model_id_parse(pare_model_id *id, const char *text, uint64_t n_params)
{
    *id = (pare_model_id){0};
    if (strlen(text) >= PARE_MODEL_ID_TEXT)
        return;
    const char *slash = strchr(text, '/'), *name = slash != NULL ? slash + 1 : text;
    if (strchr(text, ' ') != NULL) { /* a sentence, no identifier */
        strcpy(id->name, text);
        return;
    }
    strcpy(id->name, name);
    if (slash != NULL && text[0] != '.')
        memcpy(id->organization, text, (size_t)(slash - text));
    part *parts = calloc(MAX_PARTS, sizeof *parts);
    if (parts == NULL)
        return; /* the name alone will do */
    size_t n = split(parts, name);
    for (size_t i = 0; i < n; i++)
        annotate(&parts[i], i == 0, n_params);
    drop_word_sizes(parts, n);
    find_base(parts, n);
    join(id->size_label, parts, n, IS_SIZE, 0, true);
    join(id->finetune, parts, n, IS_FINETUNE, 0, false);
    join(id->version, parts, n, IS_VERSION, IS_BASE, false);
    if (id->size_label[0] != '\0' || id->finetune[0] != '\0' || id->version[0] != '\0')
        join(id->basename, parts, n, IS_BASE, 0, false);
    free(parts);
}

/* Words that hold a capital, or that are numbers or versions (v1.2, 7b), stay as they are. */
static bool wants_title(const char *word, size_t len)
{
    bool small = false;
    size_t i = 1;
    for (size_t k = 0; k < len; k++) {
        if (word[k] >= 'A' && word[k] <= 'Z')
            return false;
        small = small || is_alpha(word[k]);
    }
    if (!small || is_digit(word[0]))
        return false;
    while (i < len && (is_digit(word[i]) || (word[i] == '.' && i > 1 && is_digit(word[i - 1]) && i + 1 < len)))
        i++;
    return !(word[0] == 'v' && len > 1 && i == len);
}

char *pare_model_id_title(char *dst, size_t size, const char *text)
{
    static const char blanks[] = "- \t\n\r\f\v";
    size_t at = 0;
    for (const char *s = text + strspn(text, blanks); *s != '\0'; s += strspn(s, blanks)) {
        size_t len = strcspn(s, blanks);
        bool title = wants_title(s, len), in_word = false;
        if (at > 0 && at + 1 < size)
            dst[at++] = ' ';
        for (size_t i = 0; i < len && at + 1 < size; i++) {
            dst[at++] = title && !in_word ? upper(s[i]) : s[i];
            in_word = is_alpha(s[i]) || (unsigned char)s[i] >= 0x80;
        }
        s += len;
    }
    dst[at] = '\0';
    return dst;
}

char *pare_size_label(char *dst, size_t size, uint64_t n_params)
{
    static const struct {
        double above, scale;
        char unit;
    } steps[] = {{1e12, 1e-12, 'T'}, {1e9, 1e-9, 'B'}, {1e6, 1e-6, 'M'}, {0, 1e-3, 'K'}};
    size_t i = 0;
    while (i < 3 && (double)n_params <= steps[i].above)
        i++;
    double scaled = (double)n_params * steps[i].scale, whole = nearbyint(scaled);
    int digits = whole < 1 ? 0 : whole < 10 ? 1 : 2;
    snprintf(dst, size, "%.*f%c", 2 - digits, scaled, steps[i].unit);
    return dst;
}
