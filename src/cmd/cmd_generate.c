#include "cmd/cache_options.h"
#include "cmd/cache_text.h"
#include "cmd/console.h"
#include "cmd/device.h"
#include "cmd/input.h"
#include "cmd/sources.h"
#include "cmd/summary.h"
#include "core/json.h"
#include "eval/generate.h"
#include "formats/open.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    pare_kv_form form; /* of the model's keys and values */
    cmd_cache_text cache_text;
    const cmd_args *args;
    pare_model model, reference;
    bool has_reference;
    cmd_devices devices;
    pare_tokenizer *tokenizer;
    pare_buf *texts;   /* [n] the prompts */
    pare_ids *prompts; /* [n] */
    pare_str *stops;   /* [n_stops] */
    size_t n, n_stops;
    pare_completion *written, *expected; /* [n] by the model, by the reference */
    bool streams;                        /* the text is printed as it comes */
    pare_buf tail;                       /* the start of a character whose rest has not come */
} job;

/* Print text that a model wrote: UTF-8 whatever it is, and nothing that a terminal acts on but line ends and tabs. With
 * `last` false the start of a character at the end is left for the next call; returns how much was taken. */
static size_t print_text(const char *text, size_t len, bool last)
{
    size_t i = 0;
    while (i < len) {
        char safe[32];
        bool whole;
        size_t n = pare_utf8_start(text + i, len - i, &whole);
        if (!whole && !last && n == len - i)
            break;
        if (!whole)
            fputs("\xef\xbf\xbd", stdout);
        else if (text[i] == '\n' || text[i] == '\t')
            putchar(text[i]);
        else
            fputs(pare_escape_text(safe, sizeof safe, text + i, n), stdout);
        i += n > 0 ? n : 1;
    }
    return i;
}

static pare_status take_text(size_t prompt, const char *bytes, size_t n, void *user, pare_error *err)
{
    job *j = user;
    (void)prompt;
    pare_status st = pare_buf_put(&j->tail, bytes, n, err);
    if (st != PARE_OK)
        return st;
    size_t taken = print_text(j->tail.data, j->tail.len, false);
    memmove(j->tail.data, j->tail.data + taken, j->tail.len - taken);
    j->tail.len -= taken;
    fflush(stdout);
    return PARE_OK;
}

static pare_status read_prompts(job *j, pare_error *err)
{
    size_t n_given = cmd_count(j->args, OPT_PROMPT), n_files = cmd_count(j->args, OPT_FILE);
    unsigned flags = cmd_has(j->args, OPT_NO_SPECIAL) ? 0 : PARE_TOKENIZE_SPECIAL;
    if ((j->n = n_given + n_files) == 0)
        return pare_fail(err, PARE_ERR_USAGE, "generate: no prompt: --prompt TEXT or --file FILE is needed");
    j->texts = calloc(j->n, sizeof *j->texts);
    j->prompts = calloc(j->n, sizeof *j->prompts);
    j->written = calloc(j->n, sizeof *j->written);
    j->expected = calloc(j->n, sizeof *j->expected);
    if (j->texts == NULL || j->prompts == NULL || j->written == NULL || j->expected == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu prompts", j->n);
    pare_status st = PARE_OK;
    for (size_t i = 0; i < j->n && st == PARE_OK; i++) {
        pare_buf *text = &j->texts[i];
        st = i < n_given ? pare_buf_puts(text, cmd_nth(j->args, OPT_PROMPT, i), err)
                         : cmd_read_all(cmd_nth(j->args, OPT_FILE, i - n_given), text, err);
        if (st == PARE_OK)
            st = pare_prompt_ids(j->tokenizer, &j->model.vocab,
                                 (pare_str){text->data != NULL ? text->data : "", text->len}, flags, &j->prompts[i],
                                 err);
    }
    return st;
}

static pare_status read_stops(job *j, pare_error *err)
{
    j->n_stops = cmd_count(j->args, OPT_STOP);
    if (j->n_stops > 0 && (j->stops = calloc(j->n_stops, sizeof *j->stops)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu stop strings", j->n_stops);
    for (size_t i = 0; i < j->n_stops; i++) {
        const char *text = cmd_nth(j->args, OPT_STOP, i);
        j->stops[i] = (pare_str){text, strlen(text)};
    }
    return PARE_OK;
}

static pare_status open_all(job *j, pare_error *err)
{
    const char *reference = cmd_text(j->args, OPT_REFERENCE);
    pare_kv_form *form = &j->form;
    int64_t bos = -1;
    pare_status st = cmd_devices_open(&j->devices, j->args, 1, err);
    if (st == PARE_OK)
        st = pare_model_open(&j->model, j->args->operands[0], PARE_OPEN_WEIGHTS, err);
    if (st == PARE_OK)
        st = cmd_open_tokenizer(&j->tokenizer, &j->model, &bos, err);
    if (st == PARE_OK && cmd_has_cache(j->args))
        st = cmd_cache_form(j->args, &j->model, form, err);
    if (st == PARE_OK && cmd_has_cache(j->args))
        st = cmd_cache_calibrate(&j->cache_text, j->args, &j->model, j->devices.backend[0], j->tokenizer, bos, 0, &form,
                                 1, err);
    if (st == PARE_OK && reference != NULL)
        st = pare_model_open(&j->reference, reference, PARE_OPEN_NO_VOCAB | PARE_OPEN_WEIGHTS, err);
    j->has_reference = reference != NULL;
    if (st == PARE_OK && j->has_reference && j->reference.arch == NULL)
        st = pare_arch_refuse_unknown(&j->reference, err);
    if (st == PARE_OK && j->has_reference && j->model.hp.n_vocab != j->reference.hp.n_vocab)
        st = pare_fail(err, PARE_ERR_USAGE,
                       "%s has a vocabulary of %" PRIu32 ", the reference %s one of %" PRIu32
                       ": they do not speak of the same tokens",
                       j->model.path, j->model.hp.n_vocab, j->reference.path, j->reference.hp.n_vocab);
    return st;
}

static pare_status write_with(job *j, const pare_model *m, bool stream, pare_completion *out, pare_error *err)
{
    const pare_generate_job with = {
        .m = m,
        .b = j->devices.backend[0],
        .tokenizer = j->tokenizer,
        .vocab = &j->model.vocab,
        .prompts = j->prompts,
        .n_prompts = j->n,
        .n_ctx = (uint32_t)cmd_number(j->args, OPT_CONTEXT),
        .form = m == &j->model && cmd_has_cache(j->args) ? &j->form : NULL,
        .max_tokens = (uint32_t)cmd_number(j->args, OPT_MAX_TOKENS),
        .temperature = cmd_real(j->args, OPT_TEMPERATURE),
        .seed = cmd_number(j->args, OPT_SEED),
        .stops = j->stops,
        .n_stops = j->n_stops,
        .text = stream ? take_text : NULL,
        .user = j,
    };
    pare_status st = pare_generate(&with, out, err);
    if (stream && st == PARE_OK) {
        print_text(j->tail.data, j->tail.len, true);
        putchar('\n');
    }
    return st;
}

/* What the model could not finish, said once a run. */
static void warn_of_the_context(const job *j)
{
    size_t n_cut = 0, n_unasked = 0;
    for (size_t i = 0; i < j->n; i++) {
        n_cut += j->written[i].ending == PARE_ENDS_BY_CONTEXT;
        n_unasked += j->written[i].ending == PARE_ENDS_UNASKED;
    }
    if (n_unasked > 0)
        cmd_warning("%zu of %zu prompts are as long as the context or longer: nothing was written behind them",
                    n_unasked, j->n);
    if (n_cut > 0)
        cmd_warning("%zu of %zu texts end because the context is full", n_cut, j->n);
}

/* The first token in which two texts differ; the number of tokens of both when they are the same. */
static uint32_t first_difference(const pare_completion *a, const pare_completion *b)
{
    uint32_t i = 0;
    while (i < a->n && i < b->n && a->ids[i] == b->ids[i])
        i++;
    return i;
}

static bool differ(const pare_completion *a, const pare_completion *b)
{
    uint32_t at = first_difference(a, b);
    return at < a->n || at < b->n || a->ending != b->ending;
}

/* Token `at` of a text as it is shown in a sentence. */
static pare_status describe(const job *j, const pare_completion *c, uint32_t at, pare_buf *out, pare_error *err)
{
    pare_buf text = {0};
    if (at >= c->n)
        return pare_buf_printf(out, err, "an end (%s)", pare_ending_name(c->ending));
    pare_status st = PARE_OK;
    if ((uint32_t)c->ids[at] < j->model.vocab.n_tokens)
        st = pare_detokenize(j->tokenizer, c->ids[at], true, &text, err);
    if (st == PARE_OK)
        st = pare_buf_printf(out, err, "'%s' (leads by %.3g)", cmd_safe(text.data != NULL ? text.data : "", text.len),
                             (double)c->lead[at]);
    pare_buf_close(&text);
    return st;
}

static pare_status print_difference(const job *j, size_t i, pare_error *err)
{
    const pare_completion *ours = &j->written[i], *theirs = &j->expected[i];
    pare_buf a = {0}, b = {0};
    if (!differ(ours, theirs)) {
        printf("reference: the same %" PRIu32 " tokens\n", ours->n);
        return PARE_OK;
    }
    uint32_t at = first_difference(ours, theirs);
    pare_status st = describe(j, ours, at, &a, err);
    if (st == PARE_OK)
        st = describe(j, theirs, at, &b, err);
    if (st == PARE_OK) {
        printf("reference: first differs at token %" PRIu32 ": %s here, %s there:\n", at, a.data, b.data);
        print_text(theirs->text.data, theirs->text.len, true);
        putchar('\n');
    }
    pare_buf_close(&a);
    pare_buf_close(&b);
    return st;
}

static pare_status report_text(const job *j, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < j->n && st == PARE_OK; i++) {
        if (!j->streams) {
            printf("%sprompt %zu: %s\n", i > 0 ? "\n" : "", i,
                   cmd_safe(j->texts[i].data != NULL ? j->texts[i].data : "", j->texts[i].len));
            print_text(j->written[i].text.data, j->written[i].text.len, true);
            putchar('\n');
        }
        if (j->has_reference)
            st = print_difference(j, i, err);
    }
    return st;
}

static pare_status put_completion(json_t *row, const pare_completion *c, pare_error *err)
{
    pare_buf text = {0};
    json_t *ids = json_array(), *leads = json_array();
    pare_status st = pare_buf_put_utf8(&text, c->text.data, c->text.len, err);
    json_object_set_new(row, "text", json_stringn(text.data != NULL ? text.data : "", text.len));
    for (uint32_t i = 0; i < c->n; i++) {
        json_array_append_new(ids, json_integer(c->ids[i]));
        json_array_append_new(leads, pare_json_float(c->lead[i]));
    }
    json_object_set_new(row, "ids", ids);
    json_object_set_new(row, "leads", leads);
    json_object_set_new(row, "ending", json_string(pare_ending_name(c->ending)));
    pare_buf_close(&text);
    return st;
}

static pare_status report_json(const job *j, double seconds, pare_error *err)
{
    json_t *doc = json_object(), *rows = json_array();
    pare_status st = PARE_OK;
    uint64_t n_tokens = 0;
    for (size_t i = 0; i < j->n && st == PARE_OK; i++) {
        json_t *row = json_object();
        json_array_append_new(rows, row);
        json_object_set_new(row, "prompt", cmd_json_text(j->texts[i].data, j->texts[i].len));
        cmd_json_u64(row, "n_prompt_tokens", j->prompts[i].n);
        st = put_completion(row, &j->written[i], err);
        n_tokens += j->written[i].n;
        if (st != PARE_OK || !j->has_reference)
            continue;
        json_t *reference = json_object();
        json_object_set_new(row, "reference", reference);
        st = put_completion(reference, &j->expected[i], err);
        if (differ(&j->written[i], &j->expected[i]))
            cmd_json_u64(row, "first_difference", first_difference(&j->written[i], &j->expected[i]));
    }
    json_object_set_new(doc, "texts", rows);
    if (st == PARE_OK && cmd_has_cache(j->args))
        st = cmd_cache_json(doc, &j->form, &j->model, err);
    cmd_cache_text_json(doc, &j->cache_text);
    json_object_set_new(doc, "device", json_string(j->devices.name));
    json_object_set_new(doc, "compute", json_string(j->devices.backend[0]->compute));
    cmd_json_real(doc, "tokens_per_second", seconds > 0 ? (double)n_tokens / seconds : 0);
    cmd_json_resources(doc);
    if (st == PARE_OK)
        return cmd_print_json(j->args, doc, err);
    json_decref(doc);
    return st;
}

static pare_status run(job *j, pare_error *err)
{
    bool as_json = cmd_has(j->args, OPT_JSON);
    pare_status st = open_all(j, err);
    if (st == PARE_OK)
        st = read_stops(j, err);
    if (st == PARE_OK)
        st = read_prompts(j, err);
    if (st != PARE_OK)
        return st;
    j->streams = j->n == 1 && !as_json;
    double start = cmd_seconds();
    st = write_with(j, &j->model, j->streams, j->written, err);
    double seconds = cmd_seconds() - start;
    if (st == PARE_OK && j->has_reference)
        st = write_with(j, &j->reference, false, j->expected, err);
    if (st == PARE_OK && (st = cmd_sources_check(j->args, &j->model, err)) == PARE_OK)
        st = pare_model_check_files(&j->reference, err);
    if (st != PARE_OK)
        return st;
    st = as_json ? report_json(j, seconds, err) : report_text(j, err);
    warn_of_the_context(j);
    return st;
}

pare_status cmd_generate(const cmd_args *args, pare_error *err)
{
    job j = {.args = args};
    pare_status st = cmd_cache_check(args, err);
    if (st == PARE_OK)
        st = run(&j, err);
    for (size_t i = 0; i < j.n; i++) {
        if (j.texts != NULL)
            pare_buf_close(&j.texts[i]);
        if (j.prompts != NULL)
            free(j.prompts[i].ids);
        if (j.written != NULL)
            pare_completion_close(&j.written[i]);
        if (j.expected != NULL)
            pare_completion_close(&j.expected[i]);
    }
    free(j.texts);
    free(j.prompts);
    free(j.written);
    free(j.expected);
    free(j.stops);
    pare_buf_close(&j.tail);
    pare_tokenizer_close(j.tokenizer);
    cmd_cache_text_close(&j.cache_text);
    cmd_devices_close(&j.devices); /* before the models whose weights it may hold */
    pare_model_close(&j.model);
    pare_model_close(&j.reference);
    return st;
}
