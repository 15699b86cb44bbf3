#include "core/output_set.h"
#include "core/claim.h"
#include "core/look.h"
#include "core/output_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

pare_status pare_output_set_add(pare_output_set *set, pare_output *out, pare_error *err)
{
    if (set->n == set->cap) {
        size_t cap = set->cap > 0 ? 2 * set->cap : 8;
        pare_output **more = reallocarray(set->items, cap, sizeof(pare_output *));
        if (more == NULL) {
            pare_output_close(out);
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu outputs", cap);
        }
        set->items = more;
        set->cap = cap;
    }
    set->items[set->n++] = out;
    return PARE_OK;
}

pare_status pare_output_set_add_file(pare_output_set *set, const char *path, const void *data, size_t n, unsigned flags,
                                     pare_error *err)
{
    pare_output *out = NULL;
    pare_status st = pare_output_open(&out, path, n, flags, err);
    if (st == PARE_OK && (st = pare_output_write(out, data, n, err)) == PARE_OK)
        st = pare_output_finish(out, err);
    if (st == PARE_OK)
        return pare_output_set_add(set, out, err);
    pare_output_close(out);
    return st;
}

static bool describes(const pare_output *out)
{
    return (pare_output_get_flags(out) & PARE_OUTPUT_DESCRIBES) != 0;
}

/* Also where it cannot be told: the rename, which comes next, tells why. */
static bool may_exist(const char *path)
{
    struct stat info;
    bool there;
    return pare_look_link(path, &info, &there, NULL) != PARE_OK || there;
}

/* The set replaces a file that a lock describes. */
static bool replaces(const pare_output_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        if (!describes(set->items[i]) && may_exist(pare_output_path(set->items[i])))
            return true;
    return false;
}

/* The order of names: the one added last first; where files are replaced, those that describe behind the others. */
static void put_in_order(const pare_output_set *set, pare_output **order)
{
    const bool late = replaces(set);
    size_t n = 0;
    for (int pass = 0; pass < (late ? 2 : 1); pass++)
        for (size_t i = set->n; i-- > 0;)
            if (!late || describes(set->items[i]) == (pass == 1))
                order[n++] = set->items[i];
}

/* What a crash leaves of the next steps the next run in this folder does. */
static pare_status write_journal(const pare_output_set *set, pare_output *const *order, pare_journal *j,
                                 pare_error *err)
{
    const char *first = pare_output_path(set->items[0]);
    pare_status st = pare_journal_open(j, err);
    for (size_t i = 0; i < set->n && st == PARE_OK; i++) {
        unsigned flags = (pare_output_get_flags(order[i]) & PARE_OUTPUT_FORCE ? PARE_JOURNAL_REPLACES : 0) |
                         (describes(order[i]) ? PARE_JOURNAL_DESCRIBES : 0);
        st = pare_journal_add(j, first, pare_output_temporary(order[i]), pare_output_path(order[i]), flags, err);
    }
    return st == PARE_OK ? pare_journal_write(j, first, err) : st;
}

/* An old description that was moved out of the way: core/claim.h finds it behind a run that is killed, and the lock
 * keeps other runs from doing so before. */
typedef struct aside {
    const char *path; /* borrowed */
    char *name;       /* NULL: there was none */
    int fd;
} aside;

static pare_status move_aside(aside *a, const pare_output *out, pare_error *err)
{
    pare_buf name = {0};
    a->path = pare_output_path(out);
    if (!describes(out) || !(pare_output_get_flags(out) & PARE_OUTPUT_FORCE) || !may_exist(a->path))
        return PARE_OK;
    pare_status st = pare_buf_printf(&name, err, "%s%s", pare_output_temporary(out), PARE_CLAIM_ASIDE);
    a->fd = st == PARE_OK ? open(a->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (a->fd >= 0)
        (void)pare_claim_lock(a->fd);
    if (st == PARE_OK && rename(a->path, name.data) != 0)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot move the old one aside: %s", a->path, strerror(errno));
    if (st != PARE_OK)
        pare_buf_close(&name);
    a->name = name.data;
    return st;
}

/* Put "; what" behind the message of err. */
static void say_also(pare_error *err, const char *what)
{
    char text[PARE_ERROR_TEXT];
    if (err == NULL)
        return;
    snprintf(text, sizeof text, "%s", err->text);
    pare_fail(err, err->status, "%s; %s", text, what);
}

/* It gets its name back, unless there is something else. Where that fails it stays: core/claim.h finds it. */
static void put_back(const aside *a, pare_error *err)
{
    char what[PARE_ERROR_TEXT];
    struct stat info;
    bool taken = false;
    if (pare_look_link(a->path, &info, &taken, NULL) == PARE_OK && !taken && rename(a->name, a->path) == 0)
        return;
    snprintf(what, sizeof what, "the old %s stays as %s", a->path, a->name);
    say_also(err, what);
}

static void end_aside(aside *a)
{
    if (a->fd >= 0)
        close(a->fd);
    free(a->name);
}

/* The first n have their names and lose them. False: one could not be exchanged for what it replaced, so none of those
 * that replaced nothing is gone either. */
static bool take_back(pare_output *const *order, size_t n)
{
    bool all = true;
    for (size_t i = n; i-- > 0;)
        all = pare_output_put_back(order[i]) && all;
    for (size_t i = n; all && i-- > 0;)
        pare_output_withdraw(order[i]);
    return all;
}

/* All stays as behind a run that is killed. */
static void leave(const pare_output_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        pare_output_leave(set->items[i]);
}

/* Old descriptions go before what they describe does, and all comes back when that fails. */
static pare_status give_names(const pare_output_set *set, pare_output *const *order, bool *left, pare_error *err)
{
    size_t n = 0;
    *left = false;
    const bool late = replaces(set);
    aside *old = calloc(set->n + 1, sizeof *old);
    pare_status st = old != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu outputs", set->n);
    for (size_t i = 0; i < set->n && old != NULL; i++) {
        old[i].fd = -1;
        if (st == PARE_OK && late)
            st = move_aside(&old[i], order[i], err);
    }
    while (st == PARE_OK && n < set->n && (st = pare_output_publish(order[n], err)) == PARE_OK)
        n++;
    if (st != PARE_OK && !take_back(order, n)) {
        leave(set);
        *left = true;
        say_also(err, "what has its new name could not be taken back: the next run that writes in the folder "
                      "completes the set");
    }
    for (size_t i = 0; i < set->n && old != NULL; i++) {
        if (old[i].name != NULL && st == PARE_OK)
            unlink(old[i].name);
        else if (old[i].name != NULL && !*left)
            put_back(&old[i], err);
        end_aside(&old[i]);
    }
    free(old);
    return st;
}

/* What must not be replaced is seen before the first name changes. pare_output_publish looks again. */
static pare_status check_names(const pare_output_set *set, pare_error *err)
{
    struct stat info;
    bool there = false;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < set->n && st == PARE_OK; i++) {
        const char *path = pare_output_path(set->items[i]);
        if (pare_output_get_flags(set->items[i]) & PARE_OUTPUT_FORCE)
            continue;
        if ((st = pare_look_link(path, &info, &there, err)) == PARE_OK && there)
            st = pare_fail(err, PARE_ERR_USAGE, "%s: appeared while it was being written; give --force to replace it",
                           path);
    }
    return st;
}

pare_status pare_output_set_source(pare_output_set *set, const char *path, const pare_identity *id, pare_error *err)
{
    pare_output_source *more = reallocarray(set->sources, set->n_sources + 1, sizeof *more);
    if (more != NULL)
        set->sources = more;
    if (more == NULL || (more[set->n_sources].path = strdup(path)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory to guard it", path);
    more[set->n_sources++].id = *id;
    return PARE_OK;
}

static pare_status check_sources(const pare_output_set *set, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < set->n_sources && st == PARE_OK; i++)
        st = pare_identity_check(&set->sources[i].id, set->sources[i].path, err);
    return st;
}

pare_status pare_output_set_publish(pare_output_set *set, pare_error *err)
{
    pare_journal journal = {.fd = -1};
    pare_output **order = calloc(set->n > 0 ? set->n : 1, sizeof *order);
    if (order == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu outputs", set->n);
    pare_status st = pare_output_publishing(err);
    if (st != PARE_OK) {
        free(order);
        return st;
    }
    st = check_sources(set, err);
    if (st == PARE_OK)
        st = check_names(set, err);
    put_in_order(set, order);
    if (st == PARE_OK && set->n > 1)
        st = write_journal(set, order, &journal, err);
    if (st == PARE_OK)
        st = give_names(set, order, &journal.left, err);
    pare_journal_close(&journal);
    pare_output_published();
    free(order);
    return st;
}

void pare_output_set_close(pare_output_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        pare_output_close(set->items[i]);
    for (size_t i = 0; i < set->n_sources; i++)
        free(set->sources[i].path);
    free(set->sources);
    free(set->items);
    *set = (pare_output_set){0};
}
