#include "model/pretokenizer.h"

#include <string.h>

/* what ByteLevel with use_regex splits by (openai/gpt-2, encoder.py) */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                                   "|\\s+(?!\\S)|\\s+";

/* meta-llama/Meta-Llama-3-8B */
static const char llama3_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
                                     "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
                                     "|\\s+(?!\\S)|\\s+";

/* Qwen/Qwen2-7B */
static const char qwen2_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
                                    "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)"
                                    "|\\s+";

/* Qwen/Qwen3.5-9B */
static const char qwen35_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+"
                                     "|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
                                     "|\\s+(?!\\S)|\\s+";

/* Xenova/gpt-4o, openai/gpt-oss-20b */
static const char gpt4o_pattern[] =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s"
    "|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo"
    "}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* mistralai/Mistral-Nemo-Base-2407 */
static const char tekken_pattern[] =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
    "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)"
    "|\\s+";

/* deepseek-ai/DeepSeek-V3 */
static const char cjk_pattern[] = "[一-龥぀-ゟ゠-ヿ]+";

/* deepseek-ai/DeepSeek-V3 */
static const char deepseek3_pattern[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

/* deepseek-ai/deepseek-llm-7b-base */
static const char deepseek_letters[] =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-"
    "ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-"
    "ὗὙὛὝὟ-ώ"
    "ᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-"
    "ꚛꜢ-"
    "ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-"
    "𐑏𐒰-𐓓𐓘"
    "-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

/* the same */
static const char deepseek_marks[] = "\\s?[!-/:-~！-／：-～‘-‟　-。]+";

/* the same */
static const char deepseek_cjk[] = "[一-龥ࠀ-一가-퟿]+";

/* ByteDance-Seed/Seed-Coder-8B-Base */
static const char seed_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+"
                                   "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+|\\s+(?!\\S)"
                                   "|\\s+";

/* inclusionAI/Ling-lite */
static const char bailing_pattern[] = "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
                                      "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)"
                                      "|\\s+";

#define SPLIT(text)                                                                                                    \
    {                                                                                                                  \
        PARE_PRE_SPLIT, false, text                                                                                    \
    }
#define DIGITS_ALONE                                                                                                   \
    {                                                                                                                  \
        PARE_PRE_DIGITS, true, NULL                                                                                    \
    }
#define DIGITS_RUNS                                                                                                    \
    {                                                                                                                  \
        PARE_PRE_DIGITS, false, NULL                                                                                   \
    }
#define PUNCTUATION_RUNS                                                                                               \
    {                                                                                                                  \
        PARE_PRE_PUNCTUATION, true, NULL                                                                               \
    }
#define BYTES                                                                                                          \
    {                                                                                                                  \
        PARE_PRE_BYTE_LEVEL, false, NULL                                                                               \
    }
#define BYTES_GPT2                                                                                                     \
    {                                                                                                                  \
        PARE_PRE_BYTE_LEVEL, true, NULL                                                                                \
    }
#define ALIASES (const char *const[])

/* The aliases are the names that stock llama.cpp (src/llama-vocab.cpp) runs by the same pattern. Where two rows have
 * the same steps, the flags tell them apart. */
static const pare_pretokenizer rows[] = {
    {.name = "gpt-2",
     .aliases =
         ALIASES{"phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum",
                 "jina-v1-en", "jina-v2-code", "roberta-bpe", "jais", "exaone4", "trillion", "granite-docling", NULL},
     .steps = {BYTES_GPT2}},
    {.name = "olmo",
     .aliases = ALIASES{"mpt", "modern-bert", NULL},
     .steps = {BYTES_GPT2},
     .normalizer = PARE_NORMALIZE_NFC},
    {.name = "llama-bpe",
     .aliases =
         ALIASES{"llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano", NULL},
     .steps = {SPLIT(llama3_pattern), BYTES},
     .ignore_merges = true,
     .add_bos = true},
    {.name = "dbrx", .aliases = ALIASES{"smaug-bpe", "chatglm-bpe", NULL}, .steps = {SPLIT(llama3_pattern), BYTES}},
    {.name = "glm4", .aliases = ALIASES{"glm5", NULL}, .steps = {SPLIT(llama3_pattern), BYTES}, .ignore_merges = true},
    {.name = "qwen2",
     .aliases = ALIASES{"deepseek-r1-qwen", "megrez", "kormo", "f2llmv2", NULL},
     .steps = {SPLIT(qwen2_pattern), BYTES},
     .normalizer = PARE_NORMALIZE_NFC},
    {.name = "stablelm2",
     .aliases = ALIASES{"hunyuan", "solar-open", "grok-2", NULL},
     .steps = {SPLIT(qwen2_pattern), BYTES}},
    {.name = "qwen35", .steps = {SPLIT(qwen35_pattern), BYTES}, .normalizer = PARE_NORMALIZE_NFC},
    {.name = "falcon", .steps = {PUNCTUATION_RUNS, BYTES_GPT2, DIGITS_RUNS, SPLIT("[0-9][0-9][0-9]")}},
    {.name = "starcoder",
     .aliases = ALIASES{"refact", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2", NULL},
     .steps = {DIGITS_ALONE, BYTES_GPT2}},
    {.name = "command-r", .steps = {DIGITS_ALONE, BYTES_GPT2}, .normalizer = PARE_NORMALIZE_NFC},
    {.name = "deepseek-llm",
     .steps = {SPLIT("[\r\n]"), SPLIT(deepseek_letters), SPLIT(deepseek_marks), SPLIT("\\s+$"), SPLIT(deepseek_cjk),
               DIGITS_ALONE, BYTES}},
    {.name = "deepseek-coder",
     .steps = {SPLIT("[\r\n]"), SPLIT("\\s?\\p{L}+"), SPLIT("\\s?\\p{P}+"), SPLIT(deepseek_cjk), DIGITS_ALONE, BYTES}},
    {.name = "deepseek-v3",
     .aliases = ALIASES{"hunyuan-dense", "joyai-llm", "hy_v4", NULL},
     .steps = {SPLIT("\\p{N}{1,3}"), SPLIT(cjk_pattern), SPLIT(deepseek3_pattern), BYTES}},
    {.name = "gpt-4o",
     .aliases = ALIASES{"llama4", "kanana2", "talkie", "minimax-m2", NULL},
     .steps = {SPLIT(gpt4o_pattern), BYTES}},
    {.name = "tekken", .steps = {SPLIT(tekken_pattern), BYTES}, .ignore_merges = true, .add_bos = true},
    {.name = "seed-coder", .steps = {SPLIT(seed_pattern), BYTES}},
    {.name = "bailingmoe",
     .aliases = ALIASES{"bailingmoe2", "llada-moe", NULL},
     .steps = {SPLIT(bailing_pattern), BYTES}},
};

const char *pare_normalizer_name(pare_normalizer form)
{
    static const char *const names[] = {"none", "NFC", "NFD", "NFKC", "NFKD"};
    return names[form];
}

const pare_pretokenizer *pare_pretokenizer_at(size_t i)
{
    return i < sizeof rows / sizeof rows[0] ? &rows[i] : NULL;
}

const pare_pretokenizer *pare_pretokenizer_find(pare_str name)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (pare_str_equal(name, rows[i].name))
            return &rows[i];
        for (const char *const *a = rows[i].aliases; a != NULL && *a != NULL; a++)
            if (pare_str_equal(name, *a))
                return &rows[i];
    }
    return NULL;
}

/* The step at *p, which moves behind it. GPT-2's pattern as a Split in front of ByteLevel is ByteLevel with its own. */
static pare_pre_step take_step(const pare_pre_step **p)
{
    const pare_pre_step *a = (*p)++;
    if (a->kind == PARE_PRE_SPLIT && strcmp(a->pattern, gpt2_pattern) == 0 && a[1].kind == PARE_PRE_BYTE_LEVEL &&
        !a[1].flag)
        return (pare_pre_step){.kind = ((*p)++)->kind, .flag = true};
    return *a;
}

static bool same_steps(const pare_pre_step *a, const pare_pre_step *b)
{
    while (a->kind != PARE_PRE_END) {
        pare_pre_step x = take_step(&a), y = take_step(&b);
        if (x.kind != y.kind || x.flag != y.flag || (x.pattern == NULL) != (y.pattern == NULL) ||
            (x.pattern != NULL && strcmp(x.pattern, y.pattern) != 0))
            return false;
    }
    return b->kind == PARE_PRE_END;
}

const pare_pretokenizer *pare_pretokenizer_match(const pare_pre_step *steps, bool ignore_merges,
                                                 pare_normalizer normalizer, bool add_bos)
{
    /* What changes ids weighs more than what metadata says anyway: Unicode form, a lost ignore_merges, BOS, a gained
     * one. */
    const pare_pretokenizer *best = NULL;
    unsigned best_cost = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const pare_pretokenizer *p = &rows[i];
        unsigned cost = 8u * (p->normalizer != normalizer) + 4u * (ignore_merges && !p->ignore_merges) +
                        2u * (p->add_bos != add_bos) + (p->ignore_merges && !ignore_merges);
        if (!same_steps(steps, p->steps) || (best != NULL && cost >= best_cost))
            continue;
        best = p;
        best_cost = cost;
    }
    return best;
}

/* Punctuation that Unicode got after version 8, whose tables `tokenizers` uses (crate unicode_categories). Found by
 * asking version 0.23.3 for every character. */
#define NEWER_PUNCTUATION                                                                                              \
    "\\x{61d}\\x{9fd}\\x{a76}\\x{c77}\\x{c84}\\x{1b7d}-\\x{1b7e}\\x{2e43}-\\x{2e4f}"                                   \
    "\\x{2e52}-\\x{2e5d}\\x{10ead}\\x{10f55}-\\x{10f59}\\x{10f86}-\\x{10f89}"                                          \
    "\\x{1144b}-\\x{1144f}\\x{1145a}-\\x{1145b}\\x{1145d}\\x{11660}-\\x{1166c}\\x{116b9}"                              \
    "\\x{1183b}\\x{11944}-\\x{11946}\\x{119e2}\\x{11a3f}-\\x{11a46}\\x{11a9a}-\\x{11a9c}"                              \
    "\\x{11a9e}-\\x{11aa2}\\x{11c41}-\\x{11c45}\\x{11c70}-\\x{11c71}\\x{11ef7}-\\x{11ef8}"                             \
    "\\x{11fff}\\x{12ff1}-\\x{12ff2}\\x{16e97}-\\x{16e9a}\\x{16fe2}\\x{1e95e}-\\x{1e95f}"

/* PCRE2's \s under UCP takes U+180E, which has not been white space since Unicode 6.3 and is none in Oniguruma. */
static pare_status translate(const char *pattern, pare_buf *out, pare_error *err)
{
    pare_status st = PARE_OK;
    for (const char *p = pattern; *p != 0 && st == PARE_OK; p++) {
        if (p[0] != '\\') {
            st = pare_buf_put(out, p, 1, err);
            continue;
        }
        if (p[1] == 's' || p[1] == 'S')
            st = pare_buf_puts(out, p[1] == 's' ? "\\p{White_Space}" : "\\P{White_Space}", err);
        else
            st = pare_buf_put(out, p, 2, err);
        p++;
    }
    return st;
}

pare_status pare_pre_step_pcre(const pare_pre_step *step, pare_buf *out, pare_error *err)
{
    /* U+166D and U+111C9 were punctuation then. */
    static const char punctuation[] = "(?![" NEWER_PUNCTUATION "])[!-/:-@\\[-`{-~\\p{P}\\x{166d}\\x{111c9}]";
    switch (step->kind) {
    case PARE_PRE_SPLIT:
        /* \s+$ tried at every space of a long run is quadratic; a match can only start where the run does. */
        if (strcmp(step->pattern, "\\s+$") == 0)
            return translate("(?<!\\s)\\s+$", out, err);
        return translate(step->pattern, out, err);
    case PARE_PRE_DIGITS:
        return pare_buf_puts(out, step->flag ? "\\p{N}" : "\\p{N}+", err);
    case PARE_PRE_PUNCTUATION:
        return pare_buf_printf(out, err, step->flag ? "(?:%s)++" : "%s", punctuation);
    case PARE_PRE_BYTE_LEVEL:
        return step->flag ? translate(gpt2_pattern, out, err) : PARE_OK;
    case PARE_PRE_END:
        break;
    }
    return PARE_OK;
}

/* Bytes that print stand for themselves; the others follow each other from U+0100. */
static bool prints(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

uint32_t pare_byte_alphabet(uint8_t byte)
{
    uint32_t n = 0;
    if (prints(byte))
        return byte;
    for (uint32_t b = 0; b < byte; b++)
        n += !prints(b);
    return 256 + n;
}

int pare_byte_of_alphabet(uint32_t cp)
{
    if (cp < 256)
        return prints(cp) ? (int)cp : -1;
    for (uint32_t b = 0, n = 0; b < 256; b++)
        if (!prints(b) && 256 + n++ == cp)
            return (int)b;
    return -1;
}
