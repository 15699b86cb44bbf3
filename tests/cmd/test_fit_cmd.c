/* fit, as a user types it. */
#include "cli.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define MIB 1048576.0

static json_t *run_json(const char *command)
{
    cli_result r = cli_expect(0, "%s --json", command);
    return cli_json(&r);
}

static json_t *candidate(const json_t *doc, const char *name)
{
    json_t *item;
    size_t i;
    json_array_foreach(json_object_get(doc, "candidates"), i,
                       item) if (strcmp(json_string_value(json_object_get(item, "name")), name) == 0) return item;
    fail_msg("no candidate %s", name);
    return NULL;
}

/* What a card is asked for is the sum of the parts on it, and grows with the context by the cache. */
static void memory_is_planned_part_by_part(void **state)
{
    (void)state;
    json_t *doc = run_json("$PARE fit $DEMO --vram 2G --ctx 512"), *part, *best;
    size_t i;
    double sum = 0, cache = 0;
    best = candidate(doc, json_string_value(json_object_get(doc, "best")));
    json_array_foreach(json_object_get(best, "parts"), i, part) if (json_is_integer(json_object_get(part, "place")))
    {
        sum += cli_number(part, "bytes");
        cache += strcmp(json_string_value(json_object_get(part, "kind")), "cache") == 0 ? cli_number(part, "bytes") : 0;
    }
    const json_t *device = json_array_get(json_object_get(best, "devices"), 0);
    assert_true(sum > 0 && sum == cli_number(device, "bytes"));
    json_t *bare = run_json("$PARE fit $DEMO --vram 2G --ctx 512 --reserve 0");
    const json_t *same = candidate(bare, json_string_value(json_object_get(doc, "best")));
    assert_true(cli_number(json_array_get(json_object_get(same, "devices"), 0), "bytes") == sum - 1024 * MIB);
    json_decref(bare);
    assert_true(sum <= 2048 * MIB);
    assert_true(cli_contains(json_string_value(json_object_get(best, "llama_cpp_options")), "-c 512"));
    json_t *twice = run_json("$PARE fit $DEMO --vram 2G --ctx 1024 --kv f16"), *less;
    const json_t *other = candidate(twice, json_string_value(json_object_get(doc, "best")));
    double cache_twice = 0, cache_less = 0;
    json_array_foreach(json_object_get(other, "parts"), i, part) cache_twice +=
        strcmp(json_string_value(json_object_get(part, "kind")), "cache") == 0 ? cli_number(part, "bytes") : 0;
    assert_true(cache_twice == 2 * cache);
    less = run_json("$PARE fit $DEMO --vram 2G --ctx 512 --kv q8_0");
    best = candidate(less, json_string_value(json_object_get(less, "best")));
    json_array_foreach(json_object_get(best, "parts"), i, part) cache_less +=
        strcmp(json_string_value(json_object_get(part, "kind")), "cache") == 0 ? cli_number(part, "bytes") : 0;
    /* Blocks of 34 bytes for 64, and on a device the last row of each tensor filled up: less than 544 bytes, aligned.
     */
    assert_true(cache_less >= cache * 34 / 64 && cache_less <= cache * 34 / 64 * 1.02);
    json_decref(doc);
    json_decref(twice);
    json_decref(less);
}

static void what_does_not_fit_is_said(void **state)
{
    (void)state;
    cli_result r = cli_expect(1, "$PARE fit $DEMO --vram 1100M --reserve 1098M --ctx 512");
    assert_true(cli_contains(r.err, "does not fit in any type"));
    r = cli_expect(1, "$PARE fit $DEMO --vram 1100M --reserve 1098M --ctx 512 --json");
    json_t *doc = cli_json(&r), *error = json_object_get(doc, "error");
    assert_true(cli_number(error, "exit") == 1 && json_array_size(json_object_get(doc, "candidates")) > 0);
    assert_true(cli_contains(json_string_value(json_object_get(error, "message")), "does not fit in any type"));
    json_decref(doc);
    r = cli_expect(1, "$PARE fit $DEMO $DEMO --vram 1100M --reserve 1098M --ctx 512 --json");
    doc = cli_json(&r);
    error = json_object_get(doc, "error");
    assert_true(cli_number(error, "exit") == 1);
    assert_true(
        cli_contains(json_string_value(json_object_get(error, "message")), "the smallest, iq1_s: a context of"));
    error = json_array_get(json_object_get(doc, "models"), 1);
    assert_true(cli_contains(json_string_value(json_object_get(error, "why")), "more on the device"));
    json_decref(doc);
    r = cli_expect(1, "$PARE fit $DEMO --vram 4G,1G --ctx 512 -t q8_0");
    assert_true(cli_contains(r.err, "does not fit in q8_0: ") && cli_contains(r.err, "without device 1 it fits"));
    r = cli_expect(1, "$PARE fit $DEMO --ram 1G --ctx 512 -t q8_0");
    assert_true(cli_contains(r.out, "of which 1024 MiB stay free") && cli_contains(r.out, "with the reserve"));
    r = cli_expect(0, "$PARE fit $DEMO --gpu l4 --vram 8G --ctx 512 -t q8_0");
    assert_true(cli_contains(r.out, "card 0: NVIDIA L4") && cli_contains(r.out, "card 1: 8192 MiB"));
    r = cli_expect(0, "$PARE fit $DEMO --vram 1100M --reserve 1098M --table");
    assert_true(cli_contains(r.out, "iq1_s: tokens of context"));
    r = cli_expect(0, "$PARE fit $DEMO --vram 4G --ctx 512 -t q8_0 --draft $TEXT");
    assert_true(cli_contains(r.out, "the cache and the graph of the draft model"));
    r = cli_expect(2, "$PARE fit $DEMO --gpu rtx-4091");
    assert_true(cli_contains(r.err, "unknown card 'rtx-4091'; did you mean rtx-4090"));
    r = cli_expect(2, "$PARE fit $DEMO --gpu rtx-507");
    assert_true(cli_contains(r.err, "rtx-5070"));
    r = cli_expect(2, "$PARE fit $DEMO --gpu zx81");
    assert_true(cli_contains(r.err, "--gpu list shows all"));
    assert_true(cli_contains(cli_expect(0, "$PARE fit --gpu list").out, "rtx-4090"));
    json_t *cards = run_json("$PARE fit --gpu list");
    assert_true(cli_number(json_array_get(json_object_get(cards, "cards"), 0), "usable") > 0);
    json_decref(cards);
    r = cli_expect(2, "$PARE fit $DEMO");
    assert_true(cli_contains(r.err, "how much memory is there?"));
    r = cli_expect(2, "$PARE fit --vram 1G");
    assert_true(cli_contains(r.err, "MODEL is missing"));
    cli_expect(2, "$PARE fit $DEMO --vram 1G --size 1M -f $TEXT --state s");
    cli_expect(2, "$PARE fit $DEMO --size 1M");
    cli_expect(2, "$PARE fit $DEMO --vram much");
    assert_true(cli_contains(cli_expect(2, "$PARE fit $DEMO --vram 24").err, "is a unit missing?"));
    cli_expect(2, "$PARE fit $DEMO --vram 1G,,2G");
    assert_true(cli_contains(cli_expect(2, "$PARE fit $DEMO --gpu ''").err, "the name of a card is wanted"));
    assert_true(cli_contains(cli_expect(2, "$PARE fit $DEMO --vram 1G --vram 2G").err, "divided by commas"));
    assert_true(cli_contains(cli_expect(2, "$PARE fit $DEMO --vram 1G --vram 2G --gpu rtx-4090").err, "not with"));
    cli_expect(2, "$PARE fit $DEMO --vram 1G --vram 2G -f $TEXT -o out.gguf");
    cli_expect(2, "$PARE fit $DEMO --pareto");
    cli_expect(2, "$PARE fit $DEMO --pareto -f $TEXT -o out.gguf");
    cli_expect(2, "$PARE fit $DEMO --pareto -f $TEXT --size 2M --state s");
    cli_expect(2, "$PARE fit $DEMO $DEMO --pareto -f $TEXT --state s");
    r = cli_expect(2, "$PARE fit $DEMO --size 2M -f - --test - --state s <$TEXT");
    assert_true(cli_contains(r.err, "--file - and --test -"));
    assert_true(cli_contains(cli_expect(2, "$PARE fit $DEMO --vram 2G --limit 2").err, "by a text"));
    assert_true(cli_contains(cli_expect(2, "$PARE fit $DEMO --vram 2G --sequential").err, "by a text"));
    cli_expect(2, "$PARE fit $DEMO --vram 1G --kv q8_0 --cache-k f16");
    cli_expect(2, "$PARE fit $DEMO --vram 1G --kv q9");
    cli_expect(2, "$PARE fit $DEMO --vram 1G -o out.gguf");
    cli_expect(2, "$PARE fit $DEMO $DEMO --vram 1G -f $TEXT -o out.gguf");
    cli_expect(2, "$PARE fit $DEMO --vram 1G -f $TEXT");
    cli_expect(2, "$PARE fit $DEMO --vram 1G -t q4_k_x");
    cli_expect(3, "$PARE fit absent.gguf --vram 1G");
    cli_expect(5, "$PARE fit $DEMO --size 2M -f $TEXT --state s -o absent/out.gguf");
    cli_expect(5, "$PARE fit $DEMO --size 2M -f $TEXT --state s --report absent/out.html && test ! -e s");
    r = cli_expect(0, "$PARE fit $DEMO --vram 2G --ctx 100000 -t q8_0");
    assert_true(cli_contains(r.err, "is more than the"));
    cli_expect(0, "test ! -e out.gguf && test ! -e out.gguf.fit");
}

/* Options that would do nothing are refused, and --plan-only plans, whatever there is to choose by. */
static void no_option_is_left_idle(void **state)
{
    static const char *const of_text[] = {"--types q4_0", "--min-bits 4", "--prefer-fast cpu", "--test $TEXT",
                                          "--state s",    "--imatrix x",  "--effort best",     "--pin"};
    static const char *const of_memory[] = {"--ctx 512", "--kv q8_0", "--sequences 2", "--reserve 1M"};
    (void)state;
    for (size_t i = 0; i < sizeof of_text / sizeof *of_text; i++)
        assert_true(cli_contains(cli_expect(2, "$PARE fit $DEMO --vram 2G %s", of_text[i]).err, "by a text: -f TEXT"));
    for (size_t i = 0; i < sizeof of_memory / sizeof *of_memory; i++)
        assert_true(
            cli_contains(cli_expect(2, "$PARE fit $DEMO --size 1M -f $TEXT --state s %s", of_memory[i]).err, "--vram"));
    assert_true(cli_contains(cli_expect(2, "$PARE fit $DEMO --size 1M -f $TEXT --state s --pin").err, "--output"));
    assert_true(cli_contains(cli_expect(2, "$PARE fit $DEMO --vram 2G --table --ctx 5").err, "--table"));
    cli_result r = cli_expect(0, "$PARE fit $DEMO --vram 2G -f $TEXT --state s --plan-only");
    assert_true(cli_contains(r.out, "together"));
    cli_expect(2, "$PARE fit $DEMO --vram 2G -f $TEXT --plan-only --types q4_0");
    cli_expect(0, "test ! -e s");
}

/* More memory takes no shorter context, and fewer bits of the cache neither; the larger of two models is found. */
static void tables_over_cards_and_models(void **state)
{
    (void)state;
    json_t *doc = run_json("$PARE fit $DEMO --vram 2G -t q8_0 --table"), *row;
    double last[3] = {0};
    size_t i;
    json_array_foreach(json_object_get(doc, "contexts"), i, row)
    {
        const double now[3] = {cli_number(row, "f16"), cli_number(row, "q8_0"), cli_number(row, "q4_0")};
        for (int k = 0; k < 3; k++) {
            assert_true(now[k] >= last[k] && (k == 0 || now[k] >= now[k - 1]));
            last[k] = now[k];
        }
    }
    assert_true(i > 3 && last[0] == 2048);
    json_decref(doc);
    cli_expect(0, "$PARE quantize $DEMO -t q4_0 -o small.gguf -q");
    doc = run_json("$PARE fit small.gguf $DEMO --vram 2G --ctx 512");
    assert_true(cli_number(doc, "largest") == 1);
    json_decref(doc);
    assert_true(cli_contains(cli_expect(0, "$PARE fit small.gguf $DEMO --vram 2G --ctx 512").out, "<- the largest"));
    cli_expect(1, "$PARE fit small.gguf $DEMO --vram 1100M --reserve 1098M --ctx 512");
    cli_expect(2, "$PARE fit small.gguf $DEMO --vram 2G --table");
    cli_expect(0, "rm small.gguf");
}

static void write_texts(void)
{
    cli_expect(0, "head -c 14000 $TEXT >calibration.txt && tail -c 6000 $TEXT >test.txt && "
                  "$PARE quantize $DEMO -t q4_0 -o plain.gguf -q");
}

/* What --task says of the file and of the presets beside it; the page shows it. */
static void answers_are_those_of_compare(const json_t *doc)
{
    const json_t *budget = json_array_get(json_object_get(doc, "budgets"), 0), *rival;
    cli_result r =
        cli_expect(0, "$PARE compare $DEMO out.gguf --task %s --task %s --no-weights --json -q",
                   source_path("tests/data/tasks/piqa_val.jsonl"), source_path("tests/data/tasks/civics_test.csv"));
    json_t *compared = cli_json(&r);
    const json_t *model = json_array_get(json_object_get(compared, "models"), 0);
    size_t i;
    assert_true(json_array_size(json_object_get(budget, "tasks")) == 2);
    assert_true(json_equal(json_object_get(budget, "tasks"), json_object_get(model, "tasks")));
    assert_true(json_equal(json_object_get(budget, "all_tasks"), json_object_get(model, "all_tasks")));
    json_array_foreach(json_object_get(doc, "presets"), i, rival)
    {
        const json_t *task = json_array_get(json_object_get(rival, "tasks"), 1);
        assert_true(cli_number(task, "n_items") == 4);
        assert_true(cli_number(json_object_get(task, "first_token"), "kld_mean") > 0);
    }
    r = cli_expect(0, "$PARE compare $DEMO out.gguf --task %s --task-ctx 10 --no-weights",
                   source_path("tests/data/tasks/civics_test.csv"));
    assert_true(cli_contains(r.out, "no item was asked; 4 items do not fit") && !cli_contains(r.out, "nan"));
    r = cli_expect(0, "cat page.html && rm page.html");
    assert_true(cli_contains(r.out, "Answers, item by item") && cli_contains(r.out, "mmlu_civics"));
    json_decref(compared);
}

/* The file fills its budget, is what was measured, and is the same with other threads; its state serves a second size.
 */
static void a_file_fills_its_budget_and_is_what_was_measured(void **state)
{
    (void)state;
    write_texts();
    const char *choose = "$PARE fit $DEMO -f calibration.txt --test test.txt --types q2_k,q4_0,q8_0";
    cli_result r = cli_expect(
        0,
        "size=$(stat -c %%s plain.gguf) && %s --size $size -o out.gguf -j 1 --pin --json --report page.html "
        "--task %s --task %s",
        choose, source_path("tests/data/tasks/piqa_val.jsonl"), source_path("tests/data/tasks/civics_test.csv"));
    json_t *doc = cli_json(&r);
    const json_t *budget = json_array_get(json_object_get(doc, "budgets"), 0),
                 *rows = json_object_get(budget, "tensors"), *row;
    const double bytes = cli_number(budget, "bytes"), wanted = cli_number(budget, "budget_bytes");
    assert_true(bytes <= wanted && bytes > 0.98 * wanted);
    cli_expect(0, "test $(stat -c %%s out.gguf) = %.0f && $PARE verify pare.lock -q", bytes);
    r = cli_expect(0, "$PARE eval out.gguf --reference $DEMO -f test.txt --json -q");
    json_t *measured = cli_json(&r);
    assert_true(cli_number(measured, "kld_mean") == cli_number(json_object_get(budget, "measured"), "kld_mean"));
    answers_are_those_of_compare(doc);
    size_t i, types = 0;
    const char *first = NULL;
    json_array_foreach(rows, i, row) if (json_is_true(json_object_get(row, "chosen")))
    {
        const char *to = json_string_value(json_object_get(row, "to"));
        assert_true(strstr("q2_K q4_0 q8_0", to) != NULL);
        types += first != NULL && strcmp(first, to) != 0;
        first = first != NULL ? first : to;
    }
    assert_true(types > 0); /* it does choose */
    assert_true(json_array_size(json_object_get(doc, "presets")) > 0);
    json_decref(doc);
    json_decref(measured);
    /* from nothing, with other threads, the same choice and bytes */
    cli_expect(0, "grep -q plan_sha256 pare.lock && $PARE reproduce pare.lock --inputs $DEMO -j 2 >&2 && "
                  "mv out.gguf one.gguf && cp one.gguf out.gguf && rm pare.lock SHA256SUMS");
    r = cli_expect(0, "%s --size 1400000,100000,1100000 --state out.gguf.fit --report front.html", choose);
    assert_true(cli_count_lines(r.out) >= 4);
    assert_true(cli_contains(r.out, "97.66 KiB    does not fit: ") && cli_contains(r.out, "the budget leaves 100000"));
    r = cli_expect(0, "cat front.html && rm front.html");
    assert_true(cli_contains(r.out, "Divergence by size") && cli_contains(r.out, "Budgets that nothing fits into"));
    r = cli_expect(1, "%s --size 100000 --state out.gguf.fit", choose);
    assert_true(cli_contains(r.err, "smallest"));
    cli_expect(2, "%s --size 2000000 -o out.gguf", choose); /* it exists */
    cli_expect(0, "rm -r out.gguf out.gguf.fit one.gguf");
}

/* --sequential writes other bytes of the same types, measures them as they are in the file, and plain ones beside. */
static void the_order_of_a_pass_is_measured_as_written(const char *choose, double size)
{
    cli_result r = cli_expect(0, "$PARE fit $DEMO %s --size %.0f -o plain-fit.gguf", choose, size);
    json_t *plain = cli_json(&r);
    r = cli_expect(0, "$PARE fit $DEMO %s --size %.0f --sequential -o seq.gguf --pin", choose, size);
    json_t *doc = cli_json(&r), *budget = json_array_get(json_object_get(doc, "budgets"), 0),
           *as_plain = json_array_get(json_object_get(plain, "budgets"), 0);
    assert_true(cli_number(budget, "n_sequential") == 16 && cli_number(as_plain, "n_sequential") == 0);
    assert_true(json_equal(json_object_get(budget, "tensors"), json_object_get(as_plain, "tensors")));
    assert_true(json_equal(json_object_get(budget, "measured_plain"), json_object_get(as_plain, "measured")));
    r = cli_expect(0, "$PARE eval seq.gguf --reference $DEMO -f test.txt --json -q");
    json_t *measured = cli_json(&r);
    const double kld = cli_number(json_object_get(budget, "measured"), "kld_mean");
    assert_true(cli_number(measured, "kld_mean") == kld);
    assert_true(kld != cli_number(json_object_get(budget, "measured_plain"), "kld_mean"));
    assert_true(cli_contains(cli_expect(0, "cat pare.lock").out, "bytes_by_cpu"));
    cli_expect(0, "test -e front/sequential.pare-state && test ! -e front/sequential-preset.pare-state");
    cli_expect(0, "rm seq.gguf plain-fit.gguf pare.lock SHA256SUMS");
    cli_expect(0, "$PARE imatrix $DEMO -f calibration.txt -o few.gguf --chunks 1 -q");
    r = cli_expect(2, "$PARE fit $DEMO %s --size %.0f --sequential --imatrix few.gguf", choose, size);
    assert_true(cli_contains(r.err, "second-order statistics: few.gguf has none"));
    cli_expect(0, "rm few.gguf");
    json_decref(plain);
    json_decref(doc);
    json_decref(measured);
}

/* Sizes nobody named: from the smallest file to the largest in equal ratios, and none of more divergence than a smaller
 * one; a card too small for anything is told of beside one that serves. Few tensors are chosen for, so that it is
 * quick.
 */
static void fronts_need_no_sizes(void **state)
{
    (void)state;
    const char *choose = "-f calibration.txt --test test.txt --types q4_0,q8_0 --keep blk=q4_0 --state front -q --json";
    cli_result r = cli_expect(0, "$PARE fit $DEMO %s --pareto", choose);
    json_t *doc = cli_json(&r), *budgets = json_object_get(doc, "budgets"), *row;
    const double ratio =
        cli_number(json_array_get(budgets, 7), "budget_bytes") / cli_number(json_array_get(budgets, 0), "budget_bytes");
    double bytes = 0, kld = INFINITY;
    size_t i;
    assert_true(json_array_size(budgets) == 8 && ratio > 1.1);
    json_array_foreach(budgets, i, row)
    {
        const double wanted = cli_number(row, "budget_bytes");
        assert_true(json_is_true(json_object_get(row, "fits")));
        assert_true(fabs(wanted / cli_number(json_array_get(budgets, 0), "budget_bytes") - pow(ratio, (double)i / 7)) <
                    1e-4);
        assert_true(cli_number(row, "bytes") <= wanted && cli_number(row, "bytes") >= bytes);
        assert_true(cli_number(row, "kld_predicted") <= kld);
        bytes = cli_number(row, "bytes");
        kld = cli_number(row, "kld_predicted");
    }
    assert_true(bytes == cli_number(json_array_get(budgets, 7), "budget_bytes"));
    assert_true(cli_number(json_array_get(budgets, 0), "bytes") ==
                cli_number(json_array_get(budgets, 0), "budget_bytes"));
    json_decref(doc);
    r = cli_expect(0, "$PARE fit $DEMO %s --vram 4G --vram 300M --ctx 256", choose);
    doc = cli_json(&r);
    budgets = json_object_get(doc, "budgets");
    row = json_array_get(budgets, 0);
    assert_true(json_is_false(json_object_get(row, "fits")) && json_object_get(row, "memory") == NULL);
    assert_true(cli_contains(json_string_value(json_object_get(row, "why")), "the smallest file takes"));
    assert_true(json_object_get(row, "budget_bytes") == NULL);
    row = json_array_get(budgets, 1);
    assert_true(cli_number(json_array_get(json_object_get(row, "devices"), 0), "bytes") == 4096 * MIB);
    assert_true(cli_number(row, "bytes") == bytes && json_is_object(json_object_get(row, "memory")));
    json_decref(doc);
    the_order_of_a_pass_is_measured_as_written(choose, bytes - 100000);
    cli_expect(0, "rm -r front");
}

/* Before anything is encoded; of several models each has its folder. */
static void what_no_file_can_meet_is_said_early(void **state)
{
    (void)state;
    const char *choose = "-f calibration.txt --test test.txt --types q4_0,q8_0";
    char path[600];
    cli_expect(0, "mkdir busy");
    snprintf(path, sizeof path, "%s/busy/in-use", cli_folder());
    const int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
    assert_true(cli_contains(cli_expect(5, "$PARE fit $DEMO %s --size 2M --state busy", choose).err,
                             "busy/in-use: another process is at work with it"));
    close(fd);
    cli_expect(0, "test $(ls busy) = in-use && rm -r busy"); /* no statistics were collected */
    cli_result r = cli_expect(1, "$PARE fit $DEMO $DEMO %s --size 10000 --state deep", choose);
    assert_true(cli_contains(r.err, "the smallest file takes"));
    cli_expect(0, "cp calibration.txt same.txt");
    r = cli_expect(2, "$PARE fit $DEMO -f calibration.txt --test same.txt --size 2M --state deep/model-1");
    assert_true(cli_contains(r.err, "same.txt is the text that types are chosen by"));
    r = cli_expect(2,
                   "rm same.txt; : >none.txt; $PARE fit $DEMO -f calibration.txt --test none.txt --size 2M --state deep/model-1");
    assert_true(cli_contains(r.err, "at least one window of 512 is needed"));
    r = cli_expect(1, "$PARE fit $DEMO %s --vram 1100M --ctx 100000 --state deep/model-1", choose);
    assert_true(cli_contains(r.err, "is more than the"));
    r = cli_expect(2, "$PARE fit $DEMO %s --size 2M --min-bits 20 --state deep/model-1", choose);
    assert_true(cli_contains(r.err, "leave no type"));
    cli_expect(0, "test -d deep/model-2 && ! find deep | grep -e pare-state -e statistics && rm -r deep");
}

/* A rule of the user's holds; memory as a budget gives a file that fits into it. */
static void memory_and_rules_hold(void **state)
{
    (void)state;
    json_t *plan = run_json("$PARE fit $DEMO --vram 4G --ctx 256 -t q8_0"), *part;
    const json_t *planned = json_array_get(json_object_get(candidate(plan, "q8_0"), "devices"), 0);
    double beside = cli_number(planned, "bytes");
    size_t k;
    json_array_foreach(json_object_get(candidate(plan, "q8_0"), "parts"), k,
                       part) if (json_is_integer(json_object_get(part, "place")) &&
                                 strcmp(json_string_value(json_object_get(part, "kind")), "weights") == 0) beside -=
        cli_number(part, "bytes");
    json_decref(plan);
    const double vram = beside + 1.0e6;
    cli_result r =
        cli_expect(0,
                   "$PARE fit $DEMO -f calibration.txt --test test.txt --vram %.0f --ctx 256 --types q4_0,q8_0,q2_k "
                   "--keep 'blk.0.attn_v=q8_0' -o out.gguf --json",
                   vram);
    json_t *doc = cli_json(&r), *row;
    const json_t *budget = json_array_get(json_object_get(doc, "budgets"), 0);
    const json_t *device = json_array_get(json_object_get(json_object_get(budget, "memory"), "devices"), 0);
    size_t i;
    bool found = false;
    assert_true(cli_number(device, "bytes") <= vram && cli_number(device, "bytes") > vram - 0.1e6);
    json_array_foreach(json_object_get(budget, "tensors"), i,
                       row) if (strcmp(json_string_value(json_object_get(row, "name")), "blk.0.attn_v.weight") == 0)
        found = strcmp(json_string_value(json_object_get(row, "to")), "q8_0") == 0;
    assert_true(found);
    json_decref(doc);
    cli_expect(0, "rm -r out.gguf out.gguf.fit");
}

static double need(json_t *doc, const char *place)
{
    const json_t *of = candidate(doc, "q4_0");
    const json_t *sum =
        strcmp(place, "host") == 0 ? json_object_get(of, "host") : json_array_get(json_object_get(of, "devices"), 0);
    return cli_number(sum, "high");
}

/* Both memories hold what is chosen, the embedding in RAM too; and what is too small is told before anything is made.
 */
static void two_memories_hold(void **state)
{
    (void)state;
    const char *memory = "--ctx 256 --reserve 0";
    json_t *plan = run_json("$PARE fit $DEMO --vram 4G --ram 4G --ctx 256 --reserve 0 -t q4_0");
    const double vram = need(plan, "card"), ram = need(plan, "host") + 1000;
    json_decref(plan);
    cli_result r = cli_expect(0,
                              "$PARE fit $DEMO -f calibration.txt --test test.txt --vram %.0f --ram %.0f %s --types "
                              "q4_0,q8_0 --state two --json",
                              vram, ram, memory);
    json_t *doc = cli_json(&r), *row;
    const json_t *budget = json_array_get(json_object_get(doc, "budgets"), 0), *m = json_object_get(budget, "memory");
    assert_true(cli_number(json_array_get(json_object_get(m, "devices"), 0), "high") <= vram);
    assert_true(cli_number(json_object_get(m, "host"), "high") <= ram);
    size_t i;
    json_array_foreach(json_object_get(budget, "tensors"), i,
                       row) if (strcmp(json_string_value(json_object_get(row, "name")), "token_embd.weight") == 0)
        assert_string_equal(json_string_value(json_object_get(row, "to")), "q4_0");
    json_decref(doc);
    r = cli_expect(
        1,
        "$PARE fit $DEMO -f calibration.txt --test test.txt --vram %.0f --ram %.0f %s --types q4_0,q8_0 --state none",
        vram, ram / 2, memory);
    assert_true(cli_contains(r.err, "the smallest file takes ") && cli_contains(r.err, " more RAM ("));
    cli_expect(0, "test ! -e none/pare-state && rm -rf two none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_planned_part_by_part),
        cmocka_unit_test(what_does_not_fit_is_said),
        cmocka_unit_test(no_option_is_left_idle),
        cmocka_unit_test(tables_over_cards_and_models),
        cmocka_unit_test(a_file_fills_its_budget_and_is_what_was_measured),
        cmocka_unit_test(fronts_need_no_sizes),
        cmocka_unit_test(what_no_file_can_meet_is_said_early),
        cmocka_unit_test(memory_and_rules_hold),
        cmocka_unit_test(two_memories_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
