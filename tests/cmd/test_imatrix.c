/* pare imatrix and quantize --imatrix on the demo model, as a user types them. */
#include "cli.h"

#include <string.h>

static int collect_once(void **state)
{
    (void)state;
    cli_expect(0, "$PARE imatrix $DEMO -f $TEXT -o all.gguf -c 64 && $PARE convert $DEMO -o demo.gguf");
    return 0;
}

static void reports_what_it_wrote(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE imatrix $DEMO -f $TEXT -o two.gguf -c 64 --chunks 2 -j 3 --json");
    json_t *doc = cli_json(&r);
    CHECK(strcmp(json_string_value(json_object_get(doc, "output")), "two.gguf") == 0);
    CHECK(json_integer_value(json_object_get(doc, "n_chunks")) == 2);
    CHECK(json_integer_value(json_object_get(doc, "n_ctx")) == 64);
    CHECK(json_array_size(json_object_get(doc, "datasets")) == 1);
    cli_expect(0, "test $(sha256sum <two.gguf | cut -c 1-64) = %s", json_string_value(json_object_get(doc, "sha256")));
    json_decref(doc);
    cli_expect(0,
               "$PARE imatrix demo.gguf -f $TEXT -o again.gguf -c 64 --chunks 2 -j 1 && cmp two.gguf again.gguf >&2");
    CHECK(cli_contains(cli_expect(0, "$PARE inspect two.gguf --tensors").out, "blk.0.attn_q.weight.in_sum2"));
    cli_expect(0, "$PARE imatrix $DEMO -f $TEXT -o again.gguf -c 64 --chunks 2 --in two.gguf --force --json | "
                  "grep -q '\"n_chunks\": 4'");
    cli_expect(0, "rm two.gguf again.gguf");
}

/* Eight experts, of which a token takes two: a window of eight tokens does not reach all of them. */
static void lists_experts_that_no_token_reached(void **state)
{
    (void)state;
    const char *mixture = shared_path("oracle/models/mixtral");
    cli_result r = cli_expect(0, "$PARE imatrix %s -f $TEXT -o few.gguf -c 8 --chunks 1 --json", mixture);
    json_t *doc = cli_json(&r), *layer, *tokens, *n;
    size_t i, k, n_unseen = 0;
    CHECK(json_array_size(json_object_get(doc, "experts")) == 2);
    json_array_foreach(json_object_get(doc, "experts"), i, layer)
    {
        json_int_t sum = 0;
        CHECK(json_integer_value(json_object_get(layer, "layer")) == (json_int_t)i);
        json_array_foreach(tokens = json_object_get(layer, "tokens"), k, n) sum += json_integer_value(n);
        CHECK(json_array_size(tokens) == 8 && sum == 16);
        json_array_foreach(json_object_get(layer, "unseen"), k, n)
            CHECK(json_integer_value(json_array_get(tokens, (size_t)json_integer_value(n))) == 0);
        n_unseen += json_array_size(json_object_get(layer, "unseen"));
    }
    CHECK(n_unseen > 0);
    json_decref(doc);
    r = cli_expect(0, "$PARE imatrix %s -f $TEXT -o few.gguf -c 8 --chunks 1 --force", mixture);
    CHECK(cli_contains(r.out, "16 experts in all layers saw 0 to ") && cli_contains(r.out, "saw none:\n  layer 0: "));
    r = cli_expect(0, "$PARE quantize %s -t q4_0 --imatrix few.gguf -o few-q4_0.gguf", mixture);
    CHECK(cli_contains(r.err, "layer 0: ") && cli_contains(r.err, " of 8 experts saw no token"));
    cli_expect(0, "rm few.gguf few-q4_0.gguf");
}

static void quantize_uses_it(void **state)
{
    (void)state;
    cli_expect(0, "$PARE quantize demo.gguf -t q4_0 -o plain.gguf && "
                  "$PARE quantize demo.gguf -t q4_0 --imatrix all.gguf -o with.gguf && ! cmp -s plain.gguf with.gguf");
    CHECK(cli_contains(cli_expect(0, "$PARE inspect with.gguf --metadata=quantize.imatrix.file").out, "all.gguf"));
    cli_expect(0, "$PARE inspect with.gguf --metadata | grep -q '^quantize.imatrix.chunks_count = [1-9]'");
    cli_result r = cli_expect(0, "$PARE quantize demo.gguf -t q4_0 --imatrix all.gguf -o with.gguf --force --json");
    json_t *doc = cli_json(&r), *row;
    size_t i, n_weighted = 0;
    json_array_foreach(json_object_get(doc, "tensors"), i, row) n_weighted +=
        json_is_real(json_object_get(row, "weighted_error"));
    CHECK(n_weighted > 6);
    json_decref(doc);
    /* the lock says which statistics the bytes come from */
    cli_expect(0, "$PARE quantize demo.gguf -t q4_0 --imatrix all.gguf -o with.gguf --force --pin && "
                  "grep -q $(sha256sum all.gguf | cut -c1-64) pare.lock && rm pare.lock SHA256SUMS");
    /* names without their folders, which are no business of whoever gets the files */
    cli_expect(0, "mkdir here && $PARE imatrix demo.gguf -f $TEXT -c 64 --chunks 1 -o here/im.gguf && "
                  "$PARE quantize demo.gguf -t q4_0 --imatrix $PWD/here/im.gguf -o here/q.gguf --pin");
    CHECK(strcmp(cli_expect(0, "$PARE inspect here/q.gguf --metadata=quantize.imatrix.file").out, "im.gguf\n") == 0);
    CHECK(strcmp(cli_expect(0, "$PARE inspect here/q.gguf --metadata=quantize.imatrix.dataset").out, "text.txt\n") ==
          0);
    cli_expect(1, "grep -l $PWD here/pare.lock here/q.gguf here/im.gguf");
    cli_expect(0, "rm -r here plain.gguf with.gguf");
}

static void wrong_files_are_named(void **state)
{
    (void)state;
    cli_result r = cli_expect(3, "$PARE quantize demo.gguf -t q4_0 --imatrix $TEXT -o out.gguf; e=$?; "
                                 "test ! -e out.gguf && exit $e");
    CHECK(cli_contains(r.err, ".dat") && cli_count_lines(r.err) == 1);
    r = cli_expect(3, "$PARE quantize demo.gguf -t q4_0 --imatrix demo.gguf -o out.gguf");
    CHECK(cli_contains(r.err, "no imatrix"));
    cli_expect(3, "$PARE quantize demo.gguf -t q4_0 --imatrix absent -o out.gguf");
    cli_expect(3, "head -c 3000 all.gguf >cut; $PARE quantize demo.gguf -t q4_0 --imatrix cut -o out.gguf");
    cli_expect(2, "$PARE quantize demo.gguf -t q4_0 --imatrix all.gguf -o all.gguf --force");
    cli_expect(2, "$PARE imatrix $DEMO -f $TEXT --in all.gguf -o all.gguf --force");
    cli_expect(2, "$PARE imatrix $DEMO -f $TEXT -o all.gguf");
    cli_expect(2, "echo word | $PARE imatrix $DEMO -f - -o out.gguf");
    CHECK(cli_contains(cli_expect(2, "echo word > word.txt; $PARE imatrix $DEMO -f word.txt --ctx 16 -o out.gguf").err,
                       "error: word.txt: the text has "));
    CHECK(cli_contains(cli_expect(2, "$PARE convert $DEMO --kv-ready --kv-text word.txt -o out.gguf").err,
                       "error: word.txt: a text of "));
    CHECK(cli_contains(cli_expect(2, "$PARE quantize demo.gguf -t iq2_xxs -o out.gguf").err, "--imatrix"));
    cli_expect(0, "test ! -e out.gguf");
    CHECK(cli_count_temporaries() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_what_it_wrote),
        cmocka_unit_test(lists_experts_that_no_token_reached),
        cmocka_unit_test(quantize_uses_it),
        cmocka_unit_test(wrong_files_are_named),
    };
    return cmocka_run_group_tests(tests, collect_once, NULL);
}
