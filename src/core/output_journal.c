#include "core/output_journal.h"
#include "core/claim.h"
#include "core/look.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[] = "pare set 2\n", end[] = "end\n";

/* A journal of a thousand parts is far below. */
enum { MAX_BYTES = 16 << 20 };

static size_t folder_len(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

pare_status pare_journal_open(pare_journal *j, pare_error *err)
{
    *j = (pare_journal){.fd = -1};
    return pare_buf_puts(&j->text, magic, err);
}

pare_status pare_journal_add(pare_journal *j, const char *first, const char *tmp, const char *path, unsigned flags,
                             pare_error *err)
{
    size_t n = folder_len(first);
    if (folder_len(tmp) != n || folder_len(path) != n || strncmp(tmp, first, n) != 0 || strncmp(path, first, n) != 0 ||
        strchr(tmp + n, '\n') != NULL || strchr(path + n, '\n') != NULL)
        return PARE_OK;
    struct stat info;
    if (stat(tmp, &info) != 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot stat: %s", tmp, strerror(errno));
    return pare_buf_printf(&j->text, err, "%u %llu\n%s\n%s\n", flags, (unsigned long long)info.st_ino, tmp + n,
                           path + n);
}

pare_status pare_journal_write(pare_journal *j, const char *first, pare_error *err)
{
    pare_status st = pare_buf_puts(&j->text, end, err);
    if (st == PARE_OK)
        st = pare_claim_create(first, PARE_CLAIM_SET, PARE_CLAIM_FILE, &j->path, &j->fd, err);
    for (size_t at = 0; st == PARE_OK && at < j->text.len;) {
        ssize_t n = write(j->fd, j->text.data + at, j->text.len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            st = pare_fail(err, PARE_ERR_IO, "%s: cannot write: %s", j->path, n < 0 ? strerror(errno) : "short write");
        at += n > 0 ? (size_t)n : 0;
    }
    if (st == PARE_OK && TEMP_FAILURE_RETRY(fsync(j->fd)) != 0)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot sync: %s", j->path, strerror(errno));
    return st;
}

void pare_journal_close(pare_journal *j)
{
    if (j->path != NULL && !j->left)
        unlink(j->path);
    if (j->path != NULL && j->fd >= 0)
        close(j->fd);
    free(j->path);
    pare_buf_close(&j->text);
    *j = (pare_journal){.fd = -1};
}

/* All of the file with a NUL behind; NULL: it is no whole journal, or there is no memory for one. */
static char *read_whole(int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_size < (off_t)(sizeof magic + sizeof end - 2) || info.st_size > MAX_BYTES)
        return NULL;
    size_t size = (size_t)info.st_size, n = 0;
    char *text = calloc(1, size + 1);
    for (ssize_t part; text != NULL && n < size && (part = pread(fd, text + n, size - n, (off_t)n)) != 0;)
        if (part > 0)
            n += (size_t)part;
        else if (errno != EINTR)
            break;
    if (text != NULL && n == size && strlen(text) == n && strncmp(text, magic, sizeof magic - 1) == 0 &&
        strcmp(text + n - (sizeof end - 1), end) == 0)
        return text;
    free(text);
    return NULL;
}

/* Cut the next line off *at; NULL: there is none. */
static char *next_line(char **at)
{
    char *line = *at, *stop = strchr(line, '\n');
    if (stop == NULL)
        return NULL;
    *stop = '\0';
    *at = stop + 1;
    return line;
}

/* tmp is a temporary of path, both in the folder itself, and it is the file that was meant: once the two have changed
 * places it is what lay at path before. */
static bool may_be_named(int dir, const char *tmp, const char *path, unsigned long long inode)
{
    struct stat info;
    size_t n = strlen(path), mark = sizeof PARE_CLAIM_MARK - 1;
    return n > 0 && strchr(path, '/') == NULL && strchr(tmp, '/') == NULL && strncmp(tmp, path, n) == 0 &&
           strncmp(tmp + n, PARE_CLAIM_MARK, mark) == 0 &&
           strspn(tmp + n + mark, "0123456789") == strlen(tmp + n + mark) &&
           fstatat(dir, tmp, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) && info.st_ino == inode;
}

typedef enum step { STEP_UNDESCRIBE, STEP_NAME } step;

static void complete_one(int dir, step which, const char *what, const char *tmp, const char *path)
{
    const unsigned old_description = PARE_JOURNAL_REPLACES | PARE_JOURNAL_DESCRIBES;
    char *end_of_flags;
    const unsigned flags = (unsigned)strtoul(what, &end_of_flags, 10);
    if (!may_be_named(dir, tmp, path, strtoull(end_of_flags, NULL, 10)))
        return; /* it has its name already */
    if (which == STEP_UNDESCRIBE && (flags & old_description) == old_description)
        unlinkat(dir, path, 0);
    else if (which == STEP_NAME && (flags & PARE_JOURNAL_REPLACES))
        renameat(dir, tmp, dir, path);
    else if (which == STEP_NAME) {
        int taken = linkat(dir, tmp, dir, path, 0); /* fails where something has the name: that stays */
        (void)taken;
        unlinkat(dir, tmp, 0);
    }
}

void pare_journal_complete(int dir, const char *name, int fd)
{
    for (step which = STEP_UNDESCRIBE; which <= STEP_NAME; which++) {
        char *text = read_whole(fd), *at = text != NULL ? text + sizeof magic - 1 : NULL;
        for (char *flags; text != NULL && (flags = next_line(&at)) != NULL && strcmp(flags, "end") != 0;) {
            char *tmp = next_line(&at), *path = tmp != NULL ? next_line(&at) : NULL;
            if (path == NULL)
                break;
            complete_one(dir, which, flags, tmp, path);
        }
        free(text);
    }
    fsync(dir);
    unlinkat(dir, name, 0);
}

pare_status pare_journal_warn(const char *folder, const char *prefix, pare_error *err)
{
    pare_status st = PARE_OK;
    struct dirent *e;
    DIR *dir = opendir(folder);
    while (dir != NULL && st == PARE_OK && (st = pare_look_next(dir, folder, &e, err)) == PARE_OK && e != NULL)
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && strstr(e->d_name, ".pare.set.") != NULL)
            st =
                pare_warn(err,
                          "%s/%s: a run was killed while its files got their names: some here are of it, others older; "
                          "the next run that writes here gives the names that are missing",
                          folder, e->d_name);
    if (dir != NULL)
        closedir(dir);
    return st;
}
