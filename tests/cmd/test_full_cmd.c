/* imatrix --full that is interrupted, resumed, added up, and refused, as a user types it. */
#include "cli.h"

#include <string.h>

/* Two texts of a few windows; the sums of the demo model take two runs over each under 4M. */
#define COLLECT "$PARE imatrix demo.gguf -f a.txt -f b.txt -c 32 --chunks 1 --full --full-memory 4M -q "

static int make_texts(void **state)
{
    (void)state;
    cli_expect(
        0, "$PARE convert $DEMO -o demo.gguf -q && head -c 2000 $TEXT >a.txt && tail -c 2000 $TEXT >b.txt && " COLLECT
           "-o whole.gguf");
    return 0;
}

/* --force drops what an earlier run left, unless this one is to read it. */
static void what_is_read_is_not_dropped(void **state)
{
    (void)state;
    static const char *const names[] = {"out.texts-1.gguf", "out.unfinished-2.gguf", "out.unfinished-1.gguf.gram"};
    for (int i = 0; i < 3; i++) {
        cli_result r = cli_expect(2, "cp whole.gguf %s; " COLLECT "--in %s -o out.gguf --force", names[i], names[i]);
        CHECK(cli_contains(r.err, names[i]) && cli_contains(r.err, "the output is an input"));
        cli_expect(0, "cmp whole.gguf %s && rm %s && test ! -e out.gguf", names[i], names[i]);
    }
    cli_expect(2, "mv demo.gguf out.texts-2.gguf; $PARE imatrix out.texts-2.gguf -f a.txt -f b.txt --full -o out.gguf "
                  "--force");
    cli_expect(0, "mv out.texts-2.gguf demo.gguf");
}

#ifdef PARE_SIGNAL_AT
/* Interrupted whenever something was put on the disk: behind runs over the first text, between the texts, behind runs
 * over the second. */
static void an_interrupted_run_goes_on(void **state)
{
    (void)state;
    int n_kept = 0, code = 130;
    for (int at = 1; code != 0; at += 3) {
        cli_result r =
            cli_run("SIGNAL_AT=%d LD_PRELOAD=%s env --default-signal=INT " COLLECT "-o out.gguf", at, PARE_SIGNAL_AT);
        code = r.code;
        CHECK(code == 130 || code == 0);
        if (code == 130) {
            bool kept = strstr(r.err, "--resume goes on from there") != NULL;
            CHECK(cli_count_lines(r.err) == 1 && (kept || at == 1)); /* then nothing was on the disk yet */
            if (kept) {
                r = cli_expect(2, COLLECT "-o out.gguf");
                CHECK(cli_contains(r.err, "of an unfinished run: --resume goes on with it, --force drops it"));
            }
            cli_expect(0, COLLECT "-o out.gguf -j 3 %s", kept ? "--resume" : "");
            n_kept += kept;
        }
        cli_expect(0, "cmp out.gguf whole.gguf >&2 && rm out.gguf");
        cli_expect(0, "test $(ls | grep -c 'unfinished\\|texts') = 0");
        CHECK(cli_count_temporaries() == 0);
    }
    CHECK(n_kept > 1);
}

/* What is kept is of these texts and options. */
static void another_run_is_refused(void **state)
{
    (void)state;
    cli_expect(130, "SIGNAL_AT=2 LD_PRELOAD=%s env --default-signal=INT " COLLECT "-o out.gguf", PARE_SIGNAL_AT);
    cli_result r = cli_expect(2, "$PARE imatrix demo.gguf -f b.txt -f a.txt -c 32 --chunks 1 --full --full-memory 4M "
                                 "-o out.gguf --resume");
    CHECK(cli_contains(r.err, "out.unfinished-1.gguf: another run's"));
    r = cli_expect(2, "$PARE imatrix demo.gguf -f a.txt -f b.txt -c 32 --chunks 1 -o out.gguf --resume");
    CHECK(cli_contains(r.err, "--resume needs --full"));
    r = cli_expect(3, "head -c 5000 out.unfinished-1.gguf >cut && cp cut out.unfinished-1.gguf; " COLLECT
                      "-o out.gguf --resume");
    CHECK(cli_contains(r.err, "out.unfinished-1.gguf"));
    cli_expect(0, COLLECT "-o out.gguf --force && cmp out.gguf whole.gguf >&2 && rm out.gguf cut");
    cli_expect(0, "test $(ls | grep -c unfinished) = 0");
    r = cli_expect(0, "$PARE imatrix demo.gguf -f a.txt -f b.txt -c 32 --chunks 1 --full --full-memory 4M --resume -o "
                      "out.gguf && cmp out.gguf whole.gguf >&2 && rm out.gguf");
    CHECK(cli_contains(r.err, "nothing to resume"));
}

/* Said before the text is run; 2 MB of triangles twice, and sums. */
static void a_disk_too_small_is_said_first(void **state)
{
    (void)state;
    cli_result r = cli_expect(5,
                              "mkdir small; FREE_BYTES=5000000 LD_PRELOAD=%s $PARE imatrix demo.gguf -f a.txt -c 32 "
                              "--full -o small/out.gguf -v",
                              PARE_SIGNAL_AT);
    CHECK(cli_contains(r.err, "small/out.gguf: disk full: ") && cli_contains(r.err, " bytes needed, 4997120 free"));
    CHECK(strstr(r.err, "window 2") == NULL);
    cli_expect(0, "rmdir small");
}
#endif

/* The sum of two files is that of their numbers, in single precision. */
static void files_add_up_exactly(void **state)
{
    (void)state;
    cli_expect(0, "for t in a b; do $PARE imatrix demo.gguf -f $t.txt -c 32 --chunks 1 --full -o $t.gguf -q; done && "
                  "$PARE imatrix demo.gguf -f b.txt -c 32 --chunks 1 --full --in a.gguf -o ab.gguf -q && "
                  "cmp ab.gguf whole.gguf >&2 && rm ab.gguf");
    cli_result r = cli_expect(0, "$PARE inspect whole.gguf --metadata=imatrix.chunk_count");
    CHECK(strcmp(r.out, "2\n") == 0);
    cli_expect(0, "rm a.gguf b.gguf");
}

/* A number in a triangle that cannot be: named with the tensor when it is used. */
static void bad_numbers_are_refused(void **state)
{
    (void)state;
    cli_expect(0, "$PARE imatrix demo.gguf -f $TEXT -c 128 --chunks 2 --full -o full.gguf -q");
    cli_result r = cli_expect(0, "$PARE inspect full.gguf --json");
    json_t *doc = cli_json(&r), *row;
    size_t i;
    long offset = 0;
    json_array_foreach(
        json_object_get(doc, "tensors"), i,
        row) if (strcmp(json_string_value(json_object_get(row, "name")), "blk.0.attn_k.weight.in_gram") == 0) offset =
        (long)json_integer_value(json_object_get(row, "offset"));
    json_decref(doc);
    CHECK(offset > 0);
    static const struct {
        const char *bytes, *what; /* of the diagonal element of column 1, the third number */
    } bad[] = {{"\\0\\0\\200\\277", "it must be finite and not negative"},
               {"\\0\\0\\200\\377", "is -inf; it must be finite"},
               {"\\0\\0\\300\\177", "is nan; it must be finite"}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        cli_expect(0, "cp full.gguf bad.gguf && printf '%s' | dd of=bad.gguf bs=1 seek=%ld conv=notrunc 2>/dev/null",
                   bad[k].bytes, offset + 8);
        r = cli_expect(3, "$PARE quantize demo.gguf -t q4_0 --pure --imatrix bad.gguf -o q.gguf");
        CHECK(cli_contains(r.err, "tensor 'blk.0.attn_k.weight': the mean product of columns 1 and 1 is"));
        CHECK(cli_contains(r.err, bad[k].what));
        cli_expect(0, "test ! -e q.gguf; rm -f q.*");
    }
    cli_expect(0, "rm full.gguf bad.gguf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_not_dropped),
#ifdef PARE_SIGNAL_AT
        cmocka_unit_test(an_interrupted_run_goes_on),     cmocka_unit_test(another_run_is_refused),
        cmocka_unit_test(a_disk_too_small_is_said_first),
#endif
        cmocka_unit_test(files_add_up_exactly),           cmocka_unit_test(bad_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, make_texts, NULL);
}
