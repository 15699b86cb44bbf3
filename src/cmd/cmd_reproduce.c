#include "cmd/build.h"
#include "cmd/console.h"
#include "cmd/lineage.h"
#include "cmd/recipe_inputs.h"
#include "cmd/summary.h"
#include "core/json.h"
#include "core/output.h"
#include "core/threads.h"
#include "formats/lock.h"
#include "formats/safe_path.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One output of the recipe. */
typedef struct remade {
    const char *name;         /* in the lock */
    const pare_pin_file *was; /* what the lock says */
    const pare_pin_file *is;  /* what this run made; NULL: nothing */
    bool same;
} remade;

/* The work lies in one folder:
 *
 *   base/                  --output, or a temporary folder
 *     reproduce.lock       of this run, with reproduce.sums; these and those below are removed in the end
 *     reproduce.fit        what fit measured
 *     P/NAME               the output, P as in the names that the lock has
 *   root/original.lock     a copy of the lock, root being base or, where the lock lay in the folder that was made, that
 */
typedef struct job {
    const cmd_args *args;
    cmd_recipe recipe;
    cmd_inputs inputs;
    char *base, *output, *root, *lock, *sums, *state, *original;
    const char *below; /* what the names of this run's lock begin with and the recorded do not: "model/" or "" */
    bool keeps;        /* base is the user's */
    bool made_base;
    cmd_recipe again; /* of this run: its lock and its inputs */
    remade *files;    /* [n_files] */
    size_t n_files;
    pare_verify_report report; /* of those that differ */
} job;

static pare_status no_memory(pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for a name");
}

/* ---- inputs ----------------------------------------------------------------------------------------------------- */

static pare_status find_inputs(job *j, pare_error *err)
{
    const size_t n = cmd_count(j->args, OPT_INPUTS);
    const char **folders = calloc(n + 1, sizeof *folders);
    char *beside = pare_path_folder(j->args->operands[0], err);
    pare_status st = folders != NULL && beside != NULL ? PARE_OK : no_memory(err);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        folders[i] = cmd_nth(j->args, OPT_INPUTS, i);
        if (!pare_path_is_folder(folders[i]))
            st = pare_fail(err, PARE_ERR_FORMAT, "--inputs %s: is no folder", folders[i]);
    }
    if (st == PARE_OK) {
        folders[n] = beside; /* what the user names comes first */
        st = cmd_inputs_find(&j->inputs, &j->recipe, folders, n + 1, err);
    }
    free(beside);
    free(folders);
    return st;
}

static const char *const state_names[] = {[CMD_INPUT_OK] = "ok",
                                          [CMD_INPUT_STREAM] = "standard input",
                                          [CMD_INPUT_MISSING] = "missing",
                                          [CMD_INPUT_DIFFERENT] = "different"};

static void print_inputs(const cmd_inputs *in)
{
    cmd_progress_clear();
    for (size_t i = 0; i < in->n; i++) {
        const cmd_input_file *f = &in->files[i];
        const char *path = f->path != NULL ? f->path : f->name;
        if (f->state == CMD_INPUT_MISSING || f->state == CMD_INPUT_DIFFERENT)
            printf("%s: %s: %s (%s, sha256 %s)\n", cmd_safe(path, strlen(path)), state_names[f->state],
                   cmd_safe(f->why, strlen(f->why)), cmd_safe(f->role, strlen(f->role)), f->sha256);
    }
}

/* Nothing is run before everything is there. */
static pare_status check_inputs(job *j, pare_error *err)
{
    size_t n = 0;
    pare_status st = find_inputs(j, err);
    if (st != PARE_OK || cmd_inputs_complete(&j->inputs))
        return st;
    for (size_t i = 0; i < j->inputs.n; i++)
        n += j->inputs.files[i].state == CMD_INPUT_MISSING || j->inputs.files[i].state == CMD_INPUT_DIFFERENT;
    if (!cmd_has(j->args, OPT_JSON))
        print_inputs(&j->inputs);
    return pare_fail(err, PARE_ERR_FORMAT,
                     "%s: %zu of the %zu inputs %s not there as recorded, or not together; --inputs FOLDER says where "
                     "to look",
                     j->args->operands[0], n, j->inputs.n, n == 1 ? "is" : "are");
}

/* ---- where it goes ---------------------------------------------------------------------------------------------- */

static bool is_empty_folder(const char *path)
{
    return pare_path_is_folder(path) && rmdir(path) == 0 && mkdir(path, 0777) == 0;
}

static pare_status make_base(job *j, pare_error *err)
{
    const char *given = cmd_text(j->args, OPT_OUTPUT), *temporary = getenv("TMPDIR");
    pare_buf path = {0};
    j->keeps = given != NULL;
    if (given != NULL) {
        if ((j->base = strdup(given)) == NULL)
            return no_memory(err);
        j->made_base = mkdir(given, 0777) == 0;
        if (j->made_base)
            return PARE_OK;
        if (errno != EEXIST)
            return pare_fail(err, PARE_ERR_IO, "%s: cannot make the folder: %s", given, strerror(errno));
        return is_empty_folder(given)
                   ? PARE_OK
                   : pare_fail(err, PARE_ERR_USAGE, "%s: exists already; expected a new or an empty folder", given);
    }
    pare_status st = pare_buf_printf(&path, err, "%s/pare-reproduce-XXXXXX",
                                     temporary != NULL && *temporary != '\0' ? temporary : "/tmp");
    if (st == PARE_OK && mkdtemp(path.data) == NULL)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot make a folder: %s", path.data, strerror(errno));
    j->made_base = st == PARE_OK;
    if (st == PARE_OK)
        j->base = path.data;
    else
        pare_buf_close(&path);
    return st;
}

/* The length of what stands before `name` in an output's path: "a/" of "a/m.gguf", of its part
 * "a/m-00001-of-00002.gguf" and, of a folder called name, of "a/name/config.json". False: it is none of these. */
static bool find_name(const char *path, const char *name, size_t *before)
{
    const size_t n = strlen(name), stem = n > 5 && strcmp(name + n - 5, ".gguf") == 0 ? n - 5 : n;
    for (const char *at = path; at != NULL; at = strchr(at, '/')) {
        at += *at == '/';
        *before = (size_t)(at - path);
        if (strncmp(at, name, n) == 0 && (at[n] == '/' || at[n] == '\0'))
            return true;
        if (stem < n && strncmp(at, name, stem) == 0 && at[stem] == '-' && strchr(at, '/') == NULL)
            return true;
    }
    return false;
}

static pare_status make_folders(const char *base, const char *below, pare_error *err)
{
    pare_status st = PARE_OK;
    for (const char *slash = strchr(below, '/'); slash != NULL && st == PARE_OK; slash = strchr(slash + 1, '/')) {
        pare_buf path = {0};
        st = pare_buf_printf(&path, err, "%s/%.*s", base, (int)(slash - below), below);
        if (st == PARE_OK && mkdir(path.data, 0777) != 0 && errno != EEXIST)
            st = pare_fail(err, PARE_ERR_IO, "%s: cannot make the folder: %s", path.data, strerror(errno));
        pare_buf_close(&path);
    }
    return st;
}

/* The output gets the place that its names in the lock want. These were checked: they stay below. */
static pare_status place_output(job *j, pare_error *err)
{
    const char *first = json_string_value(json_array_get(j->recipe.outputs, 0));
    size_t before = 0;
    pare_buf folders = {0}, output = {0};
    pare_status st;
    if (find_name(first, j->recipe.name, &before)) {
        j->below = "";
        if ((st = pare_buf_printf(&folders, err, "%.*s", (int)before, first)) == PARE_OK &&
            (st = make_folders(j->base, folders.data, err)) == PARE_OK)
            st = pare_buf_printf(&output, err, "%s/%s%s", j->base, folders.data, j->recipe.name);
        j->root = strdup(j->base);
    } else { /* the lock lay in the folder that was made */
        j->below = "model/";
        st = pare_buf_printf(&output, err, "%s/model", j->base);
        j->root = st == PARE_OK ? strdup(output.data) : NULL;
    }
    j->output = output.data;
    j->lock = pare_path_join(j->base, "reproduce.lock", err);
    j->sums = pare_path_join(j->base, "reproduce.sums", err);
    j->state = pare_path_join(j->base, "reproduce.fit", err);
    j->original = j->root != NULL ? pare_path_join(j->root, "original.lock", err) : NULL;
    pare_buf_close(&folders);
    return st == PARE_OK && (!j->root || !j->lock || !j->sums || !j->state || !j->original) ? no_memory(err) : st;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

static void remove_all(const char *path)
{
    if (path != NULL)
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Of a folder that the user named the output stays, if there is one. */
static void clean_up(job *j)
{
    remove_all(j->lock);
    remove_all(j->sums);
    remove_all(j->state);
    remove_all(j->original);
    if (j->made_base && !j->keeps)
        remove_all(j->base);
    else if (j->made_base)
        rmdir(j->base); /* where nothing came of it */
}

/* ---- the run ---------------------------------------------------------------------------------------------------- */

/* A command line that is put together. */
typedef struct word_list {
    char **words;
    size_t n, room;
} word_list;

static void add_word(word_list *list, const char *option, const char *value)
{
    pare_buf word = {0};
    pare_status st = option == NULL  ? pare_buf_puts(&word, value, NULL)
                     : value == NULL ? pare_buf_printf(&word, NULL, "--%s", option)
                                     : pare_buf_printf(&word, NULL, "--%s=%s", option, value);
    list->words[list->n++] = st == PARE_OK ? word.data : NULL;
}

static bool knows(const cmd_verb *verb, cmd_option_id id)
{
    const cmd_option *option;
    for (size_t i = 0; (option = cmd_option_at(verb->id, i)) != NULL; i++)
        if (option->id == id)
            return true;
    return false;
}

/* The options that shape the bytes as they were given, inputs where they were found; everything else is this run's. */
static void add_options(word_list *list, const job *j)
{
    const cmd_args *was = &j->recipe.args;
    const char *device = cmd_text(j->args, OPT_DEVICE);
    size_t at = j->inputs.n_model;
    for (size_t i = 0; i < was->n_given; i++) {
        const cmd_option *option = was->given[i].option;
        const char *text = was->given[i].text;
        if (!(option->traits & CMD_SHAPES_BYTES) || (option->id == OPT_DEVICE && device != NULL))
            continue;
        if (cmd_lineage_names_input(option) && strcmp(text, "-") != 0)
            text = j->inputs.files[at++].path;
        add_word(list, option->name, text);
    }
    if (device != NULL && knows(was->verb, OPT_DEVICE))
        add_word(list, "device", device);
}

/* Owned by the caller, also on error. */
static pare_status make_words(word_list *list, const job *j, pare_error *err)
{
    const cmd_args *was = &j->recipe.args;
    list->room = was->n_given + 16;
    if ((list->words = calloc(list->room, sizeof *list->words)) == NULL)
        return no_memory(err);
    add_word(list, NULL, was->verb->name);
    add_options(list, j);
    add_word(list, "output", j->output);
    add_word(list, "pin", NULL);
    add_word(list, "lock", j->lock);
    add_word(list, "sums", j->sums);
    if (knows(was->verb, OPT_STATE))
        add_word(list, "state", j->state);
    add_word(list, NULL, "--");
    add_word(list, NULL, j->inputs.model);
    for (size_t i = 0; i < list->n; i++)
        if (list->words[i] == NULL)
            return no_memory(err);
    return PARE_OK;
}

static void free_words(word_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->words[i]);
    free(list->words);
}

/* What the verb prints of its result is not what was asked for. */
static int mute_stdout(void)
{
    fflush(stdout);
    int kept = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (kept >= 0 && null >= 0)
        dup2(null, STDOUT_FILENO);
    if (null >= 0)
        close(null);
    return kept;
}

static void restore_stdout(int kept)
{
    fflush(stdout);
    if (kept < 0)
        return;
    dup2(kept, STDOUT_FILENO);
    close(kept);
}

/* What the recipe asks for and cannot be is the recipe's fault, not that of who types. */
static pare_status blame_recipe(const job *j, pare_status st, const pare_error *why, pare_error *err)
{
    if (st == PARE_ERR_USAGE)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: recipe: %s", j->args->operands[0], why->text);
    if (st != PARE_OK && err != NULL)
        *err = *why;
    return st;
}

static pare_status run_verb(job *j, pare_error *err)
{
    word_list list = {0};
    cmd_args args = {0};
    pare_error why = {0};
    pare_status st = make_words(&list, j, err);
    if (st != PARE_OK) {
        free_words(&list);
        return st;
    }
    char **words = malloc((list.n + 1) * sizeof *words); /* getopt_long moves them */
    if (words != NULL) {
        memcpy(words, list.words, list.n * sizeof *words);
        words[list.n] = NULL;
        st = cmd_args_parse_words(&args, j->recipe.args.verb, (int)list.n, words, &why);
        if (st == PARE_OK) {
            int kept = mute_stdout();
            args.folder_name = j->recipe.folder;
            st = args.verb->run(&args, &why);
            restore_stdout(kept);
        }
        st = blame_recipe(j, st, &why, err);
    } else
        st = no_memory(err);
    cmd_args_close(&args);
    free(words);
    free_words(&list);
    return st;
}

/* The run says itself what it read: exactly what was recorded? */
static pare_status check_what_was_read(const job *j, pare_error *err)
{
    const json_t *was = j->recipe.parents, *is = j->again.parents;
    static const char *const keys[] = {"name", "role", "sha256"};
    const size_t n = json_array_size(was), m = json_array_size(is);
    for (size_t i = 0; i < n || i < m; i++) {
        const json_t *a = json_array_get(was, i), *b = json_array_get(is, i);
        bool same = a != NULL && b != NULL;
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            same = same && json_equal(json_object_get(a, keys[k]), json_object_get(b, keys[k]));
        if (same)
            continue;
        const json_t *name = json_object_get(b != NULL ? b : a, "name");
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: '%s' %s; the recorded inputs have to lie in a folder without others that are read with "
                         "them",
                         j->inputs.model, json_string_value(name),
                         b == NULL ? "was read when the files were made, and not now"
                         : a != NULL && json_equal(json_object_get(a, "name"), json_object_get(b, "name"))
                             ? "is not what was read when the files were made"
                             : "was read, and not when the files were made");
    }
    return PARE_OK;
}

/* ---- what came of it -------------------------------------------------------------------------------------------- */

static const pare_pin_file *find_file(const pare_lock *lock, const char *below, const char *name)
{
    const size_t n = strlen(below);
    for (size_t i = 0; i < lock->pin.n_files; i++) {
        const pare_pin_file *f = &lock->pin.files[i];
        if (strncmp(f->name, below, n) == 0 && strcmp(f->name + n, name) == 0)
            return f;
    }
    return NULL;
}

static bool is_output(const job *j, const char *name)
{
    for (size_t i = 0; i < j->n_files; i++)
        if (strcmp(j->files[i].name, name) == 0)
            return true;
    return false;
}

/* The findings of verify about what was made, with the lock beside it. */
static pare_status explain(job *j, pare_error *err)
{
    const pare_verify_options options = {.allow_extra = true};
    pare_status st = pare_output_file(j->original, j->recipe.text.data, j->recipe.text.len, 0, err);
    return st == PARE_OK ? pare_verify(j->original, &options, &j->report, err) : st;
}

static pare_status compare(job *j, bool *same, pare_error *err)
{
    *same = true;
    j->n_files = json_array_size(j->recipe.outputs);
    if ((j->files = calloc(j->n_files + 1, sizeof *j->files)) == NULL)
        return no_memory(err);
    for (size_t i = 0; i < j->n_files; i++) {
        remade *f = &j->files[i];
        f->name = json_string_value(json_array_get(j->recipe.outputs, i));
        f->was = find_file(&j->recipe.lock, "", f->name);
        f->is = find_file(&j->again.lock, j->below, f->name);
        f->same = f->is != NULL && f->is->digest.n_bytes == f->was->digest.n_bytes &&
                  memcmp(f->is->digest.sha256, f->was->digest.sha256, sizeof f->was->digest.sha256) == 0;
        *same = *same && f->same;
    }
    if (json_array_size(j->again.outputs) != j->n_files)
        *same = false;
    return *same ? PARE_OK : explain(j, err);
}

static const char *member(const cmd_recipe *r, const char *key)
{
    const char *text = json_string_value(json_object_get(r->recipe, key));
    return text != NULL ? text : "";
}

/* A sentence about why the bytes may differ, or "". */
static void why_different(const job *j, char *dst, size_t size)
{
    const char *was = member(&j->recipe, "device"), *is = member(&j->again, "device"),
               *plan = member(&j->recipe, "plan_sha256");
    *dst = '\0';
    if (*plan != '\0' && strcmp(plan, member(&j->again, "plan_sha256")) != 0)
        snprintf(dst, size, "other types were chosen than then. ");
    if (j->recipe.bytes_by_cpu)
        snprintf(dst + strlen(dst), size - strlen(dst),
                 "what forward passes have computed is in these bytes, and another kind of CPU or device may compute "
                 "it otherwise in the last bits (then %s, now %s)",
                 cmd_safe(was, strlen(was)), cmd_safe(is, strlen(is)));
}

static json_t *files_json(const job *j)
{
    json_t *list = json_array();
    for (size_t i = 0; i < j->n_files; i++) {
        const remade *f = &j->files[i];
        char hex[PARE_SHA256_HEX];
        json_t *row = json_object();
        json_object_set_new(row, "name", cmd_json_text(f->name, strlen(f->name)));
        json_object_set_new(row, "same", json_boolean(f->same));
        pare_hex(hex, f->was->digest.sha256, sizeof f->was->digest.sha256);
        json_object_set_new(row, "expected_sha256", json_string(hex));
        if (f->is != NULL) {
            pare_hex(hex, f->is->digest.sha256, sizeof f->is->digest.sha256);
            json_object_set_new(row, "sha256", json_string(hex));
            cmd_json_u64(row, "bytes", f->is->digest.n_bytes);
        }
        json_array_append_new(list, row);
    }
    return list;
}

static json_t *inputs_json(const cmd_inputs *in)
{
    json_t *list = json_array();
    for (size_t i = 0; i < in->n; i++) {
        const cmd_input_file *f = &in->files[i];
        json_t *row = json_object();
        json_object_set_new(row, "name", cmd_json_text(f->name, strlen(f->name)));
        json_object_set_new(row, "role", cmd_json_text(f->role, strlen(f->role)));
        json_object_set_new(row, "sha256", json_string(f->sha256));
        json_object_set_new(row, "state", json_string(state_names[f->state]));
        if (f->path != NULL)
            json_object_set_new(row, "path", cmd_json_text(f->path, strlen(f->path)));
        if (f->why[0] != '\0' && f->state != CMD_INPUT_OK)
            json_object_set_new(row, "why", cmd_json_text(f->why, strlen(f->why)));
        json_array_append_new(list, row);
    }
    return list;
}

static json_t *findings_json(const job *j)
{
    json_t *list = json_array();
    for (size_t i = 0; i < j->report.n_findings; i++) {
        const pare_finding *f = &j->report.findings[i];
        if (is_output(j, f->file))
            json_array_append_new(list,
                                  json_pack("{s:o, s:o, s:o, s:o}", "kind", cmd_json_text(f->kind, strlen(f->kind)),
                                            "file", cmd_json_text(f->file, strlen(f->file)), "item",
                                            cmd_json_text(f->item, strlen(f->item)), "text",
                                            cmd_json_text(f->text, strlen(f->text))));
    }
    return list;
}

static json_t *document(const job *j)
{
    const char *lock = j->args->operands[0];
    json_t *doc = json_object();
    json_object_set_new(doc, "lock", cmd_json_text(lock, strlen(lock)));
    json_object_set(doc, "recipe", (json_t *)(uintptr_t)j->recipe.recipe);
    json_object_set_new(doc, "bytes_by_cpu", json_boolean(j->recipe.bytes_by_cpu));
    json_object_set_new(doc, "inputs", inputs_json(&j->inputs));
    return doc;
}

/* The lock is not as it was written: what it says may be anybody's. */
static bool is_edited(const job *j)
{
    return j->recipe.lock.has_seal && !j->recipe.lock.sealed;
}

static pare_status report_json(const job *j, bool same, pare_error *err)
{
    char why[512];
    json_t *doc = document(j);
    why_different(j, why, sizeof why);
    json_object_set_new(doc, "same", json_boolean(same));
    json_object_set_new(doc, "lock_edited", json_boolean(is_edited(j)));
    json_object_set_new(doc, "files", files_json(j));
    json_object_set_new(doc, "findings", findings_json(j));
    cmd_json_u64(doc, "threads", (uint64_t)pare_threads());
    json_object_set_new(doc, "device", json_string(member(&j->again, "device")));
    if (!same && *why != '\0')
        json_object_set_new(doc, "why", json_string(why));
    if (j->keeps)
        json_object_set_new(doc, "output", cmd_json_text(j->base, strlen(j->base)));
    cmd_json_resources(doc);
    return cmd_print_json(j->args, doc, err);
}

static void print_findings(const job *j, const char *file)
{
    for (size_t i = 0; i < j->report.n_findings; i++) {
        const pare_finding *f = &j->report.findings[i];
        if (strcmp(f->file, file) == 0)
            printf("  %s%s%s: %s\n", f->kind, f->item[0] != '\0' ? " " : "", cmd_safe(f->item, strlen(f->item)),
                   cmd_safe(f->text, strlen(f->text)));
    }
}

static void print_others(const job *j)
{
    const size_t n = strlen(j->below);
    for (size_t i = 0; i < j->again.lock.pin.n_files; i++) {
        const char *name = j->again.lock.pin.files[i].name + n;
        if (!is_output(j, name))
            printf("%s: made now, and not then\n", cmd_safe(name, strlen(name)));
    }
    for (size_t i = 0; i < j->recipe.lock.pin.n_files; i++) {
        const char *name = j->recipe.lock.pin.files[i].name;
        if (!is_output(j, name))
            printf("%s: is in the lock, and not made by its recipe: not compared\n", cmd_safe(name, strlen(name)));
    }
}

static void report_text(const job *j, bool same)
{
    char why[512];
    cmd_progress_clear();
    for (size_t i = 0; i < j->n_files; i++) {
        const remade *f = &j->files[i];
        char hex[PARE_SHA256_HEX];
        pare_hex(hex, f->was->digest.sha256, sizeof f->was->digest.sha256);
        const char *name = cmd_safe(f->name, strlen(f->name));
        if (f->same)
            printf("%s: same bytes (%s, sha256 %s)\n", name, cmd_bytes(f->was->digest.n_bytes), hex);
        else if (f->is == NULL)
            printf("%s: was not made\n", name);
        else {
            printf("%s: differs\n", name);
            print_findings(j, f->name);
        }
    }
    print_others(j);
    why_different(j, why, sizeof why);
    if (*why != '\0')
        printf("%s%s\n", same ? "the same here; " : "", why);
    if (is_edited(j))
        printf("%s: lock: was edited after it was written, its seal does not fit\n",
               cmd_safe(j->args->operands[0], strlen(j->args->operands[0])));
    if (j->keeps)
        printf("kept in %s\n", cmd_safe(j->base, strlen(j->base)));
    printf("%.1f s, peak memory %s\n", cmd_seconds(), cmd_bytes(cmd_peak_rss_bytes()));
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static pare_status reproduce(job *j, pare_error *err)
{
    bool same = false;
    pare_status st = make_base(j, err);
    if (st == PARE_OK)
        st = place_output(j, err);
    if (st == PARE_OK)
        st = run_verb(j, err);
    if (st == PARE_OK && access(j->lock, F_OK) != 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: recipe: its command line writes nothing", j->args->operands[0]);
    if (st == PARE_OK)
        st = cmd_recipe_read(&j->again, j->lock, err);
    if (st == PARE_OK)
        st = check_what_was_read(j, err);
    if (st == PARE_OK)
        st = compare(j, &same, err);
    if (st == PARE_OK && cmd_has(j->args, OPT_JSON))
        st = report_json(j, same, err);
    else if (st == PARE_OK)
        report_text(j, same);
    return st == PARE_OK && (!same || is_edited(j)) ? PARE_ERR_DIFFERENCE : st;
}

/* With --json what is missing is listed, too. */
static pare_status tell_missing(const job *j, pare_status st, pare_error *err)
{
    if (!cmd_has(j->args, OPT_JSON) || j->inputs.n == 0)
        return st;
    json_t *doc = document(j);
    json_object_set_new(doc, "error", cmd_json_error(err));
    pare_status printed = cmd_print_json(j->args, doc, NULL);
    return printed == PARE_OK ? st : printed;
}

static void close_job(job *j)
{
    pare_verify_report_close(&j->report);
    cmd_recipe_close(&j->again);
    cmd_recipe_close(&j->recipe);
    cmd_inputs_close(&j->inputs);
    free(j->files);
    free(j->base);
    free(j->output);
    free(j->root);
    free(j->lock);
    free(j->sums);
    free(j->state);
    free(j->original);
}

pare_status cmd_reproduce(const cmd_args *args, pare_error *err)
{
    job j = {.args = args};
    pare_status st = cmd_recipe_read(&j.recipe, args->operands[0], err);
    if (st == PARE_OK && strcmp(j.recipe.version, CMD_BUILD_VERSION) != 0)
        st = pare_warn(err, "%s: was made by pare %s, and this is %s: other bytes need not be a fault",
                       args->operands[0], j.recipe.version, CMD_BUILD_VERSION);
    if (st == PARE_OK && !j.recipe.lock.has_seal)
        st = pare_lock_warn_unsealed(&j.recipe.lock, err);
    if (st == PARE_OK && is_edited(&j))
        st = pare_warn(err, "%s: was edited after it was written: its seal does not fit", args->operands[0]);
    if (st == PARE_OK && (st = check_inputs(&j, err)) != PARE_OK)
        st = tell_missing(&j, st, err);
    else if (st == PARE_OK)
        st = reproduce(&j, err);
    clean_up(&j);
    close_job(&j);
    return st;
}
