/* model/pretokenizer_pcre.c - published patterns, which are written for Oniguruma, as PCRE2 wants them */
#include "model/pretokenizer.h"

#include <string.h>

/* Characters that Unicode got after version 14, which the oldest PCRE2 in use knows, up to 16, which `tokenizers` 0.23
 * has. Found by asking it for every character. */
#define NEWER_LETTERS                                                                                                  \
    "\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d65}"              \
    "\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}"         \
    "\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}"          \
    "\\x{11f12}-\\x{11f33}\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}"                   \
    "\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}\\x{1e030}-\\x{1e06d}"                    \
    "\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"
#define NEWER_MARKS                                                                                                    \
    "\\x{897}\\x{cf3}\\x{ece}\\x{10d69}-\\x{10d6d}\\x{10efc}-\\x{10eff}\\x{11241}\\x{113b8}-\\x{113c0}"                \
    "\\x{113c2}\\x{113c5}\\x{113c7}-\\x{113ca}\\x{113cc}-\\x{113d0}\\x{113d2}\\x{113e1}-\\x{113e2}"                    \
    "\\x{11f00}-\\x{11f01}\\x{11f03}\\x{11f34}-\\x{11f3a}\\x{11f3e}-\\x{11f42}\\x{11f5a}\\x{13440}"                    \
    "\\x{13447}-\\x{13455}\\x{1611e}-\\x{1612f}\\x{1e08f}\\x{1e4ec}-\\x{1e4ef}\\x{1e5ee}-\\x{1e5ef}"
#define NEWER_DIGITS                                                                                                   \
    "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}\\x{16130}-\\x{16139}"        \
    "\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"
static const struct {
    const char *name, *pcre, *newer;
} properties[] = {
    {"L", "\\p{L}", NEWER_LETTERS},
    {"Lu", "\\p{Lu}", "\\x{1c89}\\x{a7cb}-\\x{a7cc}\\x{a7da}\\x{a7dc}\\x{10d50}-\\x{10d65}"},
    {"Ll", "\\p{Ll}", "\\x{1c8a}\\x{a7cd}\\x{a7db}\\x{10d70}-\\x{10d85}\\x{1df25}-\\x{1df2a}"},
    {"Lt", "\\p{Lt}", ""},
    {"Lm", "\\p{Lm}", "\\x{10d4e}\\x{10d6f}\\x{16d40}-\\x{16d42}\\x{16d6b}-\\x{16d6c}\\x{1e030}-\\x{1e06d}\\x{1e4eb}"},
    {"Lo", "\\p{Lo}",
     "\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d4d}\\x{10d4f}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}"
     "\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}\\x{113d3}"
     "\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}\\x{11f12}-\\x{11f33}\\x{1342f}\\x{13441}-\\x{13446}"
     "\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}\\x{16d43}-\\x{16d6a}\\x{18cff}\\x{1b132}\\x{1b155}"
     "\\x{1e4d0}-\\x{1e4ea}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"},
    {"M", "\\p{M}", NEWER_MARKS},
    {"N", "\\p{N}",
     "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}\\x{16130}-\\x{16139}"
     "\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"},
    {"Nd", "\\p{Nd}", NEWER_DIGITS},
    {"P", "\\p{P}",
     "\\x{1b4e}-\\x{1b4f}\\x{1b7f}\\x{10d6e}\\x{113d4}-\\x{113d5}\\x{113d7}-\\x{113d8}\\x{11b00}-\\x{11b09}"
     "\\x{11be1}\\x{11f43}-\\x{11f4f}\\x{16d6d}-\\x{16d6f}\\x{1e5ff}"},
    {"S", "\\p{S}",
     "\\x{2427}-\\x{2429}\\x{2ffc}-\\x{2fff}\\x{31e4}-\\x{31e5}\\x{31ef}\\x{10d8e}-\\x{10d8f}\\x{1cc00}-\\x{1ccef}"
     "\\x{1cd00}-\\x{1ceb3}\\x{1f6dc}\\x{1f774}-\\x{1f776}\\x{1f77b}-\\x{1f77f}\\x{1f7d9}\\x{1f8b2}-\\x{1f8bb}"
     "\\x{1f8c0}-\\x{1f8c1}\\x{1fa75}-\\x{1fa77}\\x{1fa87}-\\x{1fa89}\\x{1fa8f}\\x{1faad}-\\x{1faaf}"
     "\\x{1fabb}-\\x{1fabf}\\x{1fac6}\\x{1face}-\\x{1facf}\\x{1fada}-\\x{1fadc}\\x{1fadf}\\x{1fae8}-\\x{1fae9}"
     "\\x{1faf7}-\\x{1faf8}\\x{1fbcb}-\\x{1fbef}"},
    /* PCRE2's own \p{Han} takes characters that are used with Han, too */
    {"Han", "\\p{sc:Han}", "\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"},
    /* \s takes U+180E in PCRE2, which has not been white space since Unicode 6.3 */
    {"s", "\\p{White_Space}", ""},
    /* Oniguruma's, with numbers of Latin-1 that are no digits */
    {"w",
     "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}"
     "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}",
     NEWER_LETTERS NEWER_MARKS NEWER_DIGITS},
};

/* Whole patterns that are written otherwise because they are quadratic in a run as published: what they look for at
 * each character is looked for once, and \G goes on where the last match ended. */
static const struct {
    const char *published, *linear;
} rewritten[] = {
    /* a match can only start where the run does */
    {"\\s+$", "(?<!\\s)\\s+$"},
    /* digits in threes from the right, where no word goes on behind them */
    {"\\d{1,3}(?=(?:\\d{3})*\\b)",
     "\\G(?<=\\d)\\d{3}|(?<!\\d)(?=\\d++(?!\\w))(?:\\d{1,2}(?=(?:\\d{3})*+(?!\\d))|\\d{3})"},
    {"\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))",
     "\\G(?<=\\p{N})\\p{N}{3}|(?<!\\p{N})(?:\\p{N}{1,2}(?=(?:\\p{N}{3})*+(?!\\p{N}))|\\p{N}{3})"},
    /* the places between such threes */
    {"(?=(\\d{3})+(?!\\d))", "(?<=\\p{N})\\G\\d{3}\\K(?=\\d)|(?<!\\d)(?:|\\d|\\d\\d|\\d{3})\\K(?=(?:\\d{3})++(?!\\d))"},
};

/* Punctuation that Unicode got after version 8, whose tables `tokenizers` uses for it (crate unicode_categories). Found
 * by asking version 0.23.3 for every character. */
#define NEWER_PUNCTUATION                                                                                              \
    "\\x{61d}\\x{9fd}\\x{a76}\\x{c77}\\x{c84}\\x{1b7d}-\\x{1b7e}\\x{2e43}-\\x{2e4f}"                                   \
    "\\x{2e52}-\\x{2e5d}\\x{10ead}\\x{10f55}-\\x{10f59}\\x{10f86}-\\x{10f89}"                                          \
    "\\x{1144b}-\\x{1144f}\\x{1145a}-\\x{1145b}\\x{1145d}\\x{11660}-\\x{1166c}\\x{116b9}"                              \
    "\\x{1183b}\\x{11944}-\\x{11946}\\x{119e2}\\x{11a3f}-\\x{11a46}\\x{11a9a}-\\x{11a9c}"                              \
    "\\x{11a9e}-\\x{11aa2}\\x{11c41}-\\x{11c45}\\x{11c70}-\\x{11c71}\\x{11ef7}-\\x{11ef8}"                             \
    "\\x{11fff}\\x{12ff1}-\\x{12ff2}\\x{16e97}-\\x{16e9a}\\x{16fe2}\\x{1e95e}-\\x{1e95f}"

#define RUST_NUMBERS "\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}"

static pare_status put_property(const char *name, size_t n, bool in_class, pare_buf *out, pare_error *err)
{
    for (size_t i = 0; i < sizeof properties / sizeof properties[0]; i++)
        if (strlen(properties[i].name) == n && memcmp(properties[i].name, name, n) == 0)
            return pare_buf_printf(out, err, in_class ? "%s%s" : "[%s%s]", properties[i].pcre, properties[i].newer);
    return pare_buf_printf(out, err, "\\p{%.*s}", (int)n, name);
}

/* The escape at *p (a backslash), which moves behind it. */
static pare_status put_escape(const char **p, bool in_class, pare_buf *out, pare_error *err)
{
    const char *at = *p;
    const char *close = at[1] == 'p' && at[2] == '{' ? strchr(at, '}') : NULL;
    *p += close != NULL ? (size_t)(close + 1 - at) : 2;
    if (close != NULL)
        return put_property(at + 3, (size_t)(close - at - 3), in_class, out, err);
    if (at[1] == 'd')
        return put_property("Nd", 2, in_class, out, err);
    if (at[1] == 's' || at[1] == 'w')
        return put_property(at + 1, 1, in_class, out, err);
    if (at[1] == 'S')
        return pare_buf_puts(out, "\\P{White_Space}", err);
    return pare_buf_put(out, at, 2, err);
}

/* Behind the character class that starts at p. */
static const char *class_end(const char *p)
{
    for (int depth = 0; *p != 0; p++) {
        if (*p == '\\' && p[1] != 0)
            p++;
        else if (*p == '[')
            depth++;
        else if (*p == ']' && --depth == 0)
            return p + 1;
    }
    return p;
}

/* The class at *p, which moves behind it. Oniguruma's classes nest ([ab[cd]] is [abcd]) and intersect
 * ([ab&&[^b]]: (?![b])[ab]); PCRE2's do neither. */
static pare_status put_class(const char **p, pare_buf *out, pare_error *err)
{
    const char *end = class_end(*p), *both = strstr(*p, "&&[^");
    const char *stop = both != NULL && both < end ? both : end - 1, *at = *p + 1;
    pare_buf text = {0};
    pare_status st = pare_buf_puts(&text, *at == '^' ? "[^" : "[", err);
    at += *at == '^';
    while (at < stop && st == PARE_OK) {
        if (*at == '\\')
            st = put_escape(&at, true, &text, err);
        else if (*at == '[' || *at == ']')
            at++;
        else
            st = pare_buf_put(&text, at++, 1, err);
    }
    if (st == PARE_OK && stop == both)
        st = pare_buf_puts(out, "(?:(?![", err);
    for (at = stop + 4; stop == both && *at != ']' && st == PARE_OK;)
        st = *at == '\\' ? put_escape(&at, true, out, err) : pare_buf_put(out, at++, 1, err);
    if (st == PARE_OK && stop == both)
        st = pare_buf_puts(out, "])", err);
    if (st == PARE_OK)
        st = pare_buf_printf(out, err, "%s]%s", text.data, stop == both ? ")" : "");
    pare_buf_close(&text);
    *p = end;
    return st;
}

static pare_status translate(const char *pattern, pare_buf *out, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < sizeof rewritten / sizeof rewritten[0]; i++)
        if (strcmp(pattern, rewritten[i].published) == 0)
            pattern = rewritten[i].linear;
    while (*pattern != 0 && st == PARE_OK) {
        if (*pattern == '\\')
            st = put_escape(&pattern, false, out, err);
        else if (*pattern == '[')
            st = put_class(&pattern, out, err);
        else
            st = pare_buf_put(out, pattern++, 1, err);
    }
    return st;
}

pare_status pare_pre_step_pcre(const pare_pre_step *step, pare_buf *out, pare_error *err)
{
    /* U+166D and U+111C9 were punctuation then. */
    static const char punctuation[] = "(?![" NEWER_PUNCTUATION "])[!-/:-@\\[-`{-~\\p{P}\\x{166d}\\x{111c9}]";
    switch (step->kind) {
    case PARE_PRE_SPLIT:
        return translate(step->pattern, out, err);
    case PARE_PRE_DIGITS: /* by Rust's tables: those of Unicode 17 */
        return translate(step->flag ? "[\\p{N}" RUST_NUMBERS "]" : "[\\p{N}" RUST_NUMBERS "]+", out, err);
    case PARE_PRE_PUNCTUATION:
        return pare_buf_printf(out, err, step->flag ? "(?:%s)++" : "%s", punctuation);
    case PARE_PRE_BYTE_LEVEL:
        return step->flag ? translate(pare_gpt2_pattern, out, err) : PARE_OK;
    case PARE_PRE_END:
        break;
    }
    return PARE_OK;
}
