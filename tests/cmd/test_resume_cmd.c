#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* Two texts; the second one comes through a pipe where a test needs the run to wait. */
#define CPU "eval demo.gguf -c 32 --device cpu -q --reference $DEMO "
#define CUDA "eval demo.gguf -f text.txt -c 8 --chunks 4 --batch 8 --device cuda -q "

static int make_model(void **state)
{
    (void)state;
    cli_expect(0, "$PARE quantize $DEMO -t q4_k_m -o demo.gguf -q && head -c 1500 $TEXT >short.txt && "
                  "head -c 4000 $TEXT >text.txt");
    setenv("PARE_CUDA_PLUGIN", PARE_BINARY_DIR "/pare-cuda-emulated.so", 1);
    return 0;
}

/* A record without what it says of the runs that made it. Owned by the caller. */
static json_t *measured(const char *name)
{
    static const char *const of_the_runs[] = {"tool", "time", "resumed", "digest", "seal"};
    cli_result r = cli_expect(0, "cat %s", name);
    json_t *doc = cli_json(&r);
    for (size_t i = 0; i < sizeof of_the_runs / sizeof of_the_runs[0]; i++)
        json_object_del(doc, of_the_runs[i]);
    json_object_del(json_object_get(doc, "items"), "name");
    return doc;
}

static void is_the_whole(const char *name, const char *whole)
{
    json_t *a = measured(name), *b = measured(whole);
    CHECK(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    cli_expect(0, "$PARE verify %s && cmp $(basename %s .json).jsonl $(basename %s .json).jsonl", name, name, whole);
    cli_expect(1, "ls | grep unfinished");
    CHECK(cli_count_temporaries() == 0);
}

/* Run `options` until standard input, the second text, is read, and send a signal then: the first text is measured.
 * What is written into the pipe first is more than it holds, so that the writer waits for the reader. */
static cli_result interrupt(int code, const char *options)
{
    return cli_expect(
        code,
        "rm -f pipe; mkfifo pipe; env --default-signal=INT,TERM $PARE " CPU "-f short.txt -f - %s <pipe & p=$!; "
        "{ head -c 65537 /dev/zero | tr '\\0' a; kill -%s $p; cat text.txt; } >pipe 2>quiet & w=$!; wait $p; code=$?;"
        " kill $w 2>quiet; exit $code",
        options, code == 143 ? "TERM" : "INT");
}

static void an_interrupted_run_goes_on(void **state)
{
    (void)state;
    cli_expect(0, "rm -f second.txt; cp text.txt second.txt; $PARE " CPU
                  "-f short.txt -f second.txt --worst 3 --json --record whole.json >whole.out");
    cli_result r = interrupt(130, "--record run.json --worst 3");
    CHECK(cli_contains(r.err, "windows are kept in run.unfinished.json: --resume goes on from there"));
    CHECK(cli_count_lines(r.err) == 1 && cli_count_temporaries() == 0);
    cli_expect(1, "test -e run.json -o -e run.jsonl");
    r = cli_expect(0, "$PARE verify run.unfinished.json");
    CHECK(cli_contains(r.out, "record: ok") && cli_contains(r.out, "figures: ok"));
    cli_expect(0, "cp run.unfinished.json kept.json");
    /* a second break before anything new was measured leaves what there was */
    interrupt(143, "--record run.json --worst 3 --resume");
    cli_expect(0, "cmp run.unfinished.json kept.json && rm kept.json");
    r = cli_expect(0, "$PARE " CPU "-f short.txt -f second.txt --worst 3 --json --record run.json --resume && "
                      "sed '/seconds\\|tokens_per\\|rss/d' whole.out >w && cp .stdout r");
    cli_expect(0, "sed '/seconds\\|tokens_per\\|rss/d' r | cmp - w"); /* the list of worst tokens, too */
    r = cli_expect(0, "cat run.json");
    json_t *doc = cli_json(&r), *resumed = json_object_get(doc, "resumed");
    CHECK(json_array_size(resumed) == 1 && json_object_get(json_array_get(resumed, 0), "tool") != NULL);
    json_decref(doc);
    is_the_whole("run.json", "whole.json");
}

static void a_lost_device_keeps_what_was_measured(void **state)
{
    (void)state;
    int n_launches = 90;
    cli_result r;
    cli_expect(0, "$PARE " CUDA "--record gpu_whole.json");
    for (; n_launches < 100000; n_launches += n_launches / 2) { /* until at least a window of the four gets through */
        r = cli_expect(6, "PARE_EMULATE_LOST=%d $PARE " CUDA "--record gpu.json", n_launches);
        if (strstr(r.err, "kept in gpu.unfinished.json") != NULL)
            break;
    }
    CHECK(cli_contains(r.err, "the device is lost") && cli_count_lines(r.err) == 1);
    cli_expect(0, "$PARE verify gpu.unfinished.json");
    r = cli_run("$PARE eval demo.gguf -f text.txt -c 8 --chunks 4 --device cpu -q --record gpu.json --resume");
    CHECK(r.code == 2 &&
          cli_contains(r.err, "'settings.compute' is not that of this run (\"bf16\", and there \"f32\")"));
    /* in larger batches: what is no whole one is measured again */
    cli_expect(
        0, "cp gpu.unfinished.jsonl batch.unfinished.jsonl && cp gpu.unfinished.json a && "
           "$PARE eval demo.gguf -f text.txt -c 8 --chunks 4 --batch 24 --device cuda -q --record gpu.json --resume && "
           "$PARE verify gpu.json && cmp gpu.jsonl gpu_whole.jsonl && rm gpu.json gpu.jsonl && "
           "mv a gpu.unfinished.json && mv batch.unfinished.jsonl gpu.unfinished.jsonl");
    cli_expect(0, "$PARE " CUDA "--record gpu.json --resume");
    is_the_whole("gpu.json", "gpu_whole.json");
}

static void another_job_is_refused_by_the_member_that_differs(void **state)
{
    static const char *const rows[][2] = {
        {"eval demo.gguf -c 16 --reference $DEMO -f short.txt -f second.txt", "'settings.n_ctx'"},
        {"eval demo.gguf -c 32 --reference $DEMO -f short.txt -f second.txt --seed 9", "'settings.seed'"},
        {"eval demo.gguf -c 32 --reference $DEMO -f short.txt -f second.txt --chunks 4", "'settings.chunks'"},
        {"eval demo.gguf -c 32 --reference $DEMO -f short.txt -f second.txt --chunk-range 1:3", "'chunk_range'"},
        {"eval demo.gguf -c 32 --reference $DEMO -f short.txt -f second.txt --compute ggml", "'settings.compute'"},
        {"eval demo.gguf -c 32 -f short.txt -f second.txt", "'reference'"},
        {"eval demo.gguf -c 32 --reference demo.gguf -f short.txt -f second.txt", "'reference.sha256'"},
        {"eval $DEMO -c 32 --reference $DEMO -f short.txt -f second.txt", "'model.sha256'"},
        {"eval demo.gguf -c 32 --reference $DEMO -f second.txt -f short.txt", "'texts[0].sha256'"},
    };
    (void)state;
    interrupt(130, "--record job.json");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cli_result r = cli_expect(2, "$PARE %s --device cpu -q --record job.json --resume", rows[i][0]);
        CHECK(cli_contains(r.err, rows[i][1]) && cli_contains(r.err, "not that of this run"));
        CHECK(cli_count_lines(r.err) == 2);
    }
    CHECK(cli_contains(
        cli_expect(2, "$PARE eval demo.gguf -c 32 --reference $DEMO -f short.txt -f second.txt --device cuda "
                      "--compute f32 -q --record job.json --resume")
            .err,
        "'machine.device'"));
    cli_expect(0, "$PARE verify job.unfinished.json");
    CHECK(cli_count_temporaries() == 0);
}

static void a_damaged_part_is_refused(void **state)
{
    (void)state;
    cli_expect(0, "cp job.unfinished.json a && cp job.unfinished.jsonl b && "
                  "sed -i 's/\"first\":16/\"first\":17/' job.unfinished.jsonl");
    CHECK(cli_contains(cli_expect(3, "$PARE " CPU "-f short.txt -f second.txt --record job.json --resume").err,
                       "job.unfinished.json: its items are not those that were written"));
    cli_expect(0, "cp b job.unfinished.jsonl && sed -i 's/\"n_ctx\": 32/\"n_ctx\": 33/' job.unfinished.json");
    CHECK(cli_contains(cli_expect(3, "$PARE " CPU "-f short.txt -f second.txt --record job.json --resume").err,
                       "was changed after it was written"));
    cli_expect(0, "cp whole.json job.unfinished.json && cp whole.jsonl job.unfinished.jsonl");
    CHECK(cli_contains(cli_expect(3, "$PARE " CPU "-f short.txt -f second.txt --record job.json --resume").err,
                       "job.unfinished.json: "));
    cli_expect(0, "cp a job.unfinished.json && cp b job.unfinished.jsonl");
}

static void what_is_left_is_not_overwritten_in_silence(void **state)
{
    (void)state;
    cli_result r = cli_expect(2, "$PARE " CPU "-f short.txt -f second.txt --record job.json");
    CHECK(cli_contains(r.err, "--resume goes on with it, --force drops it"));
    CHECK(cli_contains(cli_expect(2, "$PARE " CPU "-f short.txt --resume").err, "--resume needs --record"));
    CHECK(cli_contains(cli_expect(2, "$PARE " CPU "-f short.txt --record x.json --save-logits x.lgt --resume").err,
                       "--save-logits"));
    /* an input of that name is not what --force drops */
    cli_expect(2, "cp short.txt y.unfinished.json && $PARE " CPU "-f y.unfinished.json --record y.json --force");
    cli_expect(0, "test -e y.unfinished.json && rm y.unfinished.json");
    cli_expect(0, "$PARE " CPU "-f short.txt --record job.json --force && ! ls | grep unfinished");
    r = cli_expect(0, "$PARE eval demo.gguf -c 32 --device cpu -f short.txt --record new.json --resume");
    CHECK(cli_contains(r.err, "nothing to resume"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interrupted_run_goes_on),
        cmocka_unit_test(a_lost_device_keeps_what_was_measured),
        cmocka_unit_test(another_job_is_refused_by_the_member_that_differs),
        cmocka_unit_test(a_damaged_part_is_refused),
        cmocka_unit_test(what_is_left_is_not_overwritten_in_silence),
    };
    return cmocka_run_group_tests(tests, make_model, NULL);
}
