/* pare compare on the demo model, as a user types it. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int make_models_once(void **state)
{
    (void)state;
    cli_expect(
        0, "$PARE convert $DEMO -o demo.gguf && $PARE quantize $DEMO -t q8_0 -o q8.gguf && "
           "$PARE quantize $DEMO -t q2_k -o q2.gguf && head -c 5000 $TEXT >text.txt && tail -c 3000 $TEXT >end.txt");
    cli_expect(0, "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do "
                  "echo \"What follows $i in the list of numbers?,the red fox,a house of $i,the old man,three $i\","
                  "$(echo ABCD | cut -c $((i %% 4 + 1))); done >numbers_test.csv");
    return 0;
}

static json_t *at(json_t *doc, const char *path)
{
    char key[64];
    while (doc != NULL && *path != '\0') {
        size_t n = strcspn(path, ".");
        memcpy(key, path, n);
        key[n] = '\0';
        doc = json_is_array(doc) ? json_array_get(doc, (size_t)strtoul(key, NULL, 10)) : json_object_get(doc, key);
        path += n + (path[n] == '.');
    }
    return doc;
}

static double number_at(json_t *doc, const char *path)
{
    CHECK(json_is_number(at(doc, path)));
    return json_number_value(at(doc, path));
}

/* One pass of the reference for all: the same figures as each candidate by itself, and as pare eval's. */
static void texts_of_several_models(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE compare $DEMO q8.gguf q2.gguf -f text.txt -f end.txt -c 64 --json");
    json_t *doc = cli_json(&r);
    CHECK(json_array_size(at(doc, "models")) == 2 && json_array_size(at(doc, "models.1.texts")) == 2);
    CHECK(strcmp(json_string_value(at(doc, "models.1.model")), "q2.gguf") == 0);
    CHECK(strcmp(json_string_value(at(doc, "self_check")), "ok") == 0);
    CHECK(number_at(doc, "models.0.mean.kld_mean") < number_at(doc, "models.1.mean.kld_mean"));
    CHECK(fabs((number_at(doc, "models.1.texts.0.kld_mean") + number_at(doc, "models.1.texts.1.kld_mean")) / 2 -
               number_at(doc, "models.1.mean.kld_mean")) < 1e-12);
    CHECK(number_at(doc, "models.1.texts.0.first_token_kld") > 0);
    CHECK(json_array_size(at(doc, "models.1.texts.0.kld_bootstrap")) == 2);
    r = cli_expect(0, "$PARE eval q2.gguf --reference $DEMO -f text.txt -c 64 --json");
    json_t *alone = cli_json(&r);
    CHECK(number_at(alone, "kld_mean") == number_at(doc, "models.1.texts.0.kld_mean"));
    CHECK(number_at(alone, "perplexity") == number_at(doc, "models.1.texts.0.perplexity"));
    json_decref(alone);
    json_decref(doc);
    r = cli_expect(0, "$PARE compare $DEMO q2.gguf -f text.txt -c 64 --chunks 3");
    CHECK(cli_contains(r.out, "text.txt") && cli_contains(r.out, "model q2.gguf"));
    CHECK(cli_contains(r.out, "blk.*.attn_q.weight") && cli_contains(r.out, "most changed:"));
}

static void a_model_beside_itself_drifts_by_nothing(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE compare $DEMO demo.gguf -f text.txt -c 64 --chunks 4 --task numbers_test.csv "
                                 "--fail-over 0 --fail-drop 0 --json");
    json_t *doc = cli_json(&r);
    CHECK(number_at(doc, "models.0.texts.0.kld_max") == 0 && number_at(doc, "models.0.texts.0.first_token_kld") == 0);
    CHECK(number_at(doc, "models.0.tasks.0.rules.acc.agreement") == 1);
    CHECK(number_at(doc, "models.0.tasks.0.rules.acc.lost") == 0);
    CHECK(number_at(doc, "models.0.tasks.0.first_token.kld_mean") == 0);
    CHECK(number_at(doc, "models.0.weights.relative") == 0 && number_at(doc, "models.0.weights.n_changed") == 0);
    CHECK(strcmp(json_string_value(at(doc, "models.0.tasks.0.rules.acc.verdict")), "not_resolved") == 0);
    CHECK(strstr(json_string_value(at(doc, "models.0.tasks.0.rules.acc.sentence")), "no change") == NULL);
    CHECK(json_array_size(at(doc, "failures")) == 0);
    json_decref(doc);
    r = cli_expect(0, "$PARE compare demo.gguf demo.gguf");
    CHECK(cli_contains(r.out, "every value is the same, byte for byte"));
}

static void tasks_are_paired(void **state)
{
    (void)state;
    cli_expect(0, "cp numbers_test.csv second_test.csv");
    cli_result r = cli_expect(0, "$PARE compare $DEMO q2.gguf --task numbers_test.csv --task second_test.csv "
                                 "--no-weights --json -j 2");
    json_t *doc = cli_json(&r), *rules = at(doc, "models.0.tasks.0.rules"), *rule;
    const char *name;
    CHECK(json_object_size(rules) == 3 && at(rules, "acc_norm") != NULL && at(rules, "acc_token") != NULL);
    json_object_foreach(rules, name, rule)
    {
        CHECK(number_at(rule, "both_right") + number_at(rule, "both_wrong") + number_at(rule, "lost") +
                  number_at(rule, "gained") ==
              16);
        CHECK(fabs(number_at(rule, "accuracy") - number_at(rule, "reference_accuracy") -
                   number_at(rule, "difference")) < 1e-12);
        CHECK((double)json_array_size(at(rule, "changed")) ==
              number_at(rule, "lost") + number_at(rule, "gained") + number_at(rule, "moved"));
        CHECK(number_at(rule, "detectable") > 0 && number_at(rule, "mcnemar_p") <= 1);
    }
    CHECK(number_at(doc, "models.0.tasks.0.first_token.kld_mean") > 0);
    CHECK(number_at(doc, "models.0.all_tasks.acc.n_items") == 32);
    CHECK(at(doc, "models.0.weights") == NULL && at(doc, "models.0.texts") == NULL);
    json_decref(doc);
    r = cli_expect(0, "$PARE compare $DEMO q2.gguf --task numbers_test.csv --no-weights");
    CHECK(cli_contains(r.out, "points") && cli_contains(r.out, "first token of the answer"));
}

static void reports_are_written(void **state)
{
    (void)state;
    cli_expect(0,
               "$PARE compare $DEMO q2.gguf -f end.txt -c 32 --task numbers_test.csv --report out.json >printed.txt");
    cli_expect(0, "$PARE compare $DEMO q2.gguf -f end.txt -c 32 --task numbers_test.csv --report out.html --json "
                  "| grep -v -e tokens_per_second -e seconds -e peak_rss >printed.json && "
                  "grep -v -e tokens_per_second -e seconds -e peak_rss out.json | cmp - printed.json");
    CHECK(cli_contains(cli_expect(0, "cat out.html").out, "<svg"));
    CHECK(cli_contains(cli_expect(0, "cat out.html").out, "numbers"));
    CHECK(cli_contains(cli_expect(0, "cat out.html").out, "first token alone"));
    cli_expect(2, "$PARE compare $DEMO q2.gguf --report out.html"); /* exists */
    cli_expect(0, "$PARE compare $DEMO q2.gguf --report out.html --force");
    CHECK(cli_contains(cli_expect(2, "$PARE compare $DEMO q2.gguf --report out.pdf").err, ".html, .md or .json"));
    cli_expect(2, "cp end.txt end.md && $PARE compare $DEMO q2.gguf -f end.md -c 32 --report end.md --force");
    CHECK(cli_count_temporaries() == 0);
}

static void limits_give_exit_1(void **state)
{
    (void)state;
    cli_result r = cli_expect(1, "$PARE compare $DEMO q8.gguf q2.gguf -f text.txt -c 64 --fail-over 0.01 --no-weights");
    CHECK(cli_contains(r.err, "q2.gguf: mean KL divergence") && strstr(r.err, "q8.gguf: mean") == NULL);
    r = cli_expect(1, "$PARE compare $DEMO q2.gguf -f text.txt -c 64 --fail-over 0.01 --json");
    json_t *doc = cli_json(&r);
    CHECK(json_array_size(at(doc, "failures")) == 1 && at(doc, "error") == NULL);
    json_decref(doc);
    cli_expect(0, "$PARE compare $DEMO q2.gguf --task numbers_test.csv --fail-drop 100 --no-weights");
}

/* "the" and "and" under each other's number: merges still hold. */
static void exchange_two_tokens(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", cli_folder(), name);
    json_t *doc = json_load_file(path, 0, NULL), *vocab = at(doc, "model.vocab");
    json_t *the = json_incref(json_object_get(vocab, "the")), *and = json_incref(json_object_get(vocab, "and"));
    CHECK(the != NULL && and != NULL);
    json_object_set_new(vocab, "the", and);
    json_object_set_new(vocab, "and", the);
    CHECK(json_dump_file(doc, path, 0) == 0);
    json_decref(doc);
}

static void what_makes_no_sense_is_refused(void **state)
{
    cli_result r;
    (void)state;
    cli_expect(2, "$PARE compare $DEMO");
    CHECK(cli_contains(cli_expect(2, "$PARE compare $DEMO q2.gguf --fail-over 1").err, "needs -f"));
    CHECK(cli_contains(cli_expect(2, "$PARE compare $DEMO q2.gguf --fail-drop 1").err, "needs --task"));
    CHECK(cli_contains(cli_expect(2, "$PARE compare $DEMO q2.gguf --no-weights").err, "nothing to compare"));
    cli_expect(3, "$PARE compare $DEMO absent.gguf -f text.txt");
    cli_expect(2, "echo short >short.txt; $PARE compare $DEMO q2.gguf -f short.txt");
    cli_expect(4, "echo nothing known >odd.txt; $PARE compare $DEMO q2.gguf --task odd.txt --task-format nonsense");
    cli_expect(0, "mkdir other && cp $DEMO/* other");
    exchange_two_tokens("other/tokenizer.json");
    r = cli_expect(2, "$PARE compare $DEMO other -f text.txt -c 64 --chunks 1");
    CHECK(cli_contains(r.err, "they cannot be compared"));
    cli_expect(0, "$PARE compare $DEMO other"); /* weights have no tokens */
    r = cli_expect(2, "$PARE eval $DEMO --reference other -f text.txt -c 64 --chunks 1");
    CHECK(cli_contains(r.err, "they cannot be compared"));
    cli_expect(0, "$PARE eval other -f text.txt -c 64 --chunks 1 --save-logits other.lgt");
    r = cli_run("$PARE eval $DEMO --logits other.lgt -f text.txt -c 64 --chunks 1");
    CHECK((r.code == 2 || r.code == 3) && cli_contains(r.err, "other.lgt: made with the tokenizer of SHA-256"));
    /* the first weight becomes NaN: BF16 7fc0 behind the header */
    cli_expect(0, "rm -rf nan && cp -r $DEMO nan && chmod -R u+w nan && n=$(od -An -tu8 -N8 nan/model.safetensors) && "
                  "printf '\\300\\177' | dd of=nan/model.safetensors bs=1 seek=$((n + 8)) conv=notrunc 2>/dev/null");
    r = cli_expect(0, "$PARE compare $DEMO nan --report nan.html");
    CHECK(cli_contains(r.out, "infinite or NaN in one of the models, and so in no norm: 1 values"));
    cli_expect(0, "grep -q '1 weights of nan.* are infinite or NaN' nan.html");
    cli_expect(0, "rm other/tokenizer*.json other/special*.json"); /* a reference needs none */
    cli_expect(0, "$PARE eval $DEMO --reference other -f text.txt -c 64 --chunks 1");
}

/* Any model has vectors of texts; an encoder has nothing else. */
static void embeddings_of_texts_and_pairs(void **state)
{
    (void)state;
    cli_expect(0, "printf 'the red fox\\nthe old man\\n\\nthree houses\\r\\nof the list\\n' >texts.txt && "
                  "printf 'a fox\\ta dog\\t3.5\\na man\\ta list\\t1\\nthe red\\tred the\\t4\\n' >pairs.tsv");
    cli_result r = cli_expect(0, "$PARE compare $DEMO demo.gguf q2.gguf --embedding -f texts.txt -f pairs.tsv "
                                 "--no-weights --json --report emb.md");
    json_t *doc = cli_json(&r);
    CHECK(json_array_size(at(doc, "models.1.embeddings")) == 2 && at(doc, "models.1.texts") == NULL);
    CHECK(number_at(doc, "models.0.embeddings.0.n_texts") == 4 && number_at(doc, "models.0.embeddings.0.n_pairs") == 6);
    CHECK(number_at(doc, "models.0.embeddings.0.cosine_min") > 1 - 1e-12);
    CHECK(number_at(doc, "models.0.embeddings.0.spearman") > 1 - 1e-12);
    CHECK(number_at(doc, "models.1.embeddings.0.cosine_mean") < 1);
    CHECK(number_at(doc, "models.1.embeddings.1.n_pairs") == 3 &&
          number_at(doc, "models.1.embeddings.1.n_scored") == 3);
    CHECK(isfinite(number_at(doc, "models.1.embeddings.1.reference_score_spearman")));
    CHECK(strcmp(json_string_value(at(doc, "models.1.embeddings.0.pooling")), "mean") == 0);
    json_decref(doc);
    CHECK(cli_contains(cli_expect(0, "cat emb.md").out, "## Embeddings"));
    r = cli_expect(1,
                   "$PARE compare $DEMO q2.gguf --embedding -f texts.txt --pooling last --no-weights --fail-under 1");
    CHECK(cli_contains(r.err, "below the limit") && cli_contains(r.out, "last pooling") &&
          cli_contains(r.out, "line "));
    r = cli_expect(0, "$PARE compare $DEMO q2.gguf --embedding -f texts.txt -c 2 --no-weights");
    CHECK(cli_contains(r.out, "were cut"));
    CHECK(cli_contains(cli_expect(2, "$PARE compare $DEMO q2.gguf --embedding").err, "needs -f"));
    CHECK(cli_contains(cli_expect(2, "$PARE compare $DEMO q2.gguf -f texts.txt --pooling cls").err, "--embedding"));
    CHECK(cli_contains(cli_expect(2, "$PARE compare $DEMO q2.gguf --embedding -f texts.txt --fail-over 1").err,
                       "--fail-under"));
    cli_expect(
        0, "printf 'a\\tb\\nonly one\\n' >bad.tsv && printf 'a\\tb\\tmuch\\n' >words.tsv && printf 'one\\n' >one.txt");
    CHECK(cli_contains(cli_expect(3, "$PARE compare $DEMO q2.gguf --embedding -f bad.tsv").err, "line 2"));
    CHECK(cli_contains(cli_expect(3, "$PARE compare $DEMO q2.gguf --embedding -f words.tsv").err, "line 1"));
    CHECK(cli_contains(cli_expect(3, "$PARE compare $DEMO q2.gguf --embedding -f one.txt").err, "1 texts"));
}

/* A tiny encoder: what there is to say of it, and what not. */
static void an_encoder_is_told_apart(void **state)
{
    (void)state;
    const char *dir = source_path("tests/families/bert");
    cli_expect(0, "$PARE convert %s -o bert.gguf", dir);
    cli_result r = cli_expect(0,
                              "$PARE logits bert.gguf --tokens %s/tokens.i32 --length 24 -o states.f32 && "
                              "$PARE logits bert.gguf --tokens %s/tokens.i32 --length 24 --embedding -o vectors.f32",
                              dir, dir);
    CHECK(cli_contains(r.out, "[2, 24, 32] of states") && cli_contains(r.out, "[2, 32] of states"));
    r = cli_expect(2, "$PARE logits bert.gguf --tokens states.f32 --pooling cls -o x.f32");
    CHECK(cli_contains(r.err, "--embedding"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(embeddings_of_texts_and_pairs),
                                       cmocka_unit_test(an_encoder_is_told_apart),
                                       cmocka_unit_test(texts_of_several_models),
                                       cmocka_unit_test(a_model_beside_itself_drifts_by_nothing),
                                       cmocka_unit_test(tasks_are_paired),
                                       cmocka_unit_test(limits_give_exit_1),
                                       cmocka_unit_test(reports_are_written),
                                       cmocka_unit_test(what_makes_no_sense_is_refused)};
    return cmocka_run_group_tests(tests, make_models_once, NULL);
}
