/* convert --format awq|gptq|compressed-tensors with calibration, as a user types it. */
#include "cli.h"

#include <math.h>
#include <string.h>

static int collect_once(void **state)
{
    (void)state;
    cli_expect(0, "$PARE imatrix $DEMO -f $TEXT -c 128 --chunks 5 --full -o full.gguf -q && "
                  "$PARE imatrix $DEMO -f $TEXT -c 128 --chunks 1 --full -o few.gguf -q && "
                  "$PARE imatrix $DEMO -f $TEXT -c 128 --chunks 5 -o plain.gguf -q");
    return 0;
}

/* Mean KL divergence of a folder. */
static double divergence(const char *folder)
{
    cli_result r = cli_expect(0, "$PARE eval %s --reference $DEMO -f $TEXT -c 128 --chunks 3 --json -q", folder);
    json_t *doc = cli_json(&r);
    double kld = cli_number(doc, "kld_mean");
    json_decref(doc);
    return kld;
}

static void feedback_loses_least(void **state)
{
    (void)state;
    static const char *const formats[] = {"awq", "gptq --bits 3"};
    for (int i = 0; i < 2; i++) {
        cli_result r = cli_expect(0, "$PARE convert $DEMO -o fed --format %s --imatrix full.gguf --json", formats[i]);
        json_t *doc = cli_json(&r);
        CHECK(cli_number(doc, "n_feedback") == 14 && cli_number(doc, "n_without_feedback") == 0);
        CHECK(cli_number(doc, "feedback_ratio") > 0.01 && cli_number(doc, "feedback_ratio") < 0.6);
        json_decref(doc);
        cli_expect(
            0,
            "$PARE convert $DEMO -o search --format %s -q && $PARE convert $DEMO -o weighed --format %s --imatrix "
            "full.gguf --method search -q",
            formats[i], formats[i]);
        double fed = divergence("fed"), search = divergence("search"), weighed = divergence("weighed");
        if (!(fed < 0.6 * search && fed < 0.6 * weighed && weighed != search))
            fail_msg("%s: %g, %g, %g", formats[i], fed, search, weighed);
        cli_expect(0, "test $(stat -c %%s fed/model.safetensors) = $(stat -c %%s search/model.safetensors); "
                      "rm -r fed search weighed");
    }
}

/* The very codes: what goes to GGUF and back is the same file, for any number of threads. */
static void what_is_chosen_is_what_is_written(void **state)
{
    (void)state;
    cli_expect(0, "$PARE convert $DEMO -o a --format awq --imatrix full.gguf -j 1 -q && "
                  "$PARE convert $DEMO -o b --format awq --imatrix full.gguf -j 7 --method feedback -q && "
                  "cmp a/model.safetensors b/model.safetensors >&2");
    cli_expect(0, "$PARE convert a -o a.gguf -q && $PARE convert a.gguf -o back --format awq -q && "
                  "cmp a/model.safetensors back/model.safetensors >&2; rm -r back a.gguf b");
    cli_expect(0, "$PARE convert a -o again --format awq --imatrix full.gguf -q && " /* integers already: they stay */
                  "cmp a/model.safetensors again/model.safetensors >&2; rm -r again a");
    cli_expect(0, "$PARE convert $DEMO -o a --format gptq --bits 8 --symmetric no --imatrix full.gguf -q && "
                  "$PARE convert a -o again --format gptq --bits 8 --symmetric no -q && "
                  "cmp a/model.safetensors again/model.safetensors >&2; rm -r a again");
    CHECK(cli_count_temporaries() == 0);
}

static void without_enough_it_is_a_search(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE convert $DEMO -o few --format awq --imatrix few.gguf --json");
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_feedback") == 0 && cli_number(doc, "n_without_feedback") == 14);
    json_decref(doc);
    CHECK(cli_contains(r.err, "few.gguf: tensor 'blk.0.attn_k.weight': 128 tokens are too few for the products of 256 "
                              "columns; it and those with the same inputs are packed without feedback"));
    cli_expect(0, "$PARE convert $DEMO -o plain --format awq --imatrix plain.gguf -q && "
                  "$PARE convert $DEMO -o other --format awq --imatrix plain.gguf --method search -q && "
                  "cmp plain/model.safetensors other/model.safetensors >&2; rm -r few plain other");
}

/* Scaled, rounded and clipped: as many bytes as any method, and it pays. */
static void scaling_pays(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE convert $DEMO -o a --format awq --method awq --imatrix full.gguf --json");
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_scaled") > 4 && cli_number(doc, "scaled_ratio") > 0.5 &&
          cli_number(doc, "scaled_ratio") < 0.98);
    CHECK(cli_number(doc, "n_feedback") == 0);
    json_decref(doc);
    cli_expect(0, "$PARE convert $DEMO -o rtn --format awq "
                  "--method rtn -q && $PARE convert $DEMO -o fed --format awq --method awq-feedback --imatrix "
                  "full.gguf -q && $PARE convert $DEMO -o g --format gptq --bits 3 --method awq --imatrix full.gguf -q "
                  "&& $PARE convert $DEMO -o h --format gptq --bits 3 --method rtn -q");
    cli_expect(0, "test $(stat -c %%s a/model.safetensors) = $(stat -c %%s rtn/model.safetensors) && "
                  "cmp a/config.json rtn/config.json >&2");
    double scaled = divergence("a"), rtn = divergence("rtn"), fed = divergence("fed");
    double scaled_3 = divergence("g"), rtn_3 = divergence("h");
    if (!(scaled < 0.95 * rtn && fed < 0.7 * scaled && scaled_3 < 0.9 * rtn_3))
        fail_msg("%g, %g, %g; %g, %g", scaled, rtn, fed, scaled_3, rtn_3);
    cli_expect(0, "rm -r a rtn fed g h");
}

/* Each expert's inputs by themselves; the same for any number of threads. */
static void scaling_pays_in_mixtures(void **state)
{
    (void)state;
    const char *model = shared_path("oracle/models/mixtral"), *how = "--format awq --group-size 32";
    cli_expect(0, "$PARE imatrix %s -f $TEXT -c 64 --chunks 20 --full -o experts.gguf -q", model);
    cli_result r =
        cli_expect(0, "$PARE convert %s -o a %s --method awq --imatrix experts.gguf -j 1 --json", model, how);
    CHECK(cli_contains(r.err,
                       "not scaled at 2 places, the first is layer 0: inputs of gate and up: a router reads them"));
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_scaled") > 10 && cli_number(doc, "scaled_ratio") < 0.97); /* of 4 + 2 * 8 places */
    CHECK(cli_number(doc, "n_feedback") == 0);
    json_decref(doc);
    cli_expect(0,
               "$PARE convert %s -o b %s --method awq --imatrix experts.gguf -j 7 -q && cmp a/model.safetensors "
               "b/model.safetensors >&2 && $PARE convert %s -o rtn %s --method rtn -q",
               model, how, model, how);
    double kld[2];
    for (int i = 0; i < 2; i++) {
        r = cli_expect(0, "$PARE eval %s --reference %s -f $TEXT -c 64 --chunks 10 --json -q", i == 0 ? "a" : "rtn",
                       model);
        doc = cli_json(&r);
        kld[i] = cli_number(doc, "kld_mean");
        json_decref(doc);
    }
    if (!(kld[0] < 0.9 * kld[1]))
        fail_msg("%g, %g", kld[0], kld[1]);
    cli_expect(0, "rm -r a b rtn experts.gguf");
}

/* A matrix that the groups do not divide stays what it was, with those that it is united with. */
static void floats_stay_what_they_were(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE convert $DEMO -o a --format awq --group-size 512 --imatrix full.gguf --json");
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_feedback") == 2); /* ffn_down alone has rows of 512 */
    json_decref(doc);
    cli_expect(0, "$PARE convert $DEMO -o b --format awq --group-size 512 -q && "
                  "$PARE convert a -o a.gguf --dtype f32 -q && $PARE convert b -o b.gguf --dtype f32 -q && "
                  "$PARE inspect a.gguf --json >/dev/null && rm -r a b");
    r = cli_expect(0, "$PARE compare a.gguf b.gguf --no-weights -f $TEXT -c 128 --chunks 1 --json; rm a.gguf b.gguf");
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *options, *says;
    } wrong[] = {{"--format fp8 --imatrix full.gguf", "they are for --format awq, gptq and compressed-tensors"},
                 {"--method rtn", "they are for --format awq, gptq and compressed-tensors"},
                 {"--format awq --method feedback", "--method feedback needs second-order statistics"},
                 {"--format awq --method feedback --imatrix plain.gguf", "needs second-order statistics"},
                 {"--format awq --method rtn --imatrix full.gguf", "--method rtn does not search"},
                 {"--format awq --method awq", "--method awq needs second-order statistics"},
                 {"--format awq --method awq --imatrix plain.gguf", "needs second-order statistics"},
                 {"--format gptq --method awq --imatrix full.gguf --whole-rows", "needs groups of a multiple of 16"},
                 {"--format awq --method awq --imatrix full.gguf --effort best", "--effort says nothing"},
                 {"--format awq --method rtn --effort best", "--method rtn does not search"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(cli_contains(cli_expect(2, "$PARE convert $DEMO -o no %s", wrong[i].options).err, wrong[i].says));
    CHECK(cli_contains(cli_expect(3, "$PARE convert $DEMO -o no --format awq --imatrix few.gguf --strict").err,
                       "too few"));
    cli_expect(0, "test ! -e no");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(feedback_loses_least),           cmocka_unit_test(what_is_chosen_is_what_is_written),
        cmocka_unit_test(without_enough_it_is_a_search),  cmocka_unit_test(floats_stay_what_they_were),
        cmocka_unit_test(what_makes_no_sense_is_refused), cmocka_unit_test(scaling_pays),
        cmocka_unit_test(scaling_pays_in_mixtures),
    };
    return cmocka_run_group_tests(tests, collect_once, NULL);
}
