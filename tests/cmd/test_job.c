/* The main job on the demo model, as a user types it: convert, quantize, pin, measure, verify - and what may go wrong.
 */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void flip_byte(const char *name, long from_end)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", cli_folder(), name);
    FILE *f = fopen(path, "r+b");
    CHECK(f != NULL);
    fseek(f, -from_end, SEEK_END);
    int c = fgetc(f);
    fseek(f, -from_end, SEEK_END);
    fputc(c ^ 1, f);
    fclose(f);
}

static int convert_once(void **state)
{
    (void)state;
    cli_expect(0, "$PARE convert $DEMO -o demo.gguf");
    return 0;
}

static void convert_reports_what_it_wrote(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE convert $DEMO -o again.gguf --json && cmp again.gguf demo.gguf >&2");
    json_t *doc = cli_json(&r);
    CHECK(strcmp(json_string_value(json_object_get(doc, "output")), "again.gguf") == 0);
    CHECK(strlen(json_string_value(json_object_get(doc, "sha256"))) == 64);
    cli_expect(0, "test $(stat -c %%s again.gguf) = %.0f", cli_number(doc, "bytes"));
    json_decref(doc);
    r = cli_expect(0, "$PARE convert $DEMO -o never.gguf --dry-run --json && test ! -e never.gguf");
    doc = cli_json(&r);
    cli_expect(0, "test $(stat -c %%s again.gguf) = %.0f; rm again.gguf", cli_number(doc, "bytes"));
    json_decref(doc);
}

static void folders_and_gguf_convert_both_ways(void **state)
{
    (void)state;
    cli_expect(0, "$PARE convert demo.gguf -o folder && test -s folder/config.json && test -s folder/tokenizer.json");
    cli_expect(0, "$PARE tokenize folder -f $TEXT >a; $PARE tokenize demo.gguf -f $TEXT >b; cmp a b >&2");
    cli_expect(2, "$PARE convert demo.gguf -o folder");
    cli_expect(0, "$PARE convert demo.gguf -o folder --force");
    cli_expect(0, "$PARE convert folder -o back.gguf && $PARE inspect back.gguf --diff demo.gguf --json >diff; "
                  "! grep -q '\"kind\": \"tensor\"' diff");
    cli_expect(0, "rm -r folder back.gguf");
}

static void splits_are_whole(void **state)
{
    (void)state;
    cli_expect(0, "$PARE convert $DEMO -o part.gguf --split-size 1M && test $(ls part-*.gguf | wc -l) -gt 3");
    cli_expect(0, "$PARE inspect demo.gguf --diff $(ls part-*.gguf | tail -n 1)");
    cli_result r =
        cli_expect(2, "$PARE convert demo.gguf -o p.gguf --split-size 1M --pin --lock p-00001-of-00005.gguf");
    CHECK(cli_contains(r.err, "p-00001-of-00005.gguf: is called as a part of the output"));
    cli_expect(2, "ls p-* p.gguf* SHA256SUMS");
    cli_expect(0, "rm part-*.gguf");
}

static void inspect_has_the_promised_keys(void **state)
{
    static const char *const keys[] = {"format", "architecture", "n_tensors", "n_params", "bytes", "bits_per_weight"};
    static const char *const tensor_keys[] = {"name", "type", "shape", "offset", "bytes"};
    (void)state;
    cli_result r = cli_expect(0, "$PARE inspect demo.gguf --json");
    json_t *doc = cli_json(&r);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        CHECK(json_object_get(doc, keys[i]) != NULL);
    json_t *tensors = json_object_get(doc, "tensors");
    CHECK(json_array_size(tensors) == (size_t)cli_number(doc, "n_tensors"));
    for (size_t i = 0; i < sizeof tensor_keys / sizeof tensor_keys[0]; i++)
        CHECK(json_object_get(json_array_get(tensors, 0), tensor_keys[i]) != NULL);
    CHECK(strcmp(json_string_value(json_object_get(json_object_get(doc, "metadata"), "general.architecture")),
                 "llama") == 0);
    json_decref(doc);
    CHECK(strcmp(cli_expect(0, "$PARE inspect demo.gguf --metadata=general.architecture").out, "llama\n") == 0);
    CHECK(cli_contains(cli_expect(0, "$PARE inspect $DEMO").out, "llama"));
    cli_expect(2, "$PARE inspect demo.gguf --metadata=no.such.key");
    CHECK(cli_contains(cli_expect(1, "$PARE inspect demo.gguf --diff $DEMO").out, "differences"));
}

static void inspect_reads_damaged_files_as_far_as_it_can(void **state)
{
    (void)state;
    cli_result r = cli_expect(3, "head -c 200000 demo.gguf >cut.gguf; $PARE inspect cut.gguf --json");
    json_t *doc = cli_json(&r);
    CHECK(json_object_get(json_object_get(doc, "metadata"), "general.architecture") != NULL);
    CHECK(json_object_get(doc, "error") != NULL);
    CHECK(cli_count_lines(r.err) == 1);
    json_decref(doc);
    CHECK(cli_contains(cli_expect(3, "$PARE inspect cut.gguf").out, "llama"));
}

/* A count of layers that is 0: what the metadata means is part of the damage. The tokenizer is still shown. */
static void inspect_tells_what_no_other_verb_takes(void **state)
{
    (void)state;
    cli_expect(0, "LC_ALL=C sed 's/\\(llama.block_count....\\)./\\1\\x00/' demo.gguf >no-layers.gguf");
    cli_result r = cli_expect(3, "$PARE inspect no-layers.gguf");
    CHECK(cli_contains(r.err, "no-layers.gguf: key 'llama.block_count'") && cli_contains(r.out, "2048 tokens"));
    cli_expect(0, "LC_ALL=C sed 's/llama-bpe/zork--bpe/' demo.gguf >pre.gguf");
    cli_expect(0, "$PARE inspect pre.gguf");
    CHECK(cli_contains(cli_expect(4, "$PARE tokenize pre.gguf -f $TEXT").err, "pre.gguf: pre-tokenizer 'zork--bpe'"));
    cli_expect(4, "$PARE convert pre.gguf -o pre && test ! -e pre");
    cli_expect(0, "LC_ALL=C sed 's/ggml.bos_token_id/ggml.xos_token_id/' demo.gguf >bos.gguf");
    CHECK(cli_contains(cli_expect(3, "$PARE tokenize bos.gguf -f $TEXT").err, "bos.gguf: "));
    CHECK(cli_contains(cli_expect(3, "$PARE eval bos.gguf -f $TEXT -c 32 --chunks 1").err, "bos.gguf: "));
    cli_expect(0, "$PARE tokenize bos.gguf -f $TEXT --no-bos");
}

/* --force replaces an older lock, never a file that is to be pinned. */
static void pin_does_not_replace_what_it_pins(void **state)
{
    (void)state;
    cli_expect(0, "mkdir own && cp demo.gguf own/ && $PARE pin own -o own/my.lock --sums own/my.sums");
    cli_expect(0, "$PARE pin own -o own/my.lock --sums own/my.sums --force && $PARE verify own/my.lock");
    CHECK(cli_contains(cli_expect(2, "$PARE pin own -o own/demo.gguf --force").err, "own/demo.gguf: --output"));
    cli_expect(2, "$PARE pin own -o own/new.lock --sums own/demo.gguf --force");
    cli_expect(0, "cmp own/demo.gguf demo.gguf && test ! -e own/new.lock");
    cli_expect(3, "echo '{\"schema\": 1, \"files\": []}' >own/none.lock; $PARE verify own/none.lock");
}

/* The peak is the program's own, not that of a large program that starts it. */
static void memory_is_its_own(void **state)
{
    (void)state;
    const size_t n = (size_t)768 << 20;
    char *large = check_malloc(n);
    memset(large, 1, n);
    cli_result r = cli_expect(0, "exec $PARE quantize demo.gguf -t q4_0 -o small.gguf --dry-run --json");
    json_t *doc = cli_json(&r);
    CHECK(large[n - 1] == 1 && cli_number(doc, "peak_rss_bytes") < (double)n);
    json_decref(doc);
    free(large);
}

static void quantize_pin_measure_verify(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "mkdir q && $PARE quantize demo.gguf -t q4_k_m -o q/q4.gguf --pin --json");
    json_t *doc = cli_json(&r);
    CHECK(json_array_size(json_object_get(doc, "tensors")) > 10);
    CHECK(cli_number(doc, "bits_per_weight") < 6);
    CHECK(cli_number(doc, "seconds") >= 0 && cli_number(doc, "peak_rss_bytes") > 0);
    cli_expect(0, "test $(sha256sum <q/q4.gguf | cut -c 1-64) = %s", json_string_value(json_object_get(doc, "sha256")));
    json_decref(doc);
    cli_expect(0, "cd q && sha256sum -c --strict SHA256SUMS");

    r = cli_expect(0, "cat q/pare.lock");
    doc = cli_json(&r);
    const json_t *recipe = json_object_get(doc, "recipe"),
                 *input = json_array_get(json_object_get(recipe, "inputs"), 0);
    json_t *options = json_pack("[[s, s]]", "type", "q4_k_m"); /* --output, --pin and --json change no byte */
    CHECK(json_equal(json_object_get(recipe, "options"), options));
    CHECK(strcmp(json_string_value(json_object_get(input, "name")), "demo.gguf") == 0);
    cli_expect(0, "test $(sha256sum <demo.gguf | cut -c 1-64) = %s",
               json_string_value(json_object_get(input, "sha256")));
    json_decref(options);
    json_decref(doc);

    r = cli_expect(0, "$PARE eval q/q4.gguf --reference demo.gguf -f $TEXT --chunks 4 --json");
    doc = cli_json(&r);
    CHECK(fabs(cli_number(doc, "perplexity") / cli_number(doc, "reference_perplexity") - 1) < 0.05);
    CHECK(cli_number(doc, "kld_mean") > 0 && cli_number(doc, "kld_mean") < 0.05 && cli_number(doc, "kld_stderr") > 0);
    CHECK(cli_number(doc, "same_top1") > 0.8 && cli_number(doc, "n_chunks") == 4);
    CHECK(cli_number(doc, "n_tokens_scored") == 4 * 255);
    json_decref(doc);

    r = cli_expect(0, "$PARE verify q/pare.lock");
    CHECK(cli_contains(r.out, "bytes: ok") && cli_contains(r.out, "structure: ok") &&
          cli_contains(r.out, "signature: "));
    r = cli_expect(0, "$PARE inspect q/q4.gguf --json");
    doc = cli_json(&r);
    const json_t *tensors = json_object_get(doc, "tensors");
    const char *last =
        json_string_value(json_object_get(json_array_get(tensors, json_array_size(tensors) - 1), "name"));
    flip_byte("q/q4.gguf", 40);
    CHECK(cli_contains(cli_expect(1, "$PARE verify q/pare.lock").out, last));
    CHECK(cli_expect(1, "$PARE verify q/pare.lock").err[0] == '\0');
    json_decref(doc);
    r = cli_expect(1, "$PARE verify q/pare.lock --json");
    doc = cli_json(&r);
    CHECK(strcmp(json_string_value(json_object_get(doc, "bytes")), "different") == 0);
    CHECK(json_array_size(json_object_get(doc, "findings")) > 0);
    json_decref(doc);
    cli_expect(0, "rm -r q");
}

/* The preset of the same name has another base type. */
static void a_block_type_means_itself(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE quantize demo.gguf -t iq2_s --pure -o x.gguf --dry-run --json");
    json_t *doc = cli_json(&r), *tensors = json_object_get(doc, "tensors"), *row;
    size_t i, n = 0;
    json_array_foreach(tensors, i, row)
    {
        const char *to = json_string_value(json_object_get(row, "to"));
        CHECK(strcmp(to, "iq2_s") == 0 || strcmp(to, "f32") == 0);
        n += strcmp(to, "iq2_s") == 0;
    }
    CHECK(n == 16);
    json_decref(doc);
}

static void quantize_choices(void **state)
{
    (void)state;
    CHECK(cli_contains(cli_expect(2, "$PARE quantize demo.gguf -t q4_km -o x.gguf").err, "did you mean 'q4_k_m'?"));
    CHECK(cli_contains(cli_expect(2, "$PARE quantize demo.gguf -t mxfp4 -o x.gguf").err, "--pure"));
    CHECK(cli_contains(cli_expect(2, "$PARE quantize demo.gguf -t q4_k_m --tensor 'attn_v' -o x.gguf").err,
                       "REGEX=TYPE"));
    CHECK(cli_contains(cli_expect(2, "$PARE quantize demo.gguf -t q4_k_m --tensor '[=q8_0' -o x.gguf").err, "["));
    cli_expect(2, "$PARE quantize demo.gguf -t q4_k_m --output-type q99 -o x.gguf");
    cli_result r =
        cli_expect(0, "$PARE quantize demo.gguf -t q4_k --pure --tensor 'attn_v=q8_0' -o x.gguf --dry-run --json "
                      "&& test ! -e x.gguf");
    json_t *doc = cli_json(&r), *tensors = json_object_get(doc, "tensors"), *row;
    size_t i, n_q8 = 0;
    json_array_foreach(tensors, i, row)
    {
        bool is_v = strstr(json_string_value(json_object_get(row, "name")), "attn_v") != NULL;
        bool is_q8 = strcmp(json_string_value(json_object_get(row, "to")), "q8_0") == 0;
        CHECK(is_v == is_q8);
        n_q8 += is_q8;
    }
    CHECK(n_q8 == 2);
    double planned = cli_number(doc, "bytes");
    json_decref(doc);
    cli_expect(0, "$PARE quantize demo.gguf -t q4_k --pure --tensor 'attn_v=q8_0' -o x.gguf");
    cli_expect(0, "test $(stat -c %%s x.gguf) = %.0f", planned);
    cli_expect(2, "$PARE quantize x.gguf -t q8_0 -o y.gguf");
    cli_expect(0, "$PARE quantize x.gguf -t q8_0 -o y.gguf --allow-requantize; rm x.gguf y.gguf");
}

static void output_does_not_depend_on_threads(void **state)
{
    (void)state;
    cli_expect(
        0, "$PARE quantize demo.gguf -t q5_k_m -o one.gguf -j 1 && $PARE quantize $DEMO -t q5_k_m -o two.gguf -j 3 && "
           "cmp one.gguf two.gguf >&2; rm one.gguf two.gguf");
}

static void outputs_are_protected(void **state)
{
    (void)state;
    cli_expect(0, "echo keep >kept.gguf");
    CHECK(cli_contains(cli_expect(2, "$PARE convert $DEMO -o kept.gguf").err, "--force"));
    cli_expect(0, "test \"$(cat kept.gguf)\" = keep; rm kept.gguf");
    CHECK(cli_contains(cli_expect(2, "$PARE convert demo.gguf -o demo.gguf --force").err, "the output is the input"));
    CHECK(cli_contains(cli_expect(2, "$PARE quantize demo.gguf -t q8_0 -o ./demo.gguf --force").err,
                       "the output is the input"));
    cli_expect(0, "ln -s demo.gguf link.gguf; ! $PARE quantize demo.gguf -t q8_0 -o link.gguf --force; rm link.gguf");
    cli_expect(2, "$PARE convert $DEMO -o x.gguf -o x.gguf");
    CHECK(cli_contains(cli_expect(2, "$PARE convert $DEMO -o x.gguf --pin --lock ./x.gguf").err, "the same output"));
    cli_expect(2, "$PARE convert $DEMO -o x.gguf --lock l");
    cli_expect(2, "$PARE pin demo.gguf -o demo.gguf --force");
    CHECK(cli_contains(cli_expect(2, "$PARE convert $DEMO -o -").err, "standard output"));
    cli_expect(5, "$PARE convert $DEMO -o no/such/folder/x.gguf");
    cli_expect(0, "test ! -e x.gguf && test -s demo.gguf");
    CHECK(cli_count_temporaries() == 0);
}

static void a_full_disk_leaves_nothing(void **state)
{
    (void)state;
    cli_result r = cli_expect(5, "sh -c 'ulimit -f 200; exec $PARE convert $DEMO -o full.gguf'");
    CHECK(cli_count_lines(r.err) == 1 && cli_contains(r.err, "full.gguf"));
    cli_expect(0, "test ! -e full.gguf");
    CHECK(cli_count_temporaries() == 0);
    if (geteuid() == 0)
        return; /* no folder is unwritable for root */
    cli_expect(
        5, "mkdir locked && chmod 555 locked; $PARE convert $DEMO -o locked/x.gguf; code=$?; rmdir locked; exit $code");
}

/* Start logits of so many sequences that they take minutes, and wait until the temporary exists: by then the program
 * listens to signals. A shell's background job ignores Ctrl-C; env takes that back. */
#define START_LONG_RUN(model)                                                                                          \
    "env --default-signal=INT $PARE logits " model " --tokens zeros.bin --length 500 -o stopped.bin --device cpu & "   \
    "until test -e stopped.bin.pare.part.$!; do kill -0 $! || exit 99; sleep 0.01; done; "

static void an_interrupted_run_leaves_nothing(void **state)
{
    (void)state;
    cli_expect(0, "head -c 4000000 /dev/zero >zeros.bin");
    cli_result r = cli_expect(130, START_LONG_RUN("demo.gguf") "kill -INT $!; wait $!");
    CHECK(cli_contains(r.err, "interrupted") && cli_count_lines(r.err) == 1);
    CHECK(cli_count_temporaries() == 0);
    cli_expect(143, START_LONG_RUN("demo.gguf") "kill $!; wait $!");
    CHECK(cli_count_temporaries() == 0);
    cli_expect(129, START_LONG_RUN("demo.gguf") "kill -HUP $!; wait $!"); /* the terminal is closed */
    CHECK(cli_count_temporaries() == 0);
    cli_expect(143, "trap '' HUP; " START_LONG_RUN("demo.gguf") "kill -HUP $!; kill $!; wait $!"); /* nohup */
    /* a second signal does not wait for the sequence */
    cli_expect(143, START_LONG_RUN("demo.gguf") "kill $! && kill $!; wait $!");
    CHECK(cli_count_temporaries() == 0);
    cli_expect(0, "test ! -e stopped.bin; rm zeros.bin");
}

/* A mapped file that someone cuts while it is read raises SIGBUS; the program says which file and where. */
static void a_shrinking_input_is_named(void **state)
{
    (void)state;
    cli_expect(0, "cp demo.gguf shrink.gguf; head -c 4000000 /dev/zero >zeros.bin");
    cli_result r = cli_expect(3, START_LONG_RUN("shrink.gguf") ": >shrink.gguf; wait $!");
    CHECK(cli_contains(r.err, "pare: error: shrink.gguf: offset "));
    CHECK(cli_count_temporaries() == 0);
    cli_expect(0, "test ! -e stopped.bin; rm shrink.gguf zeros.bin");
}

static void strict_makes_warnings_errors(void **state)
{
    (void)state;
    cli_expect(0, "mkdir bare && cp $DEMO/config.json $DEMO/model.safetensors bare");
    cli_result r = cli_expect(0, "$PARE convert bare -o bare.gguf");
    CHECK(strncmp(r.err, "pare: warning: ", 15) == 0 && cli_count_lines(r.err) == 1);
    CHECK(cli_expect(0, "$PARE convert bare -o bare.gguf --force -q").err[0] == '\0');
    CHECK(cli_contains(cli_expect(3, "$PARE convert bare -o bare.gguf --force --strict").err, "(--strict)"));
    cli_expect(0, "rm -r bare bare.gguf");
}

static void eval_reports_each_text_and_their_mean(void **state)
{
    (void)state;
    cli_expect(0, "head -c 30000 $TEXT >a.txt; tail -c 30000 $TEXT >b.txt");
    cli_result r = cli_expect(0, "$PARE eval $DEMO -f a.txt -f b.txt -c 128 --chunks 3 --json");
    json_t *doc = cli_json(&r), *texts = json_object_get(doc, "texts");
    CHECK(json_array_size(texts) == 2);
    double sum =
        cli_number(json_array_get(texts, 0), "perplexity") + cli_number(json_array_get(texts, 1), "perplexity");
    CHECK(fabs(cli_number(doc, "perplexity") - sum / 2) < 1e-9);
    double error = hypot(cli_number(json_array_get(texts, 0), "perplexity_stderr"),
                         cli_number(json_array_get(texts, 1), "perplexity_stderr"));
    CHECK(fabs(cli_number(doc, "perplexity_stderr") - error / 2) < 1e-9);
    CHECK(json_object_get(doc, "kld_mean") == NULL && json_object_get(doc, "reference_perplexity") == NULL);
    CHECK(cli_number(doc, "n_tokens_scored") == 2 * 3 * 63);
    json_decref(doc);
    CHECK(cli_contains(cli_expect(0, "$PARE eval $DEMO -f - -c 128 --chunks 1 <a.txt").out, "+/-"));
    r = cli_expect(1,
                   "$PARE quantize $DEMO -t q2_k -o q2.gguf -q && $PARE eval q2.gguf --reference $DEMO -f a.txt -c 128 "
                   "--chunks 2 --fail-over 0.0001");
    CHECK(cli_contains(r.err, "above the limit"));
    static const char *const orders[] = {"-f a.txt -f b.txt", "-f b.txt -f a.txt"};
    for (int i = 0; i < 2; i++) {
        r = cli_expect(0, "$PARE eval q2.gguf --reference $DEMO %s -c 128 --chunks 1 --json", orders[i]);
        doc = cli_json(&r);
        texts = json_object_get(doc, "texts");
        double first = cli_number(json_array_get(texts, 0), "kld_max"),
               second = cli_number(json_array_get(texts, 1), "kld_max");
        CHECK(cli_number(doc, "kld_max") == fmax(first, second) && first != second);
        json_decref(doc);
    }
    cli_expect(0, "$PARE eval q2.gguf --reference $DEMO -f a.txt -c 128 --chunks 2 --fail-over 5; rm q2.gguf");
}

static void tokenize_forms(void **state)
{
    (void)state;
    cli_expect(0, "printf 'Hello world\\n\\nIn the beginning' >t.txt");
    cli_result r = cli_expect(0, "$PARE tokenize $DEMO -f t.txt --lines --no-bos");
    CHECK(cli_count_lines(r.out) == 3);
    CHECK(strstr(r.out, "\n\n") != NULL); /* the empty line has no ids */
    r = cli_expect(0, "$PARE tokenize $DEMO -f - --json <t.txt");
    json_t *doc = cli_json(&r);
    CHECK(json_array_size(json_object_get(doc, "ids")) == (size_t)cli_number(doc, "n_tokens"));
    json_decref(doc);
    r = cli_expect(0, "$PARE tokenize $DEMO -f t.txt");
    json_t *ids = json_loads(r.out, 0, NULL);
    CHECK(json_is_array(ids) && json_array_size(ids) > 4);
    json_decref(ids);
}

static void logits_have_their_shape(void **state)
{
    (void)state;
    cli_expect(0, "printf '\\001\\000\\000\\000\\002\\000\\000\\000\\003\\000\\000\\000\\004\\000\\000\\000' >ids.bin");
    cli_expect(
        0, "$PARE logits $DEMO --tokens ids.bin --length 2 -o l.bin && test $(stat -c %%s l.bin) = $((4 * 2048 * 4))");
    cli_expect(0, "$PARE logits $DEMO --tokens - --length 2 -o m.bin <ids.bin && cmp l.bin m.bin >&2");
    cli_expect(2, "$PARE logits $DEMO --tokens ids.bin -o l.bin");
    cli_expect(2, "$PARE logits $DEMO --tokens ids.bin -o ids.bin --force");
    cli_expect(3, "$PARE logits $DEMO --tokens ids.bin --length 3 -o n.bin");
    cli_expect(3, "printf '\\377\\377\\000\\000' | $PARE logits $DEMO --tokens - -o n.bin");
    CHECK(cli_count_temporaries() == 0);
    cli_expect(0, "test ! -e n.bin; rm l.bin m.bin");
}

static void pin_and_verify_a_folder(void **state)
{
    (void)state;
    cli_expect(0, "cp -r $DEMO copy && chmod -R u+w copy && $PARE pin copy -o copy/pare.lock && "
                  "cd copy && sha256sum -c --strict SHA256SUMS");
    cli_expect(0, "$PARE verify copy/pare.lock --allow-extra && $PARE verify copy/pare.lock --allow-extra --fast");
    cli_expect(2, "$PARE pin copy -o copy/pare.lock");
    cli_expect(0,
               "echo '{\"perplexity\": 5}' >m.json; $PARE pin copy/model.safetensors -o copy/m.lock --sums copy/m.sums "
               "--measurements m.json");
    cli_result r = cli_expect(0, "cat copy/m.lock; rm copy/m.lock copy/m.sums");
    json_t *doc = cli_json(&r);
    CHECK(cli_number(json_object_get(doc, "measurements"), "perplexity") == 5);
    json_decref(doc);
    cli_expect(3, "$PARE pin copy -o copy/m.lock --sums copy/m.sums --recipe m.json");
    cli_expect(1, "echo >>copy/config.json; $PARE verify copy/pare.lock --allow-extra");
    cli_expect(1, "rm copy/config.json; $PARE verify copy/pare.lock --allow-extra");
    r = cli_expect(3, "mkfifo copy/config.json; $PARE verify copy/pare.lock --allow-extra --json 2>/dev/null");
    doc = cli_json(&r);
    CHECK(cli_number(json_object_get(doc, "error"), "exit") == 3 &&
          json_array_size(json_object_get(doc, "findings")) > 0);
    CHECK(cli_number(doc, "n_by_parts") == 0);
    json_decref(doc);
    cli_expect(0, "rm -r copy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convert_reports_what_it_wrote),
        cmocka_unit_test(folders_and_gguf_convert_both_ways),
        cmocka_unit_test(splits_are_whole),
        cmocka_unit_test(inspect_has_the_promised_keys),
        cmocka_unit_test(inspect_reads_damaged_files_as_far_as_it_can),
        cmocka_unit_test(inspect_tells_what_no_other_verb_takes),
        cmocka_unit_test(pin_does_not_replace_what_it_pins),
        cmocka_unit_test(memory_is_its_own),
        cmocka_unit_test(quantize_pin_measure_verify),
        cmocka_unit_test(a_block_type_means_itself),
        cmocka_unit_test(quantize_choices),
        cmocka_unit_test(output_does_not_depend_on_threads),
        cmocka_unit_test(outputs_are_protected),
        cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(an_interrupted_run_leaves_nothing),
        cmocka_unit_test(a_shrinking_input_is_named),
        cmocka_unit_test(strict_makes_warnings_errors),
        cmocka_unit_test(eval_reports_each_text_and_their_mean),
        cmocka_unit_test(tokenize_forms),
        cmocka_unit_test(logits_have_their_shape),
        cmocka_unit_test(pin_and_verify_a_folder),
    };
    return cmocka_run_group_tests(tests, convert_once, NULL);
}
