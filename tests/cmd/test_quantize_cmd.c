/* quantize as a user types it: every option, and every way to give it something that it cannot use. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *doc, const char *key)
{
    const char *text = json_string_value(json_object_get(doc, key));
    CHECK(text != NULL);
    return text;
}

static int prepare(void **state)
{
    (void)state;
    cli_expect(0, "$PARE convert $DEMO -o demo.gguf && "
                  "$PARE imatrix demo.gguf -f $TEXT -c 128 --chunks 4 -o im.gguf");
    return 0;
}

/* A usage error that leaves no file, and says so in one line with a hint. */
static void refused(int code, const char *options, const char *why)
{
    cli_result r = cli_expect(code, "$PARE quantize demo.gguf -o out.gguf %s", options);
    if (!cli_contains(r.err, why))
        fail_msg("%s", options);
    CHECK(cli_count_lines(r.err) == (code == 2 ? 2 : 1));
    cli_expect(0, "test ! -e out.gguf && test ! -e pare.lock");
    CHECK(cli_count_temporaries() == 0);
}

static void methods_and_efforts(void **state)
{
    (void)state;
    refused(2, "-t q4_0 --method awq", "expected one of: auto feedback search rtn");
    refused(2, "-t q4_0 --effort most", "expected one of: fast default best");
    refused(2, "-t q4_0 --method rtn --effort best", "--effort says nothing");
    refused(2, "-t iq3_s --method rtn", "needs --method search");
    cli_expect(0,
               "$PARE quantize demo.gguf -t q4_0 -o a.gguf && "
               "$PARE quantize demo.gguf -t q4_0 --method search --effort default -o b.gguf && cmp a.gguf b.gguf >&2");
    cli_result r = cli_expect(0, "$PARE quantize demo.gguf -t q4_0 --method rtn -o c.gguf --pin --json && "
                                 "! cmp -s a.gguf c.gguf");
    json_t *doc = cli_json(&r);
    CHECK(strcmp(text_of(doc, "method"), "rtn") == 0 && strcmp(text_of(doc, "effort"), "default") == 0);
    json_decref(doc);
    r = cli_expect(0, "cat pare.lock; rm pare.lock SHA256SUMS");
    doc = cli_json(&r);
    json_t *options = json_pack("[[s, s], [s, s]]", "type", "q4_0", "method", "rtn");
    CHECK(json_equal(json_object_get(json_object_get(doc, "recipe"), "options"), options));
    json_decref(options);
    json_decref(doc);
    cli_expect(
        0, "$PARE quantize demo.gguf -t q4_0 --effort best -o d.gguf && "
           "test $(stat -c %%s a.gguf) = $(stat -c %%s d.gguf) && "
           "$PARE quantize demo.gguf -t q4_k_s --effort fast -o e.gguf -q && "
           "$PARE quantize demo.gguf -t q4_k_s -o f.gguf -q && ! cmp -s e.gguf f.gguf && "
           "test $(stat -c %%s e.gguf) = $(stat -c %%s f.gguf) && rm e.gguf f.gguf; rm a.gguf b.gguf c.gguf d.gguf");
}

static void patterns_must_have_an_effect(void **state)
{
    (void)state;
    refused(2, "-t q4_0 --tensor 'blk.7.=q8_0'", "--tensor 'blk.7.=q8_0': matches no tensor of demo.gguf; nothing was");
    refused(2, "-t q4_0 --tensor 'attn_norm=f16'", "never quantized");
    refused(2, "-t q4_0 --tensor 'attn_q=q99'", "unknown block type 'q99'");
    refused(4, "-t q4_0 --tensor 'attn_q=q8_k'", "no encoder for type q8_K");
    cli_result r = cli_expect(0, "$PARE quantize demo.gguf -t q4_0 --tensor attn=q8_0 --tensor attn_q=q4_1 -o x.gguf "
                                 "--dry-run");
    CHECK(cli_contains(r.err, "'attn_q=q4_1': has no effect"));
    r = cli_expect(0,
                   "$PARE quantize demo.gguf -t q4_0 --tensor 'attn(?=_q)=q5_1' -o x.gguf --dry-run"); /* the last = */
    CHECK(cli_contains(r.out, "-> q5_1"));
}

static void splits_can_be_kept(void **state)
{
    (void)state;
    cli_expect(0, "$PARE convert demo.gguf -o in.gguf --split-size 2M && test -e in-00003-of-00003.gguf");
    cli_result r = cli_expect(0, "$PARE quantize in-00001-of-00003.gguf -t q8_0 --keep-split -o q.gguf --json --pin && "
                                 "test ! -e q.gguf && sha256sum -c --strict SHA256SUMS >&2");
    json_t *doc = cli_json(&r), *files = json_object_get(doc, "files"), *file;
    size_t i;
    double bytes = 0;
    CHECK(json_array_size(files) == 3);
    json_array_foreach(files, i, file) bytes += cli_number(file, "bytes");
    CHECK(bytes == cli_number(doc, "bytes"));
    json_decref(doc);
    for (int part = 1; part <= 3; part++)
        cli_expect(0,
                   "$PARE inspect in-0000%d-of-00003.gguf --json >in.json; $PARE inspect q-0000%d-of-00003.gguf "
                   "--json >q.json; grep '\"file\"\\|\"name\"' in.json | sed s/in-/q-/ >a; grep '\"file\"\\|\"name\"' "
                   "q.json >b; cmp a b >&2",
                   part, part);
    cli_expect(0, "$PARE quantize demo.gguf -t q8_0 -o whole.gguf && $PARE inspect whole.gguf --diff "
                  "q-00001-of-00003.gguf; rm q-* pare.lock SHA256SUMS whole.gguf in.json q.json a b");
    CHECK(cli_contains(cli_expect(2, "$PARE quantize in-00001-of-00003.gguf -t q8_0 --keep-split --split-size 1M -o "
                                     "q.gguf")
                           .err,
                       "exclude each other"));
    CHECK(cli_contains(cli_expect(2, "$PARE quantize $DEMO -t q8_0 --keep-split -o q.gguf").err, "GGUF set"));
    cli_expect(0, "$PARE quantize demo.gguf -t q8_0 --keep-split -o q.gguf && test -s q.gguf; rm q.gguf in-*");
}

static void metadata_can_be_set(void **state)
{
    (void)state;
    cli_expect(0, "$PARE quantize demo.gguf -t q8_0 -o m.gguf --metadata general.name=str:Zork "
                  "--metadata llama.rope.freq_base=float:12345 --metadata llama.context_length=int:99 "
                  "--metadata tokenizer.ggml.eos_token_id=int:3 --metadata zork.new=i16:-7 --pin");
    static const char *const set[][2] = {{"general.name", "Zork"},
                                         {"llama.rope.freq_base", "12345"},
                                         {"llama.context_length", "99"},
                                         {"tokenizer.ggml.eos_token_id", "3"},
                                         {"zork.new", "-7"}};
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++)
        CHECK(strncmp(cli_expect(0, "$PARE inspect m.gguf --metadata=%s", set[i][0]).out, set[i][1],
                      strlen(set[i][1])) == 0);
    CHECK(cli_contains(cli_expect(0, "cat pare.lock").out, "zork.new=i16:-7"));
    cli_expect(0, "rm m.gguf pare.lock SHA256SUMS");
    refused(2, "-t q8_0 --metadata general.name", "expected KEY=TYPE:VALUE");
    refused(2, "-t q8_0 --metadata general.architecture=str:qwen2", "cannot be set");
    refused(2, "-t q8_0 --metadata general.file_type=int:2", "cannot be set");
    refused(2, "-t q8_0 --metadata split.count=u16:2", "cannot be set");
    refused(2, "-t q8_0 --metadata tokenizer.ggml.tokens=str:a", "is an array");
    refused(2, "-t q8_0 --metadata llama.context_length=u8:300", "outside of the range of u8");
    /* the model must stay readable */
    refused(2, "-t q8_0 --metadata llama.attention.head_count=int:7", "the model would not be readable");
    refused(2, "-t q8_0 --metadata llama.feed_forward_length=int:100", "the model would not be readable");
    refused(2, "-t q8_0 --metadata tokenizer.ggml.eos_token_id=int:99999", "the model would not be readable");
}

static void a_model_is_made_ready_for_a_quantized_cache(void **state)
{
    (void)state;
    static const char pinned[] = "$PARE quantize demo.gguf -t q8_0 --kv-ready --imatrix im.gguf -o k.gguf --json --pin";
    cli_result r = cli_expect(0, "%s", pinned);
    CHECK(cli_contains(r.err, "importances of 2 attention outputs are spread over the heads"));
    json_t *doc = cli_json(&r), *told = json_object_get(doc, "kv_ready");
    CHECK(cli_number(told, "layers_scaled") == 2 && cli_number(told, "layers_rotated") == 2);
    json_decref(doc);
    CHECK(cli_contains(cli_expect(0, "cat pare.lock").out, "\"kv-ready\""));
    CHECK(cli_contains(cli_expect(0, "$PARE inspect k.gguf --metadata=general.kv_ready").out,
                       "keys of 2 layers scaled, values of 2 rotated"));
    cli_expect(0, "rm k.gguf pare.lock SHA256SUMS");
    cli_expect(0, "$PARE convert demo.gguf --kv-ready -o c.gguf && $PARE eval c.gguf --reference demo.gguf -f $TEXT "
                  "--chunks 2 --fail-over 1e-9");
    r = cli_expect(2, "$PARE quantize c.gguf -t q8_0 --kv-ready -o x.gguf");
    CHECK(cli_contains(r.err, "it was made ready for a quantized cache before"));
    refused(2, "-t q8_0 --kv-text x", "--kv-text is for --kv-ready");
    cli_expect(0, "rm c.gguf");
}

static void a_dry_run_needs_no_importances(void **state)
{
    (void)state;
    refused(2, "-t iq2_xxs", "needs importances: collect them with pare imatrix");
    cli_result r = cli_expect(0, "$PARE quantize demo.gguf -t iq2_xxs -o out.gguf --dry-run --json --strict");
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_needing_imatrix") == 12 && json_object_get(doc, "worst") == NULL);
    CHECK(cli_contains(r.err, "pare: warning: 12 tensors get types that need importances"));
    json_decref(doc);
    static const char few[] = "quantize demo.gguf -t iq2_xxs --tensor 'attn|down|gate=q4_0' -o out.gguf"; /* faster */
    r = cli_expect(0, "$PARE %s --imatrix im.gguf --dry-run --json", few);
    doc = cli_json(&r);
    CHECK(r.err[0] == '\0' && cli_number(doc, "n_needing_imatrix") == 0);
    cli_expect(0, "$PARE %s --imatrix im.gguf && test $(stat -c %%s out.gguf) = %.0f && rm out.gguf", few,
               cli_number(doc, "bytes"));
    json_decref(doc);
}

static void the_report_names_what_it_cost(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE quantize demo.gguf -t q4_k_m --imatrix im.gguf -o q4.gguf --json");
    json_t *doc = cli_json(&r), *worst = json_object_get(doc, "worst"), *row;
    double last = INFINITY;
    size_t i;
    CHECK(json_array_size(worst) == 5);
    json_array_foreach(worst, i, row)
    {
        const json_t *weighted = json_object_get(row, "weighted_error");
        double error = weighted != NULL ? json_number_value(weighted) : cli_number(row, "error");
        CHECK(error > 0 && error <= last);
        last = error;
    }
    CHECK(cli_number(doc, "n_lossless") == 0 && cli_number(doc, "n_fallback") == 0);
    CHECK(json_object_get(doc, "requantized") == NULL);
    json_decref(doc);
    r = cli_expect(0, "$PARE quantize demo.gguf -t q4_k_m --imatrix im.gguf -o q4.gguf --force");
    CHECK(cli_contains(r.out, "largest errors") && cli_contains(r.out, "weighted"));
    cli_expect(0, "rm q4.gguf");
}

/* A model whose rows of 128 and 176 weights no block of 256 divides: another type takes its place, and is counted. */
static void stand_ins_are_counted(void **state)
{
    (void)state;
    const char *model = shared_path("oracle/models/qwen2");
    cli_result r = cli_expect(0, "$PARE quantize %s -t q4_k_m -o f.gguf --dry-run", model);
    CHECK(cli_contains(r.out, "in place of q4_K") && cli_contains(r.out, "tensors have another type than the preset"));
    r = cli_expect(0, "$PARE quantize %s -t q4_k --pure -o f.gguf --dry-run --json", model);
    json_t *doc = cli_json(&r), *row;
    size_t i, n = 0;
    json_array_foreach(json_object_get(doc, "tensors"), i, row) if (json_object_get(row, "wanted") != NULL)
    {
        CHECK(strcmp(text_of(row, "wanted"), "q4_K") == 0 && strcmp(text_of(row, "to"), "q4_K") != 0);
        n++;
    }
    CHECK(n > 0 && cli_number(doc, "n_fallback") == (double)n);
    json_decref(doc);
    r = cli_expect(2, "$PARE quantize %s -t q4_0 --tensor ffn_down=q4_k -o f.gguf", model);
    CHECK(cli_contains(r.err, "whose blocks of 256 do not divide its rows of 176 weights; f16 fits"));
    cli_expect(2, "$PARE quantize %s -t q4_0 --output-type q4_k -o f.gguf", model);
    cli_expect(2, "$PARE quantize %s -t q4_0 --embedding-type iq4_xs -o f.gguf", model);
    cli_expect(0, "test ! -e f.gguf");
}

/* Q8_0 to F32 and back: the values lie on its grid. */
static void what_is_kept_exactly_is_counted(void **state)
{
    (void)state;
    cli_expect(0, "$PARE convert demo.gguf -o q8.gguf --dtype q8_0 && $PARE convert q8.gguf -o f32.gguf --dtype f32");
    cli_result r = cli_expect(0, "$PARE quantize f32.gguf -t q8_0 -o again.gguf --json");
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_lossless") == 16 && json_array_size(json_object_get(doc, "worst")) == 0);
    json_decref(doc);
    r = cli_expect(0, "$PARE quantize f32.gguf -t q8_0 -o again.gguf --force");
    CHECK(cli_contains(r.out, "16 tensors lie on the grid of their new type: encoded without loss"));
    cli_expect(0, "rm q8.gguf f32.gguf again.gguf");
}

static void requantizing_is_warned_of(void **state)
{
    (void)state;
    cli_expect(0, "$PARE quantize demo.gguf -t q4_k_m -o q4.gguf");
    cli_result r = cli_expect(2, "$PARE quantize q4.gguf -t q8_0 -o q8.gguf");
    CHECK(cli_contains(r.err, "--allow-requantize"));
    r = cli_expect(0, "$PARE quantize q4.gguf -t q8_0 -o q8.gguf --allow-requantize --strict --json");
    CHECK(cli_contains(r.err, "16 tensors are quantized already (13 q4_K, 3 q6_K)"));
    CHECK(cli_contains(r.err, "relative to the quantized source"));
    json_t *doc = cli_json(&r), *cost = json_object_get(doc, "requantized");
    CHECK(cli_number(cost, "n_tensors") == 16 && cli_number(json_object_get(cost, "types"), "q4_K") == 13);
    CHECK(cli_number(cost, "source_error") > 1e-3 && cli_number(cost, "source_error") < 1e-2);
    CHECK(cli_number(cost, "added_error") > 1e-6 && cli_number(cost, "added_error") < 1e-4);
    CHECK(cli_number(cost, "expected_error") > 1e-6 && cli_number(cost, "expected_error") < 1e-4);
    json_decref(doc);
    r = cli_expect(0, "$PARE quantize q4.gguf -t q8_0 -o q8.gguf --allow-requantize --force -q");
    CHECK(r.err[0] == '\0' && cli_contains(r.out, "16 tensors were quantized before"));
    cli_expect(0, "rm q4.gguf q8.gguf");
}

/* A legacy imatrix of one entry. */
static void write_dat(const char *name, int32_t n_values, const float *values)
{
    char path[600];
    int32_t head[2] = {1, (int32_t)strlen(name)}, calls[2] = {4, n_values};
    snprintf(path, sizeof path, "%s/one.dat", cli_folder());
    FILE *f = fopen(path, "wb");
    CHECK(f != NULL);
    fwrite(head, 4, 2, f);
    fwrite(name, 1, strlen(name), f);
    fwrite(calls, 4, 2, f);
    fwrite(values, 4, (size_t)n_values, f);
    CHECK(fclose(f) == 0);
}

static void statistics_are_checked(void **state)
{
    (void)state;
    cli_expect(0, "cp im.gguf own.gguf");
    cli_expect(2, "$PARE quantize demo.gguf -t q4_0 --imatrix own.gguf --force -o own.gguf");
    cli_expect(0, "cmp im.gguf own.gguf && rm own.gguf");
    float values[512];
    for (int i = 0; i < 512; i++)
        values[i] = 1.0f + (float)(i % 7);
    write_dat("blk.0.attn_q.weight", 128, values);
    refused(3, "-t q4_0 --imatrix one.dat", "the model's tensor has 1 times 256: they are of another model");
    write_dat("blk.9.attn_q.weight", 256, values);
    refused(3, "-t q4_0 --imatrix one.dat", "none of its 1 entries names a tensor of demo.gguf");
    values[7] = -1;
    write_dat("blk.0.attn_q.weight", 256, values);
    refused(3, "-t q4_0 --imatrix one.dat", "sum of squares 7 is -1; it must be finite and not negative");
    values[7] = NAN;
    write_dat("blk.0.attn_q.weight", 256, values);
    refused(3, "-t q4_0 --imatrix one.dat", "sum of squares 7 is");
    values[7] = INFINITY;
    write_dat("blk.0.attn_q.weight", 256, values);
    refused(3, "-t q4_0 --imatrix one.dat", "sum of squares 7 is inf");
    values[7] = 0;
    write_dat("blk.0.attn_q.weight", 256, values);
    cli_result r = cli_expect(0, "$PARE quantize demo.gguf -t q4_0 --imatrix one.dat -o out.gguf && rm out.gguf");
    CHECK(cli_contains(r.err, "1 of 256 columns have no importance"));
    CHECK(cli_contains(r.err, "has no importances for 13 of the tensors"));
    CHECK(cli_contains(r.out, "importances of 1 tensors come without mean inputs (in_sum)"));
    r = cli_expect(0, "$PARE quantize demo.gguf -t q4_0 --imatrix one.dat -o out.gguf --dry-run --json");
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_unweighted") == 13 && cli_number(doc, "n_without_mean") == 1);
    json_decref(doc);
    memset(values, 0, sizeof values);
    write_dat("blk.0.attn_q.weight", 256, values);
    CHECK(
        cli_contains(cli_expect(0, "$PARE quantize demo.gguf -t q4_0 --imatrix one.dat -o out.gguf && rm out.gguf").err,
                     "tensor 'blk.0.attn_q.weight': every importance is zero"));
    refused(3, "-t q4_0 --imatrix one.dat --strict", "every importance is zero");
}

/* Counts and lengths of a legacy file that promise more than there is. */
static void hostile_statistics_are_refused(void **state)
{
    (void)state;
    static const char *const bytes[] = {
        "",                                                         /* nothing */
        "\\377\\377\\377\\377",                                     /* -1 entries */
        "\\377\\377\\377\\177",                                     /* 2^31 - 1 entries */
        "\\001\\000\\000\\000\\377\\377\\377\\377x",                /* a name of -1 bytes */
        "\\001\\000\\000\\000\\377\\377\\377\\177xxxxxxxxxxxxxxxx", /* of 2^31 - 1 */
        "\\001\\000\\000\\000\\001\\000\\000\\000x\\001\\000\\000\\000\\000\\000\\000\\000xxxx", /* no columns */
        "\\001\\000\\000\\000\\001\\000\\000\\000x\\001\\000\\000\\000\\377\\377\\377\\177xxxx", /* 2^31 - 1 */
        "\\001\\000\\000\\000\\001\\000\\000\\000x\\001\\000\\000\\000\\377\\377\\377\\377xxxx", /* -1 */
        "\\001\\000\\000\\000\\001\\000\\000\\000x\\377\\377\\377\\377\\001\\000\\000\\000xxxx", /* -1 windows */
    };
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        cli_expect(0, "printf '%s' >bad.dat", bytes[i]);
        refused(3, "-t q4_0 --imatrix bad.dat", "bad.dat: ");
    }
    for (int n = 1; n < 36000; n += 2999) {
        cli_expect(0, "head -c %d im.gguf >bad.dat", n);
        refused(3, "-t q4_0 --imatrix bad.dat", "bad.dat: ");
    }
    cli_expect(0, "rm bad.dat; mkdir folder");
    refused(3, "-t q4_0 --imatrix folder", "folder: ");
    cli_expect(0, "rmdir folder; mkfifo pipe");
    refused(3, "-t q4_0 --imatrix pipe", "pipe: ");
    cli_expect(0, "rm pipe");
}

static void a_weight_that_is_no_number_is_named(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE inspect demo.gguf --json");
    json_t *doc = cli_json(&r), *row;
    size_t i;
    long offset = 0;
    json_array_foreach(json_object_get(doc, "tensors"), i,
                       row) if (strcmp(text_of(row, "name"), "blk.1.ffn_up.weight") == 0) offset =
        (long)cli_number(row, "offset");
    json_decref(doc);
    CHECK(offset > 0); /* rows of 256 weights in bfloat16 */
    cli_expect(0,
               "cp demo.gguf nan.gguf && printf '\\300\\177' | dd of=nan.gguf bs=1 seek=%ld conv=notrunc 2>/dev/null",
               offset + 2 * (3 * 256 + 17));
    r = cli_expect(3, "$PARE quantize nan.gguf -t q4_k_m -o out.gguf");
    CHECK(cli_contains(r.err, "nan.gguf: tensor 'blk.1.ffn_up.weight': row 3, column 17 holds a NaN"));
    cli_expect(0, "test ! -e out.gguf && $PARE quantize nan.gguf -t q4_k_m -o out.gguf --allow-nonfinite && "
                  "rm out.gguf nan.gguf");
    CHECK(cli_count_temporaries() == 0);
}

/* One signal, or two, at every call that completes a file or gives it its name: fsync of model, lock and checksums;
 * then for each of the three link, and fsync of the folder. */
static void signals_between_two_files_leave_all_or_nothing(void **state)
{
    (void)state;
#ifdef PARE_SIGNAL_AT
    enum { N_FILES = 3, N_CALLS = 3 * N_FILES };
    for (int times = 1; times <= 2; times++)
        for (int at = 1; at <= N_CALLS + 1; at++) {
            bool early = at <= N_FILES; /* no file has a name yet */
            cli_expect(early ? 130 : 0,
                       "mkdir out; env --default-signal=INT SIGNAL_AT=%d SIGNAL_TIMES=%d LD_PRELOAD=%s $PARE quantize "
                       "demo.gguf -t q8_0 -o out/q.gguf --pin",
                       at, times, PARE_SIGNAL_AT);
            cli_expect(0, "test $(ls -A out | wc -l) = %d", early ? 0 : N_FILES);
            cli_expect(0, "rm -r out");
        }
#else
    skip(); /* a sanitizer does not let itself be preloaded */
#endif
}

/* Whenever the signals come, model, lock and checksums are all there or none is, and no temporary is left. */
static void an_interruption_leaves_all_or_nothing(void **state)
{
    (void)state;
    static const char *const kills[] = {"kill -INT $!", "kill -INT $!; kill -INT $!", "kill $!"};
    for (int i = 0; i < 12; i++) {
        cli_run("mkdir out; env --default-signal=INT $PARE quantize demo.gguf -t q8_0 -o out/q.gguf --pin & "
                "sleep 0.%03d; %s; wait $!; true",
                8 * i, kills[i % 3]);
        cli_expect(0, "n=$(ls -A out | wc -l); test $n = 0 || { test $n = 3 && test -e out/q.gguf && cd out && "
                      "sha256sum -c --strict SHA256SUMS; }");
        cli_expect(0, "rm -r out");
    }
}

/* What goes wrong with the lock leaves no model either. */
static void a_lock_that_cannot_be_written_leaves_no_model(void **state)
{
    (void)state;
    cli_expect(2, "SOURCE_DATE_EPOCH=never $PARE quantize demo.gguf -t q8_0 -o q.gguf --pin");
    cli_expect(0, "test ! -e q.gguf && test ! -e pare.lock && test ! -e SHA256SUMS");
    cli_expect(5, "$PARE quantize demo.gguf -t q8_0 -o q.gguf --pin --sums no/such/folder/s 2>&1 || exit 5");
    cli_expect(0, "test ! -e q.gguf && test ! -e pare.lock");
    CHECK(cli_count_temporaries() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_and_efforts),
        cmocka_unit_test(patterns_must_have_an_effect),
        cmocka_unit_test(splits_can_be_kept),
        cmocka_unit_test(metadata_can_be_set),
        cmocka_unit_test(a_model_is_made_ready_for_a_quantized_cache),
        cmocka_unit_test(a_dry_run_needs_no_importances),
        cmocka_unit_test(the_report_names_what_it_cost),
        cmocka_unit_test(stand_ins_are_counted),
        cmocka_unit_test(what_is_kept_exactly_is_counted),
        cmocka_unit_test(requantizing_is_warned_of),
        cmocka_unit_test(statistics_are_checked),
        cmocka_unit_test(hostile_statistics_are_refused),
        cmocka_unit_test(a_weight_that_is_no_number_is_named),
        cmocka_unit_test(signals_between_two_files_leave_all_or_nothing),
        cmocka_unit_test(an_interruption_leaves_all_or_nothing),
        cmocka_unit_test(a_lock_that_cannot_be_written_leaves_no_model),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
