#include "cli.h"

#include "core/bytes.h"
#include "formats/imatrix_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOWS "demo.gguf -f text.txt -c 8 --chunks 2 "

static int make_model(void **state)
{
    (void)state;
    cli_expect(0, "$PARE quantize $DEMO -t q4_k_m -o demo.gguf -q && cp $TEXT text.txt");
    setenv("PLUGINS", PARE_PLUGINS, 1);
    setenv("PARE_CUDA_PLUGIN", PARE_BINARY_DIR "/pare-cuda-emulated.so", 1);
    return 0;
}

static void values_that_make_no_sense_are_refused(void **state)
{
    static const char *const wrong[] = {"tpu",        "cud",     "cuda0",   "cuda:",    "cuda:x",
                                        "cuda:-1",    "cuda:0,", "cuda:,0", "cuda:0,0", "cuda:1000",
                                        "cuda:all,0", "CUDA",    "''"};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cli_result r = cli_expect(2, "$PARE eval " WINDOWS "--device %s", wrong[i]);
        CHECK(cli_contains(r.err, "expected auto, cpu, cuda") && cli_count_lines(r.err) == 2);
    }
    CHECK(
        cli_contains(cli_expect(2, "$PARE eval " WINDOWS "--device cuda --compute ggml").err, "arithmetic of the CPU"));
    CHECK(cli_contains(cli_expect(2, "$PARE eval " WINDOWS "--device cpu --device-memory 1G").err, "--device-memory"));
    CHECK(cli_contains(cli_expect(2, "PARE_EMULATE_DEVICES=2 $PARE generate demo.gguf -p a -n 1 --device cuda:0,1").err,
                       "runs on 1"));
}

/* A device that cannot be had: exit code 6, one line, and never the CPU in its place. */
static void what_is_wrong_is_said(void **state)
{
    static const struct {
        const char *environment, *device, *why;
    } rows[] = {
        {"PARE_CUDA_PLUGIN=./none.so", "cuda", "no CUDA plugin: looked for ./none.so"},
        {"PARE_CUDA_PLUGIN=text.txt", "cuda", "./text.txt: the CUDA plugin cannot be loaded: "},
        {"PARE_CUDA_PLUGIN=$PLUGINS/plugin_stranger.so", "cuda", "plugin_stranger.so: is no plugin of pare"},
        {"PARE_CUDA_PLUGIN=$PLUGINS/plugin_older.so", "cuda", "plugin_older.so: the CUDA plugin is of another version"},
        {"PARE_EMULATE_DRIVER=none", "cuda", "no CUDA driver is installed"},
        {"PARE_EMULATE_DRIVER=old", "cuda",
         "the installed driver supports CUDA 11.4, and pare's plugin was built with"},
        {"PARE_EMULATE_DEVICES=0", "cuda", "the CUDA driver shows no device"},
        {"PARE_EMULATE_DEVICES=2", "cuda:2", "there is no device 2: the CUDA driver shows 2, counted from 0"},
        {"PARE_EMULATE_DEVICES=2", "cuda:1,4", "there is no device 4"},
        {"PARE_EMULATE_CAPABILITY=7.0", "cuda:0",
         "(emulated device 0) has compute capability 7.0; the CUDA plugin has "},
        {"PARE_EMULATE_CAPABILITY=11.0", "cuda", "the CUDA plugin has code for 80 86 89 90 100 120 ptx120"},
        {"PARE_EMULATE_MEMORY=200K", "cuda", "of device memory needed for "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cli_result r =
            cli_expect(6, "export %s && $PARE eval " WINDOWS "-q --device %s", rows[i].environment, rows[i].device);
        CHECK(cli_contains(r.err, rows[i].why) && cli_count_lines(r.err) == 1 && r.out[0] == '\0');
        r = cli_expect(6, "export %s && $PARE eval " WINDOWS "-q --json --device %s", rows[i].environment,
                       rows[i].device);
        json_t *doc = cli_json(&r);
        CHECK(json_integer_value(json_object_get(json_object_get(doc, "error"), "exit")) == 6);
        json_decref(doc);
    }
}

static void too_little_memory_names_numbers_and_options(void **state)
{
    (void)state;
    cli_result r = cli_expect(6, "$PARE eval " WINDOWS "--device cuda --device-memory 150K -q");
    CHECK(cli_contains(r.err, " of device memory needed for ") && cli_contains(r.err, " free of 2.0 GiB"));
    CHECK(cli_contains(r.err, "--batch") && cli_contains(r.err, "--device-memory"));
}

static void auto_says_why_it_is_the_cpu(void **state)
{
    static const char *const rows[][2] = {
        {"PARE_CUDA_PLUGIN=./none.so", "pare: device cpu: no CUDA plugin is installed"},
        {"PARE_CUDA_PLUGIN=$PLUGINS/plugin_older.so", "the CUDA plugin is of another version"},
        {"PARE_EMULATE_DRIVER=none", "pare: device cpu: no CUDA driver is installed"},
        {"PARE_EMULATE_CAPABILITY=7.5",
         "pare: device cpu: device cuda:0 (emulated device 0) has compute capability 7.5"},
        {"X=0 COMPUTE='--compute ggml'", "pare: device cpu: --compute ggml is arithmetic of the CPU"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cli_result r = cli_expect(0, "export %s && $PARE eval " WINDOWS "$COMPUTE", rows[i][0]);
        CHECK(cli_contains(r.err, rows[i][1]) && cli_count_lines(r.err) == 1);
        CHECK(cli_contains(r.out, "on cpu in "));
    }
    CHECK(cli_expect(0, "PARE_EMULATE_DRIVER=none $PARE eval " WINDOWS "-q").err[0] == '\0');
    cli_result r = cli_expect(0, "$PARE eval " WINDOWS "--device auto");
    CHECK(cli_contains(r.err, "pare: device cuda:0: emulated device 0, compute capability 8.0"));
    CHECK(cli_contains(r.out, "on cuda:0 in bf16"));
    CHECK(cli_contains(cli_expect(0, "PARE_EMULATE_DEVICES=2 $PARE eval " WINDOWS).out, "on cuda:0 in bf16"));
}

/* Machine code is for capabilities of its major number from its own on, PTX for all from its own on. */
static void newer_devices_are_served(void **state)
{
    static const struct {
        const char *capability;
        bool served;
    } rows[] = {{"7.5", false},  {"8.6", true},  {"8.7", true}, {"10.3", true},
                {"11.0", false}, {"12.1", true}, {"13.0", true}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cli_result r = cli_expect(0, "PARE_EMULATE_CAPABILITY=%s $PARE env", rows[i].capability);
        CHECK(cli_contains(r.out, "the plugin has no code for it") != rows[i].served);
    }
}

/* The perplexity that a command's document has; its device and compute must be as given. */
static double perplexity_of(const char *windows, const char *options, const char *device, const char *compute)
{
    cli_result r = cli_expect(0, "PARE_EMULATE_DEVICES=2 $PARE eval %s -q --json %s", windows, options);
    json_t *doc = cli_json(&r);
    CHECK(strcmp(json_string_value(json_object_get(doc, "device")), device) == 0);
    CHECK(strcmp(json_string_value(json_object_get(doc, "compute")), compute) == 0);
    double value = json_real_value(json_object_get(doc, "perplexity"));
    json_decref(doc);
    return value;
}

static double perplexity(const char *options, const char *device, const char *compute)
{
    return perplexity_of(WINDOWS, options, device, compute);
}

static void figures_are_those_of_the_cpu(void **state)
{
    (void)state;
    const double cpu = perplexity("--device cpu", "cpu", "f32");
    const double f32 = perplexity("--device cuda:1 --compute f32", "cuda:1", "f32");
    const double bf16 = perplexity("--device cuda", "cuda:0", "bf16");
    CHECK(fabs(f32 / cpu - 1) < 1e-4);
    CHECK(fabs(bf16 / cpu - 1) < 1e-2 && bf16 != f32);
}

/* Keys and values in codecs: a projection's signs and a block type, rotated; KIVI's, the last 128 tokens exact. */
static void caches_are_those_of_the_cpu(void **state)
{
    static const char *const how[][2] = {
        {"demo.gguf -f text.txt -c 8 --chunks 1", "--cache-k turbo3.5p --cache-v q4_0 --cache-rotate full"},
        {"demo.gguf -f text.txt -c 168 --chunks 1", "--cache-k kivi2 --cache-v kivi2"}};
    (void)state;
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        char options[160];
        const double whole = perplexity_of(how[i][0], "--device cpu", "cpu", "f32");
        snprintf(options, sizeof options, "%s --device cpu", how[i][1]);
        const double cpu = perplexity_of(how[i][0], options, "cpu", "f32");
        snprintf(options, sizeof options, "%s --device cuda --compute f32", how[i][1]);
        const double cuda = perplexity_of(how[i][0], options, "cuda:0", "f32");
        CHECK(fabs(cuda / cpu - 1) < 1e-4 && fabs(cpu / whole - 1) > 1e-3);
    }
}

/* Of the first tokens behind a prompt: how far the largest logit led. */
static void leads_of(const char *options, double *out, size_t n)
{
    cli_result r = cli_expect(0, "$PARE generate demo.gguf -f start.txt -n %zu --json %s", n, options);
    json_t *doc = cli_json(&r);
    const json_t *text = json_array_get(json_object_get(doc, "texts"), 0), *leads = json_object_get(text, "leads");
    CHECK(json_array_size(leads) == n && json_integer_value(json_object_get(text, "n_prompt_tokens")) > 100);
    for (size_t i = 0; i < n; i++)
        out[i] = json_number_value(json_array_get(leads, i));
    json_decref(doc);
}

/* Texts that are continued: groups of keys before RoPE, first and recent tokens in F16. */
static void kept_texts_are_those_of_the_cpu(void **state)
{
    enum { N = 3 };
    static const char cache[] = "--cache-k channel2 --cache-v q4_0 --cache-sinks 4 --cache-recent 9";
    (void)state;
    char options[160];
    double whole[N], cpu[N], cuda[N], change = 0, miss = 0;
    cli_expect(0, "head -c 600 text.txt >start.txt");
    leads_of("--device cpu", whole, N);
    snprintf(options, sizeof options, "%s --device cpu", cache);
    leads_of(options, cpu, N);
    snprintf(options, sizeof options, "%s --device cuda --compute f32", cache);
    leads_of(options, cuda, N);
    for (size_t i = 0; i < N; i++) {
        change = fmax(change, fabs(cpu[i] - whole[i]));
        miss = fmax(miss, fabs(cuda[i] - cpu[i]));
    }
    CHECK(change > 1e-2 && miss < 1e-3);
}

/* Said once, with what is streamed; and the figures are those of weights that stay. */
static void weights_are_streamed(void **state)
{
    (void)state;
    const double all = perplexity("--device cuda --batch 8", "cuda:0", "bf16");
    const double streamed = perplexity("--device cuda --batch 8 --device-memory 1M", "cuda:0", "bf16");
    CHECK(fabs(streamed / all - 1) < 1e-14);
    cli_result r = cli_expect(0, "$PARE eval " WINDOWS "--device cuda --batch 8 --device-memory 1M");
    CHECK(cli_contains(r.err, "MiB of weights stay on the device, the rest is streamed each pass"));
    CHECK(cli_count_lines(r.err) == 2);
}

/* A record without what depends on the machine and the time. Owned by the caller. */
static json_t *figures(const char *name)
{
    static const char *const others[] = {"tool", "time", "machine", "digest", "seal"};
    cli_result r = cli_expect(0, "cat %s", name);
    json_t *doc = cli_json(&r);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        json_object_del(doc, others[i]);
    json_object_del(json_object_get(doc, "items"), "name");
    return doc;
}

static void devices_share_the_windows(void **state)
{
    (void)state;
    const char *command = "PARE_EMULATE_DEVICES=2 $PARE eval demo.gguf -f text.txt -c 8 --chunks 5 --batch 8 -q ";
    cli_expect(0, "%s --device cuda --record one.json", command);
    CHECK(cli_contains(cli_expect(0, "%s --device cuda:all --record two.json", command).out, "on cuda:0,1 in bf16"));
    cli_expect(0, "cmp one.jsonl two.jsonl && $PARE verify two.json");
    json_t *one = figures("one.json"), *two = figures("two.json");
    CHECK(json_equal(one, two));
    json_decref(one);
    json_decref(two);
    cli_expect(0, "$PARE eval demo.gguf -f text.txt -c 8 --chunks 2 --device cpu -q --save-logits s.lgt");
    CHECK(
        cli_contains(cli_expect(2, "PARE_EMULATE_DEVICES=2 $PARE eval " WINDOWS "--device cuda:0,1 --logits s.lgt").err,
                     "2 devices, it runs on 1"));
}

static void every_command_runs_on_it(void **state)
{
    (void)state;
    cli_expect(
        0, "printf '\\1\\0\\0\\0\\2\\0\\0\\0' >ids && $PARE logits demo.gguf --tokens ids -o a.f32 --device cpu -q && "
           "$PARE logits demo.gguf --tokens ids -o b.f32 --device cuda --compute f32 -q && ! cmp -s a.f32 b.f32");
    CHECK(cli_contains(cli_expect(0, "$PARE generate demo.gguf -p Hello -n 1 --device cuda --json").out, "\"cuda:0\""));
    cli_expect(0, "$PARE imatrix demo.gguf -f text.txt -c 8 --chunks 2 -o a.imatrix --device cuda --compute f32");
    CHECK(cli_contains(cli_expect(0, "$PARE compare $PWD/demo.gguf demo.gguf -f text.txt -c 8 --chunks 2 --device cuda "
                                     "--json --no-weights")
                           .out,
                       "\"device\": \"cuda:0\""));
}

static double element(const pare_gram *g, uint64_t i, uint64_t j)
{
    return (double)pare_load_f32le(g->lower + 4 * (i * (i + 1) / 2 + j));
}

static void check_gram(const pare_gram *got, const pare_gram *want)
{
    CHECK(got != NULL && got->n_columns == want->n_columns && got->count == want->count);
    for (uint64_t i = 0; i < want->n_columns; i++)
        for (uint64_t j = 0; j <= i; j++)
            CHECK(fabs(element(got, i, j) - element(want, i, j)) <=
                  1e-4 * sqrt(element(want, i, i) * element(want, j, j)));
}

/* Products of inputs summed on the device, in one run over the text and in several, are those of the CPU. */
static void second_order_statistics_are_the_same(void **state)
{
    (void)state;
    static const char *const how[] = {"--device cpu", "--device cuda --compute f32",
                                      "--device cuda --compute f32 --full-memory 1500K"};
    pare_imatrix im[3];
    pare_error err = {0};
    for (int i = 0; i < 3; i++) {
        char path[600];
        cli_expect(0, "$PARE imatrix demo.gguf -f text.txt -c 8 --chunks 2 --full -o full%d.gguf -q %s", i, how[i]);
        snprintf(path, sizeof path, "%s/full%d.gguf", cli_folder(), i);
        CHECK_OK(pare_imatrix_open(&im[i], path, &err), &err);
        CHECK(im[i].grams.n == 9 && im[i].grams.n_matrices == im[0].grams.n_matrices);
        for (size_t k = 0; k < im[0].grams.n; k++)
            check_gram(pare_grams_find(&im[i].grams, im[0].grams.list[k].name), &im[0].grams.list[k]);
    }
    cli_expect(0, "cmp full1.gguf full2.gguf >&2; rm full0.gguf full1.gguf full2.gguf");
    for (int i = 0; i < 3; i++)
        pare_imatrix_close(&im[i]);
}

/* What the record says of the device, and of the batch that was asked for. */
static void the_record_names_the_device(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE eval " WINDOWS "-q --device cuda --batch 8 --record d.json >d.txt && "
                                 "$PARE verify d.json >v.txt && cat d.json");
    json_t *doc = cli_json(&r), *machine = json_object_get(doc, "machine");
    CHECK(strcmp(json_string_value(json_object_get(machine, "device")), "cuda:0") == 0);
    CHECK(strcmp(json_string_value(json_object_get(machine, "device_name")), "emulated device 0") == 0);
    CHECK(json_string_value(json_object_get(machine, "products")) != NULL);
    CHECK(json_integer_value(json_object_get(machine, "batch_windows")) == 1);
    json_decref(doc);
    r = cli_expect(0, "PARE_EMULATE_DEVICES=2 $PARE eval " WINDOWS "-q --device cuda:1 --record e.json >e.txt && "
                      "cat e.json");
    machine = json_object_get(doc = cli_json(&r), "machine");
    CHECK(strcmp(json_string_value(json_object_get(machine, "device_name")), "emulated device 1") == 0);
    json_decref(doc);
}

static void env_lists_the_devices(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "PARE_EMULATE_DEVICES=2 $PARE env");
    CHECK(cli_contains(r.out, "pare-cuda-emulated.so)\n") && cli_contains(r.out, "  cuda:1 emulated device 1, "));
    r = cli_expect(0, "PARE_EMULATE_DEVICES=2 $PARE env --json");
    json_t *doc = cli_json(&r), *cuda = json_object_get(doc, "cuda"), *devices = json_object_get(cuda, "devices");
    CHECK(json_array_size(json_object_get(doc, "devices")) == 3 && json_array_size(devices) == 2);
    CHECK(strcmp(json_string_value(json_object_get(json_array_get(devices, 1), "capability")), "8.0") == 0);
    CHECK(json_integer_value(json_object_get(json_array_get(devices, 0), "bytes")) == 1LL << 31);
    CHECK(json_string_value(json_object_get(cuda, "products")) != NULL && json_object_get(cuda, "why") == NULL);
    json_decref(doc);
    r = cli_expect(0, "PARE_EMULATE_DRIVER=none $PARE env --json");
    doc = cli_json(&r);
    cuda = json_object_get(doc, "cuda");
    CHECK(json_array_size(json_object_get(cuda, "devices")) == 0 && json_object_get(cuda, "plugin") != NULL);
    CHECK(cli_contains(json_string_value(json_object_get(cuda, "why")), "no CUDA driver"));
    json_decref(doc);
    CHECK(cli_contains(cli_expect(0, "PARE_CUDA_PLUGIN=./none.so $PARE --version").out,
                       "cuda arch none: no CUDA plugin"));
    CHECK(cli_contains(cli_expect(0, "$PARE --version").out, "cuda arch "));
}

/* fit --measure: parts of the plan on the device, a line of log a run, and a page of it. */
static void plans_are_taken_on_devices(void **state)
{
    const char *fit = "$PARE fit $DEMO -t q4_0 --vram 1500M --ctx 512 --measure";
    (void)state;
    cli_result r = cli_expect(0, "%s --measure-log log.jsonl --json", fit);
    json_t *doc = cli_json(&r), *part;
    const json_t *m = json_object_get(doc, "measured"), *device = json_array_get(json_object_get(m, "devices"), 0);
    double sum = 0, predicted = 0;
    size_t i, n_allocated = 0;
    CHECK(json_is_true(json_object_get(m, "fits")) && cli_number(device, "total") == 2147483648.0);
    json_array_foreach(json_object_get(device, "parts"), i, part)
    {
        const char *how = json_string_value(json_object_get(part, "how"));
        const double of = cli_number(part, "predicted");
        if (strcmp(how, "not measured") == 0) { /* the reserve; the emulated driver tells no context */
            CHECK(json_object_get(part, "actual") == NULL && of >= 300 * 1048576.0);
            continue;
        }
        const double actual = cli_number(part, "actual");
        CHECK(actual >= of && actual < of + 1048576 && cli_number(part, "difference") == actual - of);
        sum += actual;
        predicted += of;
        n_allocated += strcmp(how, "allocated") == 0;
    }
    CHECK(n_allocated == 2 && sum == cli_number(device, "actual") && predicted == cli_number(device, "predicted"));
    CHECK(cli_number(device, "free_before") - cli_number(device, "free_with") == sum);
    CHECK(cli_number(device, "free_after") == cli_number(device, "free_before"));
    json_decref(doc);

    r = cli_expect(0,
                   "PARE_EMULATE_DEVICES=2 $PARE fit $DEMO -t q4_0 --vram 900M,1500M --reserve 0 --ctx 512 --measure "
                   "--device cuda:1,0 --measure-log log.jsonl");
    CHECK(cli_contains(r.out, "cuda:1   weights") && cli_contains(r.out, "cuda:0   weights"));
    r = cli_expect(0, "test $(wc -l <log.jsonl) = 2 && $PARE report --measured log.jsonl -o log.md && cat log.md");
    CHECK(cli_contains(r.out, "Device memory, predicted and measured") &&
          cli_contains(r.out, "| KV cache | 0.5 | 0.5 |"));
    CHECK(cli_contains(r.out, "1, emulated device 1"));

    r = cli_expect(1, "PARE_EMULATE_MEMORY=20M %s --measure-log log.jsonl", fit);
    CHECK(cli_contains(r.err, "no room for cuBLAS workspace and pools: 40.0 MiB wanted, "));
    CHECK(cli_contains(r.out, "does not fit: device 0") && cli_contains(r.out, "cuda:0   KV cache"));
    cli_expect(0, "test $(wc -l <log.jsonl) = 3 && tail -1 log.jsonl | grep -q '\"fits\":false'");
}

/* Without a device it is no plan: one line, exit code 6; and what makes no sense is refused before anything is taken.
 */
static void what_cannot_be_measured_is_said(void **state)
{
    const char *fit = "$PARE fit $DEMO -t q4_0 --vram 1500M --ctx 512";
    (void)state;
    cli_result r = cli_expect(6, "PARE_CUDA_PLUGIN=./none.so %s --measure --measure-log none.jsonl", fit);
    CHECK(cli_contains(r.err, "no CUDA plugin: looked for ./none.so") && cli_count_lines(r.err) == 1 && r.out[0] == 0);
    r = cli_expect(6, "PARE_EMULATE_DRIVER=none %s --measure --measure-log none.jsonl", fit);
    CHECK(cli_contains(r.err, "no CUDA driver is installed"));
    r = cli_expect(6, "%s --measure --device cuda:3 --measure-log none.jsonl && test ! -e none.jsonl", fit);
    CHECK(cli_contains(r.err, "there is no device 3: the driver shows 1"));
    CHECK(cli_contains(cli_expect(2, "%s --measure --device cpu", fit).err, "memory of CUDA devices"));
    CHECK(cli_contains(cli_expect(2, "%s --measure --device cuda:0,1", fit).err, "2 devices, and 1 cards"));
    CHECK(cli_contains(cli_expect(2, "%s --measure-log l", fit).err, "is of --measure"));
    cli_expect(2, "$PARE fit $DEMO --ram 4G --measure");
    cli_expect(2, "%s --measure --table", fit);
    cli_expect(2, "$PARE fit $DEMO --vram 1500M --measure -f text.txt --state s");
    CHECK(cli_contains(cli_expect(2, "%s --measure --measure-log text.txt", fit).err, "no log of fit --measure"));
    cli_expect(2, "cp text.txt page.md && echo {} >o.json && %s --measure --measure-log o.json", fit);
    r = cli_expect(3, "$PARE report --measured o.json -o page2.md");
    CHECK(cli_contains(r.err, "o.json: line 1: no measurement"));
    cli_expect(2, "$PARE report --measured log.jsonl -o page.md");
    cli_expect(3, "$PARE report --measured absent.jsonl -o page2.md");
    cli_expect(0, "test ! -e none.jsonl && test ! -e page2.md");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_that_make_no_sense_are_refused),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(too_little_memory_names_numbers_and_options),
        cmocka_unit_test(auto_says_why_it_is_the_cpu),
        cmocka_unit_test(newer_devices_are_served),
        cmocka_unit_test(figures_are_those_of_the_cpu),
        cmocka_unit_test(caches_are_those_of_the_cpu),
        cmocka_unit_test(kept_texts_are_those_of_the_cpu),
        cmocka_unit_test(weights_are_streamed),
        cmocka_unit_test(devices_share_the_windows),
        cmocka_unit_test(every_command_runs_on_it),
        cmocka_unit_test(second_order_statistics_are_the_same),
        cmocka_unit_test(the_record_names_the_device),
        cmocka_unit_test(env_lists_the_devices),
        cmocka_unit_test(plans_are_taken_on_devices),
        cmocka_unit_test(what_cannot_be_measured_is_said),
    };
    return cmocka_run_group_tests(tests, make_model, NULL);
}
