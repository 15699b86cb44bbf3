#include "model/pretokenizer.h"

#include <string.h>

const char pare_gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
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

/* bigscience/bloom, LumiOpen/Poro-34B-chat */
static const char bloom_pattern[] = " ?[^(\\s|[.,!?…。，、।۔،])]+";

/* inceptionai/Jais-2-8B-Chat */
static const char jais2_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
                                    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
                                    "|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)"
                                    "|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}";

/* XHToken/Spark-X2.5-1.7B */
static const char spark_pattern[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+|[\r\n]|\\s+(?!\\S)|\\s+";

/* tencent/Youtu-LLM-2B */
static const char youtu_scripts[] =
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+";
static const char youtu_pattern[] =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s"
    "|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo"
    "}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* CohereLabs/tiny-aya-base; digits in threes from the right */
static const char threes_pattern[] = "\\d{1,3}(?=(?:\\d{3})*\\b)";

/* arcee-ai/Trinity-Tokenizer: the same for all numbers, and the scripts without spaces */
static const char afmoe_numbers[] = "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))";
static const char afmoe_scripts[] =
    "[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+";
static const char afmoe_pattern[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* moonshotai/Kimi-K2-Base, tokenization_kimi.py */
static const char kimi_pattern[] =
    "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*"
    "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+"
    "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* ufakai/ufakzeka-1: Qwen 2 without the English endings */
static const char ufakzeka_pattern[] = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
                                       "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* LGAI-EXAONE/K-EXAONE-236B-A23B */
static const char exaone_moe_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+"
    "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";

/* openbmb/MiniCPM5-1B */
static const char minicpm5_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
                                       "|\\p{N}+| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
                                       "|\\s+(?!\\S)|\\s+";

/* Other spellings of patterns above that match the same. */
static const struct {
    const char *spelling, *pattern;
} spellings[] = {
    /* cl100k_base as openai/tiktoken has it */
    {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*"
     "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     llama3_pattern},
};

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
#define PUNCTUATION_ALONE                                                                                              \
    {                                                                                                                  \
        PARE_PRE_PUNCTUATION, false, NULL                                                                              \
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
    {.name = "bloom", .aliases = ALIASES{"poro-chat", "gpt3-finnish", NULL}, .steps = {SPLIT(bloom_pattern), BYTES}},
    {.name = "viking", .steps = {SPLIT(bloom_pattern), DIGITS_ALONE, BYTES}},
    {.name = "chameleon",
     .steps = {SPLIT("<sentinel:[0-9]+>"), SPLIT("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"), SPLIT("([\\t\\n]|    |  )"),
               DIGITS_ALONE, PUNCTUATION_ALONE, BYTES_GPT2},
     .add_bos = true},
    {.name = "jais-2", .steps = {SPLIT(jais2_pattern), BYTES}},
    {.name = "spark2_5",
     .steps = {SPLIT("\\p{N}{1,3}"), SPLIT(cjk_pattern), SPLIT(spark_pattern), DIGITS_ALONE, BYTES}},
    {.name = "youtu", .steps = {SPLIT(youtu_scripts), SPLIT(youtu_pattern), BYTES}, .ignore_merges = true},
    {.name = "granite-embed-multi-97m", .steps = {SPLIT(gpt4o_pattern), BYTES}, .ignore_merges = true},
    {.name = "tiny_aya",
     .aliases = ALIASES{"cohere2moe", NULL},
     .steps = {SPLIT(threes_pattern), SPLIT(gpt4o_pattern), BYTES}},
    {.name = "kimi-k2", .steps = {SPLIT(kimi_pattern), BYTES}},
    {.name = "superbpe", .steps = {SPLIT("\\p{N}+"), SPLIT("(?=(\\d{3})+(?!\\d))"), BYTES}},
    {.name = "ufakzeka", .steps = {SPLIT(ufakzeka_pattern), BYTES}},
    {.name = "afmoe", .steps = {SPLIT(afmoe_numbers), SPLIT(afmoe_scripts), SPLIT(afmoe_pattern), BYTES}},
    {.name = "laguna", .steps = {SPLIT("[^\\n]+|[\\n]+"), SPLIT(qwen2_pattern), BYTES}},
    {.name = "exaone-moe", .steps = {SPLIT(exaone_moe_pattern), BYTES}},
    {.name = "minicpm5", .steps = {SPLIT("\\p{N}{1,3}"), SPLIT(minicpm5_pattern), BYTES}, .ignore_merges = true},
    /* what stock runs when a converter did not know better */
    {.name = "default",
     .steps = {SPLIT("[\\p{P}\\$\\+<=>\\^~\\|]+"), SPLIT(pare_gpt2_pattern), SPLIT("\\p{N}+"), SPLIT("[0-9][0-9][0-9]"),
               BYTES}},
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

/* The step at *p, which moves behind it. GPT-2's pattern as a Split in front of ByteLevel is ByteLevel with its own,
 * and a Split at numbers is Digits. */
static pare_pre_step take_step(const pare_pre_step **p)
{
    const pare_pre_step *a = (*p)++;
    if (a->kind == PARE_PRE_SPLIT && strcmp(a->pattern, "\\p{N}") == 0)
        return (pare_pre_step)DIGITS_ALONE;
    if (a->kind == PARE_PRE_SPLIT && strcmp(a->pattern, pare_gpt2_pattern) == 0 && a[1].kind == PARE_PRE_BYTE_LEVEL &&
        !a[1].flag)
        return (pare_pre_step){.kind = ((*p)++)->kind, .flag = true};
    return *a;
}

static const char *canonical(const char *pattern)
{
    for (size_t i = 0; pattern != NULL && i < sizeof spellings / sizeof spellings[0]; i++)
        if (strcmp(pattern, spellings[i].spelling) == 0)
            return spellings[i].pattern;
    return pattern;
}

static bool same_steps(const pare_pre_step *a, const pare_pre_step *b)
{
    while (a->kind != PARE_PRE_END) {
        pare_pre_step x = take_step(&a), y = take_step(&b);
        if (x.kind != y.kind || x.flag != y.flag || (x.pattern == NULL) != (y.pattern == NULL) ||
            (x.pattern != NULL && strcmp(canonical(x.pattern), y.pattern) != 0))
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
