/* Disks that fail, are full, or give less than was asked for, at every call that a command makes on files: it says so
 * in one line, with exit code 5, and what was there before is there afterwards. tests/cmd/fault_at.c makes the faults.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAULTY "LD_PRELOAD=" PARE_FAULT_AT " "

/* What is run, in the folder `run`, which `reset` makes; it writes `out`. over: onto an older output. */
static const struct {
    const char *name, *command;
} commands[] = {
    {"pin folder", "$PARE pin run/d -o run/d/pare.lock --force -q -j1"},
    {"verify folder", "$PARE verify run/e/pare.lock -q -j1"},
    {"convert", "$PARE convert $DEMO -o run/m.gguf --dtype f16 --force -q -j1"},
    {"quantize", "$PARE quantize f32.gguf -t q8_0 -o run/m.gguf --pin --force -q -j1"},
    {"folder", "$PARE convert f32.gguf -o run/m --format safetensors --force -q -j1"},
    {"imatrix", "$PARE imatrix $DEMO -f short.txt -c 128 -o run/m.gguf --force -q -j1"},
    {"pin", "$PARE pin run/f.gguf -o run/pare.lock --force -q -j1"},
    {"verify", "$PARE verify run/f.lock -q -j1"},
    {"logits", "$PARE eval $DEMO -f short.txt -c 128 --save-logits run/m.lgt --force -q -j1"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };
enum { FIRST = 2, N_LOOKING = 5 }; /* those before are for looks_fail alone, which takes the first few */

static const char *start = "before"; /* what is in `run` at first */

static void reset(void)
{
    cli_expect(0, "rm -rf run && cp -r %s run", start);
}

static int set_up(void **state)
{
    (void)state;
    cli_expect(0, "$PARE convert $DEMO -o f32.gguf --dtype f32 -q && head -c 2500 $TEXT >short.txt && mkdir before");
    cli_expect(0, "cp f32.gguf before/f.gguf && echo old >before/m.gguf && echo old >before/m.lgt && mkdir before/m &&"
                  " echo old >before/m/x && $PARE pin before/f.gguf -o before/f.lock -q");
    cli_expect(0, "mkdir -p before/d/sub before/e/sub && echo a >before/d/a.txt && echo b >before/d/sub/b.txt &&"
                  " cp -r before/d/* before/e && $PARE pin before/e -o before/e/pare.lock -q &&"
                  " cp -r before few && rm few/f.gguf few/f.lock");
    return 0;
}

static int count_calls(const char *kind)
{
    cli_result r = cli_expect(0, "sed -n 's/^%s //p' counts", kind);
    return atoi(r.out);
}

/* All that is in `run`, with hashes. */
static char *state_of(const char *folder)
{
    return strdup(cli_expect(0, "cd %s && find . -type f | LC_ALL=C sort | xargs sha256sum", folder).out);
}

/* One fault in one run. The outcome is the old state, or all went well in spite of it. */
static void check_fault(size_t k, const char *kind, int at, const char *error, const char *before, const char *after)
{
    reset();
    cli_result r = cli_run("FAULT=%s:%d:%s " FAULTY "%s", kind, at, error, commands[k].command);
    bool told = strcmp(kind, "alloc") == 0 ? r.code == 6 : r.code == 5 || (r.code == 3 && strcmp(kind, "open") == 0);
    if (r.code != 0 && (!told || strncmp(r.err, "pare: error: ", 13) != 0 || cli_count_lines(r.err) != 1))
        print_message("%s: %s %d %s: exit code %d\n%s%s", commands[k].name, kind, at, error, r.code, r.out, r.err);
    CHECK(r.code == 0 || (told && strncmp(r.err, "pare: error: ", 13) == 0 && cli_count_lines(r.err) == 1));
    bool well = r.code == 0;
    if (well && strcmp(commands[k].name, "folder") == 0) /* a leftover is told: an_old_folder_that_stays_is_told */
        cli_expect(0, "rm -rf run/m.pare.part.*");
    char *now = state_of("run");
    if (strcmp(now, well ? after : before) != 0)
        print_message("%s: %s %d %s: exit code %d, and in the folder are\n%s", commands[k].name, kind, at, error,
                      r.code, now);
    CHECK(strcmp(now, well ? after : before) == 0);
    free(now);
}

/* Every call of a kind, or so many of them spread over all. */
static void fail_each(size_t k, const char *kind, const char *error, int most)
{
    reset();
    char *before = state_of("run");
    cli_expect(0, "FAULT_COUNT=$PWD/counts " FAULTY "%s", commands[k].command);
    char *after = state_of("run");
    int n = count_calls(kind), step = n > most ? n / most : 1;
    for (int at = 1; at <= n; at += step)
        check_fault(k, kind, at, error, before, after);
    if (step > 1)
        check_fault(k, kind, n, error, before, after);
    free(before);
    free(after);
}

static void writes_fail(void **state)
{
    (void)state;
    for (size_t k = FIRST; k < N_COMMANDS; k++) {
        fail_each(k, "write", "ENOSPC", 5);
        fail_each(k, "sync", "EIO", 8);
    }
}

static void names_are_refused(void **state)
{
    (void)state;
    for (size_t k = FIRST; k < N_COMMANDS; k++) {
        fail_each(k, "rename", "EACCES", 8);
        fail_each(k, "reserve", "ENOSPC", 4);
    }
}

static void reads_fail(void **state)
{
    (void)state;
    for (size_t k = FIRST; k < N_COMMANDS; k++) {
        fail_each(k, "read", "EIO", 4);
        fail_each(k, "open", "EIO", 6);
    }
}

/* A look that fails is no file that is absent, a listing that breaks off no end of a folder, and an error of close no
 * reason to leave the temporary. */
static void looks_fail(void **state)
{
    (void)state;
    start = "few";
    for (size_t k = 0; k < N_LOOKING; k++) {
        fail_each(k, "stat", "EIO", 5);
        fail_each(k, "list", "EIO", 2);
        fail_each(k, "close", "EIO", k == FIRST ? 16 : 1);
    }
    start = "before";
}

/* The new folder is in its place by then, so the run went well; the next one removes the old. */
static void an_old_folder_that_stays_is_told(void **state)
{
    (void)state;
    static const char command[] = "$PARE convert f32.gguf -o run/m --format safetensors --force -j1";
    start = "few";
    reset();
    cli_result r = cli_expect(0, "FAULT=remove:1+:EACCES " FAULTY "%s", command);
    CHECK(strstr(r.err, "pare: warning: run/m: is complete, but the folder that it replaced") != NULL);
    CHECK(strstr(r.err, "run/m.pare.part.") != NULL);
    cli_expect(0, "test -e run/m/model.safetensors && test -e run/m.pare.part.*/x");
    cli_expect(0, "%s && ! ls -d run/m.pare.part.*", command);
    start = "before";
}

/* Names that cannot be given, nor what had them be put back: nothing old is removed. */
static void what_cannot_be_put_back_stays(void **state)
{
    (void)state;
    static const char command[] = "$PARE quantize f32.gguf -t %s -o set/m.gguf --split-size 1M --pin --force -q -j1";
    char line[256];
    int n_kept = 0, n_completed = 0;
    snprintf(line, sizeof line, command, "q4_0");
    cli_expect(0, "mkdir -p set && %s && cp -r set old", line);
    snprintf(line, sizeof line, command, "q4_1");
    cli_expect(0, "%s && cp -r set new", line);
    for (int at = 1; at < 40; at++) {
        cli_expect(0, "rm -rf set && cp -r old set");
        cli_result r = cli_run("FAULT=rename:%d+:EIO " FAULTY "%s", at, line);
        if (r.code == 0)
            break;
        CHECK(r.code == 5 && cli_count_lines(r.err) == 1);
        const bool told = strstr(r.err, " stays as ") != NULL;
        /* every old file is somewhere, under its name or one that the error or a journal explains */
        cli_expect(0,
                   "for f in old/*; do sha256sum < $f; done | sort >want && for f in set/*; do sha256sum < $f; done |"
                   " sort >have && test -z \"$(comm -23 want have)\"");
        bool journal = cli_run("ls set/*.pare.set.*").code == 0;
        CHECK(told || journal || cli_run("diff -r old set").code == 0);
        n_kept += told;
        n_completed += journal;
        /* and the next run ends well */
        cli_expect(0, "%s && diff -r new set", line);
    }
    CHECK(n_kept > 0 && n_completed > 0);
    /* one that fails alone: an exchange, too, in whose place a rename would lose the old file */
    cli_expect(0, "rm -rf set && cp -r old set && FAULT_COUNT=$PWD/counts " FAULTY "%s", line);
    const int n = count_calls("rename");
    CHECK(n >= 5);
    for (int at = 1; at <= n; at++) {
        cli_expect(0, "rm -rf set && cp -r old set");
        cli_expect(5, "FAULT=rename:%d:EIO " FAULTY "%s", at, line);
        cli_expect(0, "diff -r old set");
    }
}

/* A run that is killed while it makes its state, or cannot lock it, leaves nothing that keeps the next one away. What
 * was a state and is damaged does. */
static void a_state_that_holds_nothing_is_no_hindrance(void **state)
{
    (void)state;
    static const char *const kinds[] = {"lock", "reserve"};
    static const char command[] =
        "$PARE quantize f32.gguf -t q4_0 --imatrix full.gguf --effort fast -q -j1 -o out/q.gguf --resume";
    int n_killed = 0;
    cli_expect(0, "$PARE imatrix f32.gguf -f short.txt -c 128 --chunks 1 --full -o full.gguf -q");
    cli_expect(0, "mkdir out && FAULT_COUNT=$PWD/counts " FAULTY "%s && mv out/q.gguf whole.gguf", command);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int at = 1, n = atoi(cli_expect(0, "sed -n 's/^%s //p' counts", kinds[k]).out); at <= n; at++) {
            cli_run("FAULT=%s:%d:kill " FAULTY "%s", kinds[k], at, command);
            if (cli_run("test -e out/q.gguf.pare-state").code == 0 && cli_run("test -s out/q.gguf").code != 0)
                n_killed++;
            cli_expect(0, "rm -f out/q.gguf && %s && cmp out/q.gguf whole.gguf && test $(ls out) = q.gguf && rm out/*",
                       command);
        }
    CHECK(n_killed >= 3);
    cli_expect(5, "FAULT=lock:1:EIO " FAULTY "%s", command);
    cli_expect(0, "test -z \"$(ls out)\" && head -c 8192 /dev/zero | tr '\\0' x >out/q.gguf.pare-state");
    CHECK(cli_contains(cli_expect(3, "%s", command).err, "holds no state of an unfinished pare quantize"));
    cli_expect(0, "rm -r out whole.gguf full.gguf");
}

/* No request for memory that fails takes the program down, gives a wrong reason, or a result that lacks something. */
static void memory_fails(void **state)
{
    (void)state;
    for (size_t k = FIRST; k < N_COMMANDS; k++)
        fail_each(k, "alloc", "ENOMEM", 30);
}

/* A signal that comes in between is no failure. */
static void calls_are_taken_up_again(void **state)
{
    (void)state;
    for (size_t k = FIRST; k < N_COMMANDS; k++) {
        reset();
        cli_expect(0, "%s", commands[k].command);
        char *after = state_of("run");
        for (int what = 0; what < (k == FIRST ? 7 : 3);
             what++) { /* the others are of what all outputs have in common */
            static const char *const how[] = {"FAULT_SHORT=1",        "FAULT=read:1:EINTR", "FAULT=write:1:EINTR",
                                              "FAULT=sync:1:EINTR",   "FAULT=lock:2:EINTR", "FAULT=reserve:1:EINTR",
                                              "FAULT=reserve:2:EINTR"};
            reset();
            cli_expect(0, "%s " FAULTY "%s", how[what], commands[k].command);
            char *now = state_of("run");
            CHECK(strcmp(now, after) == 0);
            free(now);
        }
        free(after);
    }
    reset();
    cli_expect(0, "FAULT_COUNT=$PWD/counts " FAULTY "%s", commands[FIRST].command);
    for (int at = count_calls("close"); at > 0; at--) { /* it is closed all the same */
        reset();
        cli_expect(0, "FAULT=close:%d:EINTR " FAULTY "%s", at, commands[FIRST].command);
    }
}

/* The source changes while it is read: at a few moments from the first call on. Nothing that is half old and half new
 * appears, and nobody dies of a signal. */
static void a_source_that_changes_is_told(void **state)
{
    (void)state;
    static const char *const ways[] = {"cut", "gone", "edit"};
    static const char *const kinds[] = {"open", "write", "read"};
    size_t n_told = 0;
    for (size_t w = 0; w < 3; w++)
        for (size_t c = 0; c < 3; c++)
            for (int at = 1; at <= 9; at += 4) {
                cli_expect(0, "rm -rf run && cp -r before run && cp f32.gguf source.gguf");
                cli_result r = cli_run("FAULT=%s:%d:%s:$PWD/source.gguf " FAULTY
                                       "$PARE quantize source.gguf -t q8_0 -o run/m.gguf --pin --force -q -j1",
                                       kinds[c], at, ways[w]);
                if (r.code != 0 && r.code != 3 && r.code != 5)
                    print_message("%s at %s %d: exit code %d\n%s", ways[w], kinds[c], at, r.code, r.err);
                CHECK(r.code == 0 || r.code == 3 || r.code == 5);
                CHECK(r.code == 0 || cli_count_lines(r.err) == 1);
                n_told += r.code != 0;
                if (r.code != 0)
                    cli_expect(0, "echo old | cmp - run/m.gguf && test ! -e run/pare.lock");
                else /* it had been read, or its bytes live on without a name */
                    cli_expect(0, "$PARE verify run/pare.lock");
            }
    CHECK(n_told >= 6);
}

/* Whatever a command reads, not the weights of what is quantized alone: a model that is only run, a text, statistics,
 * the files beside weights in a folder. It changes when the result begins to be written. */
static void all_that_is_read_is_guarded(void **state)
{
    (void)state;
    static const struct {
        const char *changes, *command; /* in the folder `run` */
    } reads[] = {
        {"f.gguf", "$PARE imatrix f.gguf -f t.txt -c 64 --chunks 2 -o out"},
        {"t.txt", "$PARE imatrix f.gguf -f t.txt -c 64 --chunks 2 -o out --pin"},
        {"s.gguf", "$PARE imatrix f.gguf -f t.txt -c 64 --chunks 2 --in s.gguf -o out"},
        {"s.gguf", "$PARE quantize f.gguf -t q4_0 --pure --imatrix s.gguf -o out"},
        {"hf/tokenizer.json", "$PARE convert hf -o out.gguf"},
        {"hf/config.json", "$PARE quantize hf -t q8_0 -o out --pin"},
        {"hf/tokenizer_config.json", "$PARE convert hf -o out --format safetensors --dtype f32"},
        {"f.gguf", "$PARE eval f.gguf -f t.txt -c 64 --chunks 2 --save-logits out --record run.json"},
        {"t.txt", "$PARE eval f.gguf -f t.txt -c 64 --chunks 2 --save-logits out"},
        {"s.txt", "$PARE logits f.gguf --tokens s.txt --length 16 -o out"},
    };
    cli_expect(0, "rm -rf run && mkdir run && cp -r $DEMO run/hf && chmod -R u+w run/hf && cp f32.gguf run/f.gguf &&"
                  " cp short.txt run/t.txt && cd run && $PARE imatrix f.gguf -f t.txt -c 64 --chunks 1 -o s.gguf -q &&"
                  " head -c 64 /dev/zero >s.txt");
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        cli_expect(0, "rm -rf twin && cp -rp run twin");
        cli_result r = cli_run("cd twin && FAULT=write:1:edit:$PWD/%s " FAULTY "%s -q -j1 >/dev/null", reads[i].changes,
                               reads[i].command);
        if (r.code != 5 || !strstr(r.err, reads[i].changes))
            print_message("%s changes: %s: exit code %d\n%s", reads[i].changes, reads[i].command, r.code, r.err);
        CHECK(r.code == 5 && cli_contains(r.err, reads[i].changes) && cli_contains(r.err, "changed"));
        cli_expect(1, "cd twin && ls -d out* pare.lock 2>/dev/null | grep -v unfinished");
    }
}

/* A file system that has no room: each size between nothing and enough. */
static void a_small_disk(void **state)
{
    (void)state;
    if (cli_run("mkdir -p small && unshare -rm sh -c 'mount -t tmpfs -o size=64k none small'").code != 0) {
        print_message("SKIP a_small_disk: no tmpfs can be mounted in a name space of one's own\n");
        skip();
    }
    cli_expect(0, "$PARE quantize f32.gguf -t q8_0 -o whole.gguf -q");
    size_t n_full = 0;
    for (int k = 64; k <= 4096; k *= 2) {
        static const char *const ways[] = {"", "--pin", "--resume"};
        for (size_t w = 0; w < 3; w++) {
            cli_result r =
                cli_run("unshare -rm sh -c 'mount -t tmpfs -o size=%dk none small && cp short.txt small/m.gguf &&"
                        " { $PARE quantize f32.gguf -t q8_0 -o small/m.gguf --force -q %s; c=$?; ls small;"
                        " if [ $c = 0 ]; then cmp whole.gguf small/m.gguf; else cmp short.txt small/m.gguf; fi"
                        " || exit 99; exit $c; }'",
                        k, ways[w]);
            if (r.code != 0 && r.code != 5)
                print_message("%d KiB, %s: exit code %d\n%s%s", k, ways[w], r.code, r.out, r.err);
            CHECK(r.code == 0 || r.code == 5);
            CHECK(r.code == 0 || (cli_count_lines(r.out) == 1 && strcmp(r.out, "m.gguf\n") == 0));
            CHECK(r.code == 0 || (strncmp(r.err, "pare: error: ", 13) == 0 && cli_count_lines(r.err) == 1));
            n_full += r.code == 5;
        }
    }
    CHECK(n_full >= 9);
}

/* Where the libraries' own buffers find no room, the program says so instead of waiting for ever. */
static void no_room_to_start(void **state)
{
    (void)state;
    static const char *const limits[] = {"-v 200000", "-v 300000", "-d 160000"};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        cli_result r = cli_expect(6, "(ulimit %s; exec timeout 60 $PARE --version)", limits[i]);
        CHECK(strncmp(r.err, "pare: error: no memory", 22) == 0 && cli_count_lines(r.err) == 1 && r.out[0] == '\0');
    }
    cli_expect(0, "(ulimit -v 2000000; exec timeout 60 $PARE --version)");
    for (int space = 380000; space <= 1000000; space += 62000) { /* enough to start, for the threads' buffers or not */
        cli_result r =
            cli_run("(ulimit -v %d; export OMP_NUM_THREADS=2; exec timeout -k 5 60 $PARE eval $DEMO -f $TEXT -c 64 "
                    "--chunks 1 -q)",
                    space);
        CHECK(r.code == 0 || (r.code == 6 && cli_count_lines(r.err) == 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_fail),
        cmocka_unit_test(names_are_refused),
        cmocka_unit_test(reads_fail),
        cmocka_unit_test(looks_fail),
        cmocka_unit_test(an_old_folder_that_stays_is_told),
        cmocka_unit_test(what_cannot_be_put_back_stays),
        cmocka_unit_test(a_state_that_holds_nothing_is_no_hindrance),
        cmocka_unit_test(memory_fails),
        cmocka_unit_test(no_room_to_start),
        cmocka_unit_test(calls_are_taken_up_again),
        cmocka_unit_test(a_source_that_changes_is_told),
        cmocka_unit_test(all_that_is_read_is_guarded),
        cmocka_unit_test(a_small_disk),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
