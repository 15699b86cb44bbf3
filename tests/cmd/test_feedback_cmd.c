/* imatrix --full and what quantize does with it, as a user types them. */
#include "cli.h"

#include <math.h>
#include <string.h>

/* 640 tokens for up to 512 columns; one window of 128 is too few for any. */
static int collect_once(void **state)
{
    (void)state;
    cli_expect(0, "head -c 5000 $TEXT >short.txt && $PARE convert $DEMO -o demo.gguf -q && "
                  "$PARE imatrix demo.gguf -f $TEXT -c 128 --chunks 5 --full -o full.gguf -q && "
                  "$PARE imatrix demo.gguf -f $TEXT -c 128 --chunks 1 --full -o few.gguf -q && "
                  "$PARE imatrix demo.gguf -f $TEXT -c 128 --chunks 1 --output-weight -o plain.gguf -q");
    return 0;
}

/* The same quantity of statistics in whatever way it is collected, beside what there is without --full. */
static void collects_on_request(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE inspect few.gguf --tensors --metadata");
    CHECK(cli_contains(r.out, "blk.0.attn_k.weight.in_gram") && cli_contains(r.out, "output.weight.in_gram"));
    CHECK(cli_contains(r.out, "pare.imatrix.same_inputs"));
    CHECK(strstr(r.out, "blk.0.attn_q.weight.in_gram") == NULL); /* has those of attn_k */
    r = cli_expect(0, "$PARE inspect plain.gguf --tensors --metadata");
    CHECK(strstr(r.out, "in_gram") == NULL && strstr(r.out, "same_inputs") == NULL);
    cli_expect(0,
               "for f in few plain; do $PARE inspect $f.gguf --tensors | grep 'in_sum\\|counts' | "
               "sed 's/ *[0-9]*$//' >$f.txt; done; test -s few.txt && cmp few.txt plain.txt >&2; rm few.txt plain.txt");
    cli_expect(0, "$PARE imatrix demo.gguf -f $TEXT -c 128 --chunks 1 --full --full-memory 1M -j 1 -o again.gguf -q && "
                  "cmp few.gguf again.gguf >&2");
    cli_expect(0, "$PARE imatrix demo.gguf -f $TEXT -c 128 --chunks 1 --full -j 7 -o again.gguf -q --force && "
                  "cmp few.gguf again.gguf >&2 && rm again.gguf");
    cli_expect(2, "$PARE imatrix demo.gguf -f $TEXT --full --full-memory much -o again.gguf");
    cli_expect(0, "test ! -e again.gguf");
}

static void files_add_up_if_all_are_full(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE imatrix demo.gguf -f $TEXT -c 128 --chunks 1 --full --in few.gguf -o sum.gguf");
    CHECK(r.err[0] == '\0' || strstr(r.err, "warning") == NULL);
    CHECK(cli_contains(cli_expect(0, "$PARE inspect sum.gguf --tensors").out, "blk.1.ffn_down.weight.in_gram"));
    static const char *const mixed[] = {"--full --in plain.gguf", "--in few.gguf"};
    for (int i = 0; i < 2; i++) {
        r = cli_expect(0, "$PARE imatrix demo.gguf -f $TEXT -c 128 --chunks 1 %s -o sum.gguf --force", mixed[i]);
        CHECK(cli_contains(r.err, "hold the same second-order ones (--full): the sum has none"));
        CHECK(strstr(cli_expect(0, "$PARE inspect sum.gguf --tensors").out, "in_gram") == NULL);
    }
    cli_expect(3, "$PARE imatrix demo.gguf -f $TEXT -c 128 --chunks 1 --in few.gguf -o no.gguf --strict");
    cli_expect(0, "test ! -e no.gguf && rm sum.gguf");
}

static void quantize_takes_what_there_is(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE quantize demo.gguf -t q4_0 --pure --imatrix full.gguf -o a.gguf -j 1 --json");
    json_t *doc = cli_json(&r), *row;
    size_t i, n = 0;
    double logs = 0;
    CHECK(r.err[0] == '\0' && cli_number(doc, "n_feedback") == 16 && cli_number(doc, "n_without_feedback") == 0);
    json_array_foreach(json_object_get(doc, "tensors"), i, row)
    {
        const json_t *left = json_object_get(row, "feedback");
        n += left != NULL;
        logs += left != NULL ? log(json_number_value(left)) : 0;
    }
    CHECK(n == 16 && fabs(cli_number(doc, "feedback_ratio") - exp(logs / 16)) < 1e-9);
    CHECK(cli_number(doc, "feedback_ratio") > 0.05 && cli_number(doc, "feedback_ratio") < 0.8);
    json_decref(doc);
    cli_expect(0, "$PARE quantize demo.gguf -t q4_0 --pure --imatrix full.gguf -o b.gguf -j 7 --method feedback -q && "
                  "cmp a.gguf b.gguf >&2");
    r = cli_expect(
        0, "$PARE quantize demo.gguf -t q4_0 --pure --imatrix full.gguf -o b.gguf --method search --json --force");
    doc = cli_json(&r);
    CHECK(cli_number(doc, "n_feedback") == 0 && cli_number(doc, "n_without_feedback") == 0);
    CHECK(json_object_get(doc, "feedback_ratio") == NULL);
    json_decref(doc);
    cli_expect(0, "$PARE quantize demo.gguf -t q4_0 --pure --imatrix full.gguf -o b.gguf --refit no -q --force && "
                  "test $(cmp -l a.gguf b.gguf | wc -l) -gt 200 && test $(cmp -l a.gguf b.gguf | wc -l) -le 1024");
    cli_expect(0, "! cmp -s a.gguf b.gguf && test $(stat -c %%s a.gguf) = $(stat -c %%s b.gguf)");
    r = cli_expect(0, "$PARE quantize demo.gguf -t q4_0 --tensor 'ffn=f16' --output-type f16 --embedding-type f16 "
                      "--imatrix full.gguf -o b.gguf --effort best --refit yes --force; rm a.gguf b.gguf");
    CHECK(cli_contains(r.err,
                       "--refit yes: the gains of the first norm stay: the embedding is not encoded with feedback"));
    CHECK(cli_contains(r.out, "8 tensors were encoded with feedback, which left 0."));
}

/* What has no statistics, or too few tokens, has the bytes of --method search. */
static void without_enough_tokens_it_is_a_search(void **state)
{
    (void)state;
    static const char to[] = "-t q4_0 --embedding-type f16"; /* whose rows need no tokens */
    cli_expect(0, "$PARE quantize demo.gguf %s --imatrix few.gguf --method search -o search.gguf -q", to);
    cli_result r = cli_expect(0, "$PARE quantize demo.gguf %s --imatrix few.gguf -o few-q.gguf --json", to);
    CHECK(cli_contains(r.err, "few.gguf: tensor 'blk.0.attn_k.weight': 128 tokens are too few for the products of 256 "
                              "columns; it and those with the same inputs are encoded without feedback"));
    CHECK(cli_contains(r.err, "tensor 'output.weight': 128 tokens are too few for the products of 256 columns"));
    CHECK(cli_count_lines(r.err) == 9);
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_feedback") == 0 && cli_number(doc, "n_without_feedback") == 15);
    json_decref(doc);
    cli_expect(0, "cmp search.gguf few-q.gguf >&2; rm few-q.gguf");
    r = cli_expect(3, "$PARE quantize demo.gguf %s --imatrix few.gguf -o few-q.gguf --strict", to);
    CHECK(cli_contains(r.err, "128 tokens are too few") && cli_count_lines(r.err) == 1);
    cli_expect(0, "test ! -e few-q.gguf");
    CHECK(cli_count_temporaries() == 0);
    cli_expect(0,
               "$PARE quantize demo.gguf %s --imatrix plain.gguf -o a.gguf -q && "
               "$PARE quantize demo.gguf %s --imatrix plain.gguf --method search -o b.gguf -q && "
               "cmp a.gguf b.gguf >&2; rm a.gguf b.gguf search.gguf",
               to, to);
}

static void refused(int code, const char *model, const char *options, const char *why)
{
    cli_result r = cli_expect(code, "mkdir out; $PARE quantize %s -t q4_0 -o out/q.gguf %s", model, options);
    if (!cli_contains(r.err, why))
        fail_msg("%s", options);
    cli_expect(0, "rmdir out"); /* nothing is left in it */
}

static void what_cannot_be_done_is_said_first(void **state)
{
    (void)state;
    static const char needs[] =
        "--method feedback needs second-order statistics: collect them with pare imatrix --full";
    refused(2, "demo.gguf", "--method feedback", needs);
    refused(2, "demo.gguf", "--method feedback --imatrix plain.gguf", needs);
    refused(3, source_path("tests/families/granitemoe"), "--imatrix full.gguf", "they are of another model");
    cli_result r = cli_expect(0, "$PARE quantize demo.gguf -t q4_0 -o out.gguf --imatrix full.gguf --dry-run --json");
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_feedback") == 0 && json_is_true(json_object_get(doc, "dry_run")));
    CHECK(json_object_get(doc, "feedback_ratio") == NULL);
    json_decref(doc);
    cli_expect(0, "test ! -e out.gguf");
    /* a file that may be no larger stands for a disk that is full; the spool of all tensors is about 1 MB */
    r = cli_expect(5, "mkdir out; (ulimit -f 900; $PARE quantize demo.gguf -t q4_0 --imatrix full.gguf -o out/q.gguf "
                      "-v)");
    CHECK(cli_contains(r.err, "out/q.gguf.pare-state: cannot ") && cli_contains(r.err, "File too large"));
    CHECK(strstr(r.err, "feedback: tensor 1 of") == NULL);
    cli_expect(0, "rmdir out");
}

/* A triangle whose numbers make no sense: the one of attn_k lies behind its sums. */
static void odd_numbers_are_named(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE inspect full.gguf --json");
    json_t *doc = cli_json(&r), *row;
    size_t i;
    long offset = 0;
    json_array_foreach(json_object_get(doc, "tensors"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (strcmp(name, "blk.0.attn_k.weight.in_gram") == 0)
            offset = (long)cli_number(row, "offset");
    }
    json_decref(doc);
    CHECK(offset > 0);
    cli_expect(0,
               "cp full.gguf nan.gguf && printf '\\0\\0\\300\\177' | dd of=nan.gguf bs=1 seek=%ld conv=notrunc "
               "2>/dev/null",
               offset + 4 * (5 * 6 / 2 + 2));
    refused(3, "demo.gguf", "--imatrix nan.gguf",
            "nan.gguf: tensor 'blk.0.attn_k.weight': the mean product of columns 5 and 2 is nan; it must be finite");
    for (int n = 100000; n < 1400000; n += 400000) {
        cli_expect(0, "head -c %d full.gguf >nan.gguf", n);
        refused(3, "demo.gguf", "--imatrix nan.gguf", "nan.gguf: ");
    }
    cli_expect(0, "rm nan.gguf");
}

/* Stop a run by a signal once it has three tensors, if it is not done by then. Returns its exit code. */
static int stop_by(const char *signal, const char *options)
{
    cli_result r = cli_run(
        "mkdir out; env --default-signal=INT $PARE quantize demo.gguf --imatrix full.gguf %s -j 1 -v -o out/q.gguf "
        "2>log & until grep -q 'tensor 4 of' log || ! kill -0 $! 2>/dev/null; do sleep 0.01; done; "
        "kill -%s $!; wait $!",
        options, signal);
    return r.code;
}

static void a_stopped_run_goes_on(void **state)
{
    (void)state;
    static const char *const signals[] = {"INT", "KILL"};
    static const char options[] = "-t q4_0 --output-type f16 --effort best";
    static const char again[] =
        "$PARE quantize demo.gguf -t q4_0 --output-type f16 --imatrix full.gguf --effort best -o out/q.gguf --json";
    cli_expect(0,
               "$PARE quantize demo.gguf %s --imatrix full.gguf -o whole.gguf -q --json | "
               "sed '/output\\|name\\|seconds\\|rss\\|resumed/d' >whole.json",
               options);
    for (int i = 0; i < 2; i++) {
        int code = stop_by(signals[i], options);
        if (code == 0) { /* it was faster */
            cli_expect(0, "rm -r out log");
            continue;
        }
        CHECK(code == (i == 0 ? 130 : 137));
        if (i == 0)
            cli_expect(0, "grep -q 'error: interrupted; [0-9]* of [0-9]* tensors are kept in out/q.gguf.pare-state: "
                          "--resume goes on from there' log");
        cli_expect(0, "test $(ls out) = q.gguf.pare-state");
        cli_result r = cli_expect(2, "%s", again);
        CHECK(cli_contains(r.err, "out/q.gguf.pare-state: an unfinished quantization: --resume goes on with it, "
                                  "--force drops it"));
        r = cli_expect(2, "%s --resume --method search", again);
        CHECK(cli_contains(
            r.err,
            "out/q.gguf.pare-state: belongs to another run: this one encodes nothing with feedback; --force drops it"));
        r = cli_expect(2, "%s --resume --embedding-type q8_0", again);
        CHECK(cli_contains(r.err, "and this one '--embedding-type q8_0'; --force drops it"));
        cli_expect(0, "test $(ls out) = q.gguf.pare-state");
        r = cli_expect(0, "%s --resume -j 7 | sed '/output\\|name\\|seconds\\|rss\\|resumed/d' >log", again);
        CHECK(cli_contains(r.err, "tensors were encoded before"));
        cli_expect(0, "cmp out/q.gguf whole.gguf && cmp log whole.json && test $(ls out) = q.gguf && rm -r out log");
    }
    cli_expect(0, "rm whole.gguf whole.json");
}

/* The disk (a file that may be no larger stands for it) takes the state and not the model. */
static void a_full_disk_keeps_what_was_encoded(void **state)
{
    (void)state;
    static const char run[] = "$PARE quantize demo.gguf -t q4_0 --imatrix full.gguf --tensor ffn=f32 -o q.gguf -q";
    cli_expect(0, "%s && mv q.gguf whole.gguf", run);
    cli_result r = cli_expect(5, "(ulimit -f $(($(stat -c %%s whole.gguf) / 1024)); %s)", run);
    CHECK(cli_contains(r.err, "q.gguf: cannot ") && cli_contains(r.err, "tensors are kept in q.gguf.pare-state"));
    r = cli_expect(2, "%s --resume", "$PARE quantize demo.gguf -t q4_0 --imatrix few.gguf --tensor ffn=f32 -o q.gguf");
    CHECK(cli_contains(r.err, "was encoded from other weights or statistics; --force drops it"));
    CHECK(strstr(r.err, "goes on from there") == NULL);
    /* tensors that were not looked at are kept like the others */
    r = cli_expect(3,
                   "cp q.gguf.pare-state kept && printf '\\377\\377\\377' | dd of=q.gguf.pare-state bs=1 seek=5000 "
                   "conv=notrunc 2>/dev/null; %s --resume --strict",
                   run);
    CHECK(cli_contains(r.err, "is damaged") && cli_contains(r.err, "; 9 of 10 tensors are kept in q.gguf.pare-state"));
    cli_expect(0, "mv kept q.gguf.pare-state");
    /* the same in other words */
    r = cli_expect(0, "$PARE quantize demo.gguf --tensor ffn=f32 --method feedback --resume -o q.gguf --refit yes "
                      "--effort default --json --imatrix full.gguf --type Q4_0; cmp q.gguf whole.gguf >&2; "
                      "test ! -e q.gguf.pare-state && rm q.gguf whole.gguf");
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_feedback") > 0 && cli_number(doc, "n_resumed") == cli_number(doc, "n_feedback"));
    json_decref(doc);
}

/* The same types and bytes in number, others in value; the same for any number of threads, and for a run that goes on
 * with what another one had. */
static void sequential_takes_errors_back(void **state)
{
    (void)state;
    static const char run[] =
        "$PARE quantize demo.gguf -t q4_0 --imatrix full.gguf --sequential short.txt --tensor ffn=f32 "
        "--output-type f16";
    cli_result r =
        cli_expect(0, "%s -o a.gguf -j 1 && %s -o b.gguf -j 3 --refit yes && cmp a.gguf b.gguf >&2", run, run);
    CHECK(cli_contains(r.err, "--refit yes: the gains of the first norm stay: with --sequential"));
    cli_expect(
        0,
        "$PARE quantize demo.gguf -t q4_0 --imatrix full.gguf --tensor ffn=f32 --output-type f16 -q -o other.gguf && "
        "! cmp -s other.gguf a.gguf && test $(stat -c %%s a.gguf) = $(stat -c %%s other.gguf)");
    r = cli_expect(5, "(ulimit -f $(($(stat -c %%s a.gguf) / 1024)); %s -o q.gguf)", run);
    CHECK(cli_contains(r.err, "tensors are kept in q.gguf.pare-state"));
    r = cli_expect(
        2, "$PARE quantize demo.gguf -t q4_0 --imatrix full.gguf --tensor ffn=f32 --output-type f16 -q --resume -o "
           "q.gguf");
    CHECK(cli_contains(r.err, "q.gguf.pare-state: belongs to another run"));
    cli_expect(0, "%s --resume -o q.gguf && cmp a.gguf q.gguf >&2; rm a.gguf b.gguf q.gguf other.gguf", run);
    refused(2, "demo.gguf", "--sequential short.txt", "--sequential needs second-order statistics");
    refused(2, "demo.gguf", "--imatrix full.gguf --sequential short.txt --method search",
            "--sequential is a way of feedback, which --method search is not");
    refused(3, "demo.gguf", "--imatrix full.gguf --sequential nothing.txt", "nothing.txt");
    refused(2, "demo.gguf", "--imatrix full.gguf --sequential -", "error: -: the text has ");
}

/* Interrupted between layers: what goes on has the streams of the kept matrices, and the same bytes. */
static void a_stopped_sequential_run_goes_on(void **state)
{
    (void)state;
    static const char options[] = "-t q4_0 --output-type f16 --sequential short.txt";
    cli_expect(0, "$PARE quantize demo.gguf --imatrix full.gguf %s -q --pin -o whole.gguf", options);
    cli_result r = cli_expect(0, "cat pare.lock && rm pare.lock SHA256SUMS");
    json_t *doc = cli_json(&r);
    CHECK(json_is_true(json_object_get(json_object_get(doc, "recipe"), "bytes_by_cpu")));
    json_decref(doc);
    int code = stop_by("INT", options);
    if (code != 0) { /* or it was faster */
        CHECK(code == 130);
        cli_expect(0, "grep -q 'error: interrupted; [0-9]* of [0-9]* tensors are kept in out/q.gguf.pare-state' log && "
                      "test $(ls out) = q.gguf.pare-state");
        r = cli_expect(
            2, "$PARE quantize demo.gguf --imatrix full.gguf -t q4_0 --output-type f16 -q --resume -o out/q.gguf");
        CHECK(cli_contains(r.err, "out/q.gguf.pare-state: belongs to another run"));
        /* the text by another way: it is known by what it says */
        r = cli_expect(0, "cat short.txt | $PARE quantize demo.gguf --imatrix full.gguf -t q4_0 --output-type f16 "
                          "--sequential - --pin --json "
                          "--resume -o out/q.gguf");
        doc = cli_json(&r);
        CHECK(cli_number(doc, "n_resumed") >= 3 && cli_number(doc, "n_resumed") < cli_number(doc, "n_feedback"));
        CHECK(cli_number(doc, "n_sequential") > 0);
        json_decref(doc);
        cli_expect(0, "grep -q $(sha256sum <short.txt | cut -c1-64) out/pare.lock && rm out/pare.lock out/SHA256SUMS");
    }
    cli_expect(0, "cmp out/q.gguf whole.gguf >&2 && test $(ls out) = q.gguf && rm -r out log whole.gguf");
}

/* Windows are no longer than what the model was trained for. */
static void sequential_windows_suit_the_model(void **state)
{
    (void)state;
    const char *model = shared_path("oracle/models/gpt2");
    cli_expect(0, "$PARE imatrix %s -f $TEXT -c 64 --chunks 10 --full -o short.gguf -q", model);
    cli_result r = cli_expect(0,
                              "$PARE quantize %s -t q4_0 --imatrix short.gguf --sequential short.txt -o q.gguf --json "
                              "&& rm q.gguf",
                              model);
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_sequential") > 4);
    json_decref(doc);
    cli_expect(0, "rm short.gguf");
}

static void force_drops_what_was_kept(void **state)
{
    (void)state;
    static const char run[] = "$PARE quantize demo.gguf -t q4_0 --output-type f16 --embedding-type f16 --imatrix "
                              "full.gguf -o q.gguf -q";
    cli_expect(0, "echo no state >q.gguf.pare-state");
    cli_result r = cli_expect(3, "%s --resume", run);
    CHECK(cli_contains(r.err, "q.gguf.pare-state: offset 0: holds no state of an unfinished pare quantize"));
    cli_expect(0,
               "test -s q.gguf.pare-state && %s --dry-run && test -s q.gguf.pare-state && %s --force && "
               "test ! -e q.gguf.pare-state",
               run, run);
    r = cli_expect(
        0, "$PARE quantize demo.gguf -t q4_0 --output-type f16 --embedding-type f16 --imatrix full.gguf -o q.gguf "
           "--resume --force");
    CHECK(cli_contains(r.err, "q.gguf.pare-state: is not there: nothing to resume, all tensors are encoded"));
    r = cli_expect(2, "cp full.gguf q.gguf.pare-state; $PARE quantize demo.gguf -t q4_0 --imatrix q.gguf.pare-state -o "
                      "q.gguf --force");
    CHECK(cli_contains(r.err, "q.gguf.pare-state: the output is an input"));
    cli_expect(2, "$PARE quantize demo.gguf -t q4_0 -o q.gguf --force --pin --lock q.gguf.pare-state");
    cli_expect(0, "cmp full.gguf q.gguf.pare-state");
    cli_expect(0,
               "echo no state >q.gguf.pare-state; %s --force --method search && test ! -e q.gguf.pare-state && "
               "rm q.gguf",
               run);
}

/* Experts share the products of all their tokens. */
static void a_mixture_goes_through(void **state)
{
    (void)state;
    const char *model = shared_path("oracle/models/mixtral");
    cli_expect(0, "$PARE imatrix %s -f $TEXT -c 64 --chunks 4 --full -o experts.gguf -q", model);
    cli_result r = cli_expect(0, "$PARE quantize %s -t q4_0 --imatrix experts.gguf -o a.gguf -j 1 --json", model);
    json_t *doc = cli_json(&r), *row;
    size_t i, n = 0;
    json_array_foreach(json_object_get(doc, "tensors"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (strstr(name, "_exps") == NULL)
            continue;
        CHECK(cli_number(row, "feedback") > 0 && cli_number(row, "feedback") < 0.95);
        n++;
    }
    CHECK(n == 6);
    json_decref(doc);
    cli_expect(0,
               "$PARE quantize %s -t q4_0 --imatrix experts.gguf -o b.gguf -j 7 -q && cmp a.gguf b.gguf >&2; "
               "rm a.gguf b.gguf experts.gguf",
               model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collects_on_request),
        cmocka_unit_test(files_add_up_if_all_are_full),
        cmocka_unit_test(quantize_takes_what_there_is),
        cmocka_unit_test(without_enough_tokens_it_is_a_search),
        cmocka_unit_test(what_cannot_be_done_is_said_first),
        cmocka_unit_test(odd_numbers_are_named),
        cmocka_unit_test(a_stopped_run_goes_on),
        cmocka_unit_test(a_full_disk_keeps_what_was_encoded),
        cmocka_unit_test(sequential_takes_errors_back),
        cmocka_unit_test(a_stopped_sequential_run_goes_on),
        cmocka_unit_test(sequential_windows_suit_the_model),
        cmocka_unit_test(force_drops_what_was_kept),
        cmocka_unit_test(a_mixture_goes_through),
    };
    return cmocka_run_group_tests(tests, collect_once, NULL);
}
