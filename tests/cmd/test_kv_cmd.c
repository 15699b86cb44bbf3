/* pare kv as a user runs it, and which cache it recommends. */
#include "cli.h"
#include "cmd/cache_options.h"
#include "cmd/kv_choose.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KV "$PARE kv $DEMO -f $TEXT --depths 64 --chunks 2 --heads 1"
#define EVAL "$PARE eval $DEMO -f $TEXT --reference $DEMO -c 64 --chunks 2"

static json_t *run_json(int code, const char *command)
{
    cli_result r = cli_expect(code, "%s --json", command);
    return cli_json(&r);
}

/* The cache of a name; with length, its figures at the first length. */
static const json_t *cache_of(const json_t *doc, const char *name, bool length)
{
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(doc, "caches"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            return length ? json_array_get(json_object_get(row, "lengths"), 0) : row;
    }
    print_error("no cache %s\n", name);
    CHECK(false);
    return NULL;
}

static const char *text_of(const json_t *doc, const char *key)
{
    const char *text = json_string_value(json_object_get(json_object_get(doc, "recommendation"), key));
    return text != NULL ? text : "";
}

/* The figures are those of eval with the same cache; rows stand by size; rotation makes rows of its own. */
static void measures_what_eval_measures(void **state)
{
    (void)state;
    json_t *doc = run_json(0, KV " --cache f32,q4_0,q8_0/q4_0 --limit 1"),
           *off = run_json(0, EVAL " --cache-k q4_0 --cache-v q4_0 --cache-rotate off"),
           *on = run_json(0, EVAL " --cache-k q8_0 --cache-v q4_0");
    CHECK(json_array_size(json_object_get(doc, "caches")) == 5);
    const json_t *floats = cache_of(doc, "f32", false);
    CHECK(cli_number(cache_of(doc, "f32", true), "kld_mean") == 0);
    CHECK(cli_number(json_object_get(floats, "heads"), "median") == 0);
    CHECK(cli_number(cache_of(doc, "q4_0", true), "kld_mean") == cli_number(off, "kld_mean"));
    CHECK(cli_number(cache_of(doc, "q4_0", true), "kld_p999") == cli_number(off, "kld_p999"));
    CHECK(cli_number(cache_of(doc, "q8_0/q4_0 llama", true), "kld_mean") == cli_number(on, "kld_mean"));
    CHECK(cli_number(cache_of(doc, "q4_0", false), "bytes_1024_tokens") ==
          cli_number(json_object_get(off, "cache"), "bytes_1024_tokens"));
    CHECK(cli_number(json_object_get(cache_of(doc, "q4_0", false), "heads"), "median") > 1e-3);
    double last = INFINITY;
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(doc, "caches"), i, row)
    {
        CHECK(cli_number(row, "bytes_1024_tokens") <= last);
        last = cli_number(row, "bytes_1024_tokens");
    }
    json_decref(doc);
    json_decref(off);
    json_decref(on);
    cli_result r = cli_expect(0, KV " --cache q4_0 --rotate off --curve --limit 1");
    CHECK(cli_contains(r.out, "\nKL divergence by position, from") && !cli_contains(r.out, "q4_0 llama"));
    CHECK(cli_contains(r.out, "99.9 % of the KL divergence by position, from"));
    CHECK(cli_contains(r.out, "99.9 % of fewer than 1000 positions is nearly the largest; here 2 a column"));
}

/* Bands of one position in three windows: their tail lies between the middle one and the largest. */
static void tells_tails_by_position(void **state)
{
    (void)state;
    json_t *doc =
        run_json(0, "$PARE kv $DEMO -f $TEXT --depths 16,64 --chunks 3 --heads 1 --cache q4_0 --rotate off --limit 9");
    for (size_t l = 0; l < 2; l++) {
        const json_t *figures = json_array_get(json_object_get(cache_of(doc, "q4_0", false), "lengths"), l),
                     *curve = json_object_get(figures, "curve"), *point;
        double sum = 0, largest = 0;
        size_t i;
        json_array_foreach(curve, i, point)
        {
            const double n = cli_number(point, "n"), tail = cli_number(point, "kld_p999");
            CHECK(n == 3 * (cli_number(point, "end") - cli_number(point, "first")));
            CHECK(tail > cli_number(point, "kld") && tail < n * cli_number(point, "kld"));
            largest = fmax(largest, tail);
            sum += n;
        }
        CHECK(sum == cli_number(figures, "n_tokens_scored"));
        CHECK(largest > 0.99 * cli_number(figures, "kld_p999") && largest <= cli_number(figures, "kld_max"));
    }
    json_decref(doc);
}

/* The rows of the text are those figures, of the mean and of the tail. */
static void prints_tails(void **state)
{
    (void)state;
#define TAILS KV " --cache q4_0 --rotate off --limit 9"
    json_t *doc = run_json(0, TAILS);
    const json_t *first = json_array_get(json_object_get(cache_of(doc, "q4_0", true), "curve"), 0);
    char mean[80], tail[80];
    snprintf(mean, sizeof mean, "\n%-24s %9.6f ", "q4_0", cli_number(first, "kld"));
    snprintf(tail, sizeof tail, "\n%-24s %9.6f ", "q4_0", cli_number(first, "kld_p999"));
    cli_result r = cli_expect(0, TAILS " --curve");
    const char *of_mean = strstr(r.out, mean), *of_tail = strstr(r.out, tail),
               *title = strstr(r.out, "99.9 % of the KL divergence by position");
    CHECK(of_mean != NULL && of_tail != NULL && title != NULL && of_mean < title && title < of_tail);
    json_decref(doc);
}

/* How many lines begin with `name`, and how many of them hold `part`. */
static size_t lines_of(const char *text, const char *name, const char *part, size_t *n_with)
{
    size_t n = 0;
    *n_with = 0;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        char copy[600];
        line += *line == '\n';
        snprintf(copy, sizeof copy, "%.*s", (int)strcspn(line, "\n"), line);
        if (strncmp(copy, name, strlen(name)) != 0)
            continue;
        n++;
        *n_with += strstr(copy, part) != NULL;
    }
    return n;
}

/* What no program keeps is called research in each row of each table, and is not recommended unless asked for. */
static void marks_research(void **state)
{
    (void)state;
    size_t marked = 0;
    cli_result r =
        cli_expect(0, "$PARE kv $DEMO -f $TEXT --depths 128 --chunks 2 --heads 1 --cache f16,turbo2 --needle 1 "
                      "--curve --limit 9 --report research.md --force && cat research.md");
    CHECK(cli_contains(r.out, "\nrecommended: f16 (llama.cpp"));
    CHECK(lines_of(r.out, "turbo2 full", "research", &marked) == 5 && marked == 5); /* figures, 2 curves, heads, keys */
    CHECK(lines_of(r.out, "f16", "research", &marked) == 5 && marked == 0);
    const size_t n_rows = lines_of(r.out, "| turbo2", "(research) |", &marked);
    CHECK(n_rows > 5 && marked == n_rows);
    CHECK(lines_of(r.out, "| 128, turbo2", "(research) |", &marked) == 2 && marked == 2); /* found, ln p */
    CHECK(lines_of(r.out, "**Error of attention, turbo2", "(research)", &marked) == 1 && marked == 1);
    json_t *doc = run_json(0, KV " --cache f16,turbo2 --limit 9 --research");
    CHECK(json_is_true(json_object_get(json_object_get(doc, "recommendation"), "research")));
    CHECK(json_is_false(json_object_get(cache_of(doc, "f16", false), "research")));
    json_decref(doc);
}

static void recommends(void **state)
{
    (void)state;
    json_t *doc = run_json(0, KV " --cache f16,q8_0,turbo2 --limit 5");
    CHECK(strncmp(text_of(doc, "name"), "q8_0", 4) == 0 && cli_contains(text_of(doc, "text"), "--cache-type-k q8_0"));
    CHECK(json_is_true(json_object_get(cache_of(doc, "turbo2 full", false), "research")));
    json_decref(doc);
    cli_result r = cli_expect(0, KV " --cache f16,turbo2 --limit 5 --research");
    CHECK(cli_contains(r.out, "recommended: turbo2 full: ") && cli_contains(r.out, "research: no known program"));
    r = cli_expect(1, KV " --cache q4_0 --limit 0.000001");
    CHECK(cli_contains(r.out,
                       "recommended: none: no cache stays at or below a mean KL divergence of 1e-06; the closest "
                       "is q4_0"));
    doc = run_json(1, KV " --cache turbo2 --limit 5");
    CHECK(json_object_get(json_object_get(doc, "recommendation"), "name") == NULL);
    json_decref(doc);
    CHECK(cli_contains(cli_expect(1, KV " --cache kivi4 --research --limit 5").out,
                       "kivi4 keeps the last 128 tokens exact: windows of 64 say nothing about it"));
}

/* The context is the one that fit plans for the same cache and memory. */
static void plans_contexts(void **state)
{
    (void)state;
#define MEMORY " --vram 835M --reserve 1M"
    json_t *doc = run_json(0, KV " --cache f16,q8_0,q8_0/f16,f16/q8_0,turbo3 --limit 1" MEMORY),
           *fit = run_json(0, "$PARE fit $DEMO --kv q8_0 --ctx 256" MEMORY);
    double wanted = -1;
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(fit, "candidates"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "name")), "as it is") == 0)
            wanted = cli_number(row, "largest_context");
    }
    CHECK(wanted > 0 && cli_number(cache_of(doc, "q8_0", false), "largest_context") == wanted);
    CHECK(cli_number(json_object_get(doc, "recommendation"), "largest_context") == wanted);
    const double of_f16 = cli_number(cache_of(doc, "f16", false), "largest_context");
    CHECK(of_f16 < wanted && cli_number(cache_of(doc, "q8_0/f16", false), "largest_context") > of_f16);
    CHECK(cli_number(cache_of(doc, "f16/q8_0", false), "largest_context") > of_f16);
    CHECK(json_object_get(cache_of(doc, "turbo3 full", false), "largest_context") == NULL);
    json_decref(doc);
    json_decref(fit);
    CHECK(cli_contains(cli_expect(1, KV " --cache q8_0 --limit 1 --ctx 99999999" MEMORY).out,
                       "leaves room for the context"));
    CHECK(cli_contains(cli_expect(1, KV " --cache q8_0 --limit 1 --vram 1M").out, "recommended: none"));
}

/* What was found at a length. */
static const json_t *needle_of(const json_t *row, size_t i)
{
    return json_array_get(json_object_get(json_object_get(row, "needle"), "lengths"), i);
}

static void looks_for_needles_and_heads(void **state)
{
    (void)state;
    json_t *doc = run_json(
        0, "$PARE kv $DEMO -f $TEXT --depths 32,96,128 --chunks 2 --heads 1 --cache f32,turbo2p/f16 --needle 1 "
           "--limit 9");
    const json_t *all = json_object_get(doc, "needle"), *floats = needle_of(doc, 1),
                 *exact = needle_of(cache_of(doc, "f32", false), 1),
                 *other = needle_of(cache_of(doc, "turbo2p/f16 full", false), 1);
    CHECK(json_array_size(json_object_get(floats, "ln_p")) == 11 && cli_number(all, "n_keys") == 1);
    CHECK(cli_number(floats, "n_ctx") == 128 && cli_number(needle_of(doc, 0), "n_ctx") == 96);
    CHECK(json_array_size(json_object_get(all, "lengths")) == 2); /* 32 tokens have no room */
    CHECK(!json_equal(json_object_get(floats, "ln_p"), json_object_get(needle_of(doc, 0), "ln_p")));
    double difference = 0;
    for (size_t i = 0; i < 11; i++) {
        const double a = json_number_value(json_array_get(json_object_get(floats, "ln_p"), i)),
                     b = json_number_value(json_array_get(json_object_get(exact, "ln_p"), i)),
                     c = json_number_value(json_array_get(json_object_get(other, "ln_p"), i));
        CHECK(a < 0 && fabs(a - b) < 1e-4 * fabs(a));
        difference += fabs(a - c);
    }
    CHECK(difference > 0.1);
    json_decref(doc);
    cli_result r = cli_expect(0, "$PARE kv $DEMO -f $TEXT --depths 32,128 --chunks 2 --heads 1 --cache f16 --needle 1");
    CHECK(cli_contains(r.out, "windows of 32 tokens have no room for a key"));
    CHECK(cli_contains(r.out, "floats find no key: this model says nothing about caches here"));
    r = cli_expect(1, "$PARE kv $DEMO -f $TEXT --depths 64 --chunks 2 --heads 2 --cache turbo3p/f16");
    CHECK(cli_contains(r.out, "breaks: layer 1, head 1: error 0.2") &&
          cli_contains(r.out, "channel 36 of key head 0 is "));
    CHECK(cli_contains(r.out, ": a bias, which --mean takes off"));
}

/* Keys without their mean are a row of their own, for research. */
static void takes_the_mean_off(void **state)
{
    (void)state;
    json_t *doc = run_json(0, KV " --cache f16,q4_0 --rotate off --mean $TEXT --limit 1");
    CHECK(json_array_size(json_object_get(doc, "caches")) == 3);
    const json_t *less = cache_of(doc, "q4_0 -mean", false);
    CHECK(json_is_true(json_object_get(less, "research")) && json_is_true(json_object_get(less, "without_mean")));
    const double a = cli_number(cache_of(doc, "q4_0", true), "kld_mean"),
                 b = cli_number(cache_of(doc, "q4_0 -mean", true), "kld_mean");
    CHECK(a > 0 && b > 0 && a != b);
    CHECK(strcmp(text_of(doc, "name"), "q4_0") == 0);
    json_decref(doc);
    doc = run_json(1, KV " --cache q4_0 --rotate off --cache-protect 1 --limit 5");
    CHECK(cli_number(cache_of(doc, "f16", true), "kld_mean") < 1e-4); /* both layers of the model are ends */
    json_decref(doc);
}

/* Where all layers are ends all is F16, and is called so; where one is none, its types are. */
static void names_what_is_kept(void **state)
{
    (void)state;
    CHECK(cli_contains(cli_expect(0, EVAL " --cache-k q4_0 --cache-protect 99").out,
                       "cache: keys f16 (rotation off), values f32 (rotation off)"));
    json_t *doc = run_json(0, EVAL " --cache-k q4_0 --cache-v turbo3 --cache-protect 1");
    const json_t *cache = json_object_get(doc, "cache");
    CHECK(strcmp(json_string_value(json_object_get(cache, "keys")), "f16") == 0 &&
          strcmp(json_string_value(json_object_get(cache, "values")), "f16") == 0);
    json_decref(doc);
    const pare_kv_codec *q4_0 = pare_kv_codec_find("q4_0", PARE_KV_KEYS),
                        *f16 = pare_kv_codec_find("f16", PARE_KV_KEYS);
    const pare_model m = {.arch = pare_arch_find("llama"),
                          .hp = {.n_layer = 3, .n_head = 2, .n_head_kv = 2, .head_dim_k = 64, .head_dim_v = 64}};
    pare_kv_form form = {.k = q4_0, .v = q4_0, .first = 1};
    CHECK(cmd_cache_layer(&form, &m).k == q4_0);
    form.last = 1;
    CHECK(cmd_cache_layer(&form, &m).k == q4_0);
    form.last = 2;
    CHECK(cmd_cache_layer(&form, &m).k == f16 && cmd_cache_layer(&form, &m).v->type == PARE_TYPE_F16);
}

/* Which of llama.cpp's rotation and the full one depends on the side's own heads. */
static void turns_each_side_by_its_heads(void **state)
{
    (void)state;
    const pare_kv_codec *c = pare_kv_codec_find("q4_0", PARE_KV_VALUES);
    pare_model m = {.arch = pare_arch_find("llama"),
                    .hp = {.n_layer = 1, .n_head = 2, .n_head_kv = 2, .head_dim_k = 64, .head_dim_v = 96}};
    CHECK(cmd_cache_turn("on", c, PARE_KV_KEYS, &m) == PARE_KV_TURN_LLAMA);
    CHECK(cmd_cache_turn("on", c, PARE_KV_VALUES, &m) == PARE_KV_TURN_FULL);
    m.hp.head_dim_k = 96;
    m.hp.head_dim_v = 128;
    CHECK(cmd_cache_turn("on", c, PARE_KV_KEYS, &m) == PARE_KV_TURN_FULL);
    CHECK(cmd_cache_turn("on", c, PARE_KV_VALUES, &m) == PARE_KV_TURN_LLAMA);
}

static void writes_a_page(void **state)
{
    (void)state;
    cli_expect(0, KV
               " --cache f16,q8_0,q4_0 --limit 1 --report kv.html && $PARE kv $DEMO -f $TEXT --depths 128 --chunks 2 "
               "--cache f16 --limit 1 --report kv.md --needle 1 | grep -q recommended");
    cli_result r = cli_expect(0, "cat kv.html");
    static const char *const parts[] = {"Caches of keys and values of demo",
                                        "Divergence by bytes",
                                        "Divergence by position",
                                        "99.9 % of the divergence by position, windows of 64 tokens",
                                        "Error of attention, q4_0 llama</title>",
                                        "Error of attention, f16</title>",
                                        "Recommended: q4_0",
                                        "<svg",
                                        "2 windows of 64 tokens"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        CHECK(cli_contains(r.out, parts[i]));
    CHECK(!cli_contains(r.out, "Pass keys found") && !cli_contains(r.out, "http:") && !cli_contains(r.out, "<script"));
    r = cli_expect(0, "cat kv.md");
    CHECK(cli_contains(r.out, "Pass keys found") && cli_contains(r.out, "ln p of the pass key"));
    CHECK(cli_contains(r.out, "| 128, f16 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |"));
    cli_expect(2, KV " --cache f16 --limit 1 --report kv.html");
    cli_expect(2, KV " --cache f16 --limit 1 --report $TEXT --force");
}

/* Types that a text is read for: as eval keeps them, told with the text's checksum, and refused without one. */
static void calibrates(void **state)
{
    (void)state;
    json_t *doc = run_json(0, KV " --cache klt3.5,turbo3.5/klt2,q8_0 --limit 1 --cache-text $TEXT"),
           *eval = run_json(0, EVAL " --cache-k klt3.5 --cache-v klt3.5 --cache-text $TEXT"),
           *turbo = run_json(0, EVAL " --cache-k turbo3.5 --cache-v turbo3.5");
    const json_t *klt = cache_of(doc, "klt3.5", false), *text = json_object_get(doc, "cache_text");
    CHECK(cli_number(cache_of(doc, "klt3.5", true), "kld_mean") == cli_number(eval, "kld_mean"));
    CHECK(cli_number(eval, "kld_mean") < 0.5 * cli_number(turbo, "kld_mean"));
    CHECK(cli_number(klt, "bytes_1024_tokens") < cli_number(json_object_get(turbo, "cache"), "bytes_1024_tokens"));
    CHECK(json_is_true(json_object_get(klt, "research")));
    CHECK(strcmp(json_string_value(json_object_get(json_object_get(doc, "recommendation"), "name")), "q8_0") == 0);
    CHECK(json_equal(text, json_object_get(eval, "cache_text")) && cli_number(text, "windows") > 1);
    CHECK(strlen(json_string_value(json_object_get(text, "sha256"))) == 64);
    cache_of(doc, "turbo3.5/klt2 full", false);
    json_decref(doc);
    json_decref(eval);
    json_decref(turbo);
}

static void refuses(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"$PARE kv", "MODEL -f TEXT is missing"},
        {"$PARE kv $DEMO", "--file TEXT is missing"},
        {"$PARE kv --list $DEMO", "--list measures nothing"},
        {KV " --cache q4_2", "did you mean 'q4_"},
        {KV " --cache q8_0,", "unknown type of cache ''"},
        {KV " --cache turbo3p", "'turbo3p' is for keys alone"},
        {KV " --cache turbo3 --rotate off", "turbo3 is for rotated keys"},
        {KV " --cache klt3", "klt3 is calibrated by a text, and the keys of layer 0 are not"},
        {EVAL " --cache-v klt3", "klt3 is calibrated by a text"},
        {EVAL " --cache-v q4_0 --cache-text $TEXT", "--cache-text is for calibrated types"},
        {EVAL " --cache-v klt3 --cache-text -", "--cache-text: the text has"},
        {EVAL " --cache-text $TEXT", "--cache-text needs --cache-k or --cache-v"},
        {"$PARE eval $DEMO -f - --cache-v klt3 --cache-text -", "both read standard input"},
        {KV " --ctx 100", "--ctx is of a budget"},
        {KV " --vram 12", "is a unit missing?"},
        {KV " --gpu rtx-409", "kv: --gpu: unknown card"},
        {KV " --report a.txt", "expected a name that ends in .html"},
        {"$PARE kv $DEMO -f $TEXT --depths 64,3", "'3': expected tokens"},
        {"$PARE kv $DEMO -f $TEXT --depths 64,128,64", "64 is there twice"},
        {"$PARE kv $DEMO -f $TEXT --depths 999999", "two windows of that length need 1999998 tokens"},
        {"echo short | $PARE kv $DEMO -f -", "--depths 512: two windows"},
        {KV " --needle 1 --depths 40 --cache f16", "--depths is given twice"},
        {"$PARE kv $DEMO -f $TEXT --needle 1 --depths 16 --chunks 2 --cache f16",
         "key, question and a token of text take"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK(cli_contains(cli_expect(2, "%s", rows[i][0]).err, rows[i][1]));
    cli_result r = cli_expect(0, "$PARE kv --list");
    CHECK(cli_contains(r.out, "q4_0       both        4.500  llama.cpp"));
    CHECK(cli_contains(r.out, "turbo3p    keys        3.250  research"));
}

/* The rule by hand: the smallest of those at or below the limit at every length. */
static void chooses(void **state)
{
    (void)state;
    enum { FORMS = 5, LENGTHS = 2 };
    static const double kld[LENGTHS][FORMS] = {{0.001, 0.004, 0.003, 0.004, 0.002}, {0.001, 0.003, 0.02, 0.005, 0.002}};
    const pare_kv_codec *f16 = pare_kv_codec_find("f16", PARE_KV_KEYS);
    const pare_kv_form form = {.k = f16, .v = f16};
    cmd_kv_form forms[FORMS] = {{form, "a", "llama.cpp", 900, false},
                                {form, "b", "llama.cpp", 500, false},
                                {form, "c", "llama.cpp", 400, false},
                                {form, "d", "llama.cpp", 500, false},
                                {form, "e", "", 300, false}};
    pare_eval_result results[LENGTHS * FORMS] = {0};
    uint64_t contexts[FORMS] = {1000, 2000, 3000, 0, 0};
    cmd_kv_run r = {.request = {.forms = forms, .n_forms = FORMS, .depths = {512, 2048}, .n_depths = LENGTHS},
                    .results = results};
    uint32_t depth = 0;
    for (int i = 0; i < LENGTHS * FORMS; i++)
        results[i].kld_mean.value = kld[i / FORMS][i % FORMS];
    CHECK(cmd_kv_worst(&r, 2, &depth).value == 0.02 && depth == 2048);
    CHECK(cmd_kv_worst(&r, 1, &depth).value == 0.004 && depth == 512);
    CHECK(cmd_kv_choose(&r, 0.005, false, 0).form == 1); /* c fails at one length, d diverges more */
    CHECK(cmd_kv_choose(&r, 0.0035, false, 0).form == 0);
    CHECK(cmd_kv_choose(&r, 0.02, false, 0).form == 2);
    CHECK(cmd_kv_choose(&r, 0.005, true, 0).form == 4);
    CHECK(cmd_kv_choose(&r, 0.0005, true, 0).form == CMD_KV_NONE && cmd_kv_choose(&r, 0.0005, true, 0).closest == 0);
    r.contexts = contexts;
    CHECK(cmd_kv_choose(&r, 0.005, false, 1500).form == 1);
    CHECK(cmd_kv_choose(&r, 0.005, false, 2500).form == CMD_KV_NONE);
    CHECK(cmd_kv_choose(&r, 0.02, false, 2500).form == 2);
    contexts[1] = 0;
    CHECK(cmd_kv_choose(&r, 0.005, false, 0).form == 0); /* neither b nor d finds room */
    contexts[0] = contexts[2] = 0;
    CHECK(cmd_kv_choose(&r, 0.005, false, 0).closest == CMD_KV_NONE);
}

int main(void)
{
    setenv("OMP_NUM_THREADS", "1", 1); /* threads of a model so small mostly wait */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_what_eval_measures),
        cmocka_unit_test(tells_tails_by_position),
        cmocka_unit_test(prints_tails),
        cmocka_unit_test(recommends),
        cmocka_unit_test(marks_research),
        cmocka_unit_test(plans_contexts),
        cmocka_unit_test(looks_for_needles_and_heads),
        cmocka_unit_test(takes_the_mean_off),
        cmocka_unit_test(names_what_is_kept),
        cmocka_unit_test(turns_each_side_by_its_heads),
        cmocka_unit_test(writes_a_page),
        cmocka_unit_test(calibrates),
        cmocka_unit_test(refuses),
        cmocka_unit_test(chooses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
