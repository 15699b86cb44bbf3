#include "core/claim.h"
#include "core/look.h"
#include "core/output_journal.h"
#include "core/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

bool pare_claim_lock(int fd)
{
    return TEMP_FAILURE_RETRY(flock(fd, LOCK_EX | LOCK_NB)) == 0 || errno != EWOULDBLOCK;
}

/* As pare_claim_lock, but a file system without flock is no success: nobody may be taken for dead. */
static bool is_dead(int fd)
{
    return TEMP_FAILURE_RETRY(flock(fd, LOCK_EX | LOCK_NB)) == 0;
}

/* The number behind mark at the end of name, or before PARE_CLAIM_ASIDE, which *aside says; -1: it is no such name.
 * *base_len: of what is before the mark. */
static long number_of(const char *name, const char *mark, size_t *base_len, bool *aside)
{
    const char *at = NULL;
    for (const char *next = strstr(name, mark); next != NULL; next = strstr(next + 1, mark))
        at = next; /* the last one: a base may itself be a temporary's name */
    if (at == NULL || at == name)
        return -1;
    const char *digits = at + strlen(mark);
    size_t n = strspn(digits, "0123456789");
    *aside = strcmp(digits + n, PARE_CLAIM_ASIDE) == 0;
    *base_len = (size_t)(at - name);
    return n > 0 && n < 18 && (*aside || digits[n] == '\0') ? strtol(digits, NULL, 10) : -1;
}

/* The temporary folder of this run, or a part of its name: no other run writes there. */
static bool is_own_folder(const char *folder)
{
    size_t base_len;
    bool aside;
    const char *slash = strrchr(folder, '/');
    return number_of(slash != NULL ? slash + 1 : folder, PARE_CLAIM_MARK, &base_len, &aside) == (long)getpid();
}

/* The folder's regular files and links, then the folder; what else is in it stays, and so does it. */
static void remove_folder_at(int dir, const char *name, int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
    for (struct dirent *e; list != NULL && (e = readdir(list)) != NULL;)
        unlinkat(fd, e->d_name, 0); /* fails for folders */
    if (list != NULL)
        closedir(list);
    else if (copy >= 0)
        close(copy);
    unlinkat(dir, name, AT_REMOVEDIR);
}

/* A temporary of a dead run, whose lock fd has now. */
static void remove_stale(int dir, const char *name, const struct stat *info, int fd, const char *base, bool aside)
{
    struct stat there;
    if (fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) != 0 || there.st_dev != info->st_dev ||
        there.st_ino != info->st_ino)
        return; /* it is not what was opened any more */
    if (aside && fstatat(dir, base, &there, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
        renameat(dir, name, dir, base);
    else if (S_ISDIR(info->st_mode))
        remove_folder_at(dir, name, fd);
    else
        unlinkat(dir, name, 0);
}

typedef struct search {
    int dir;
    const char *base;
    long live; /* the number of a live run that writes to base, -1: there is none */
} search;

static void look_at(search *s, const char *name)
{
    struct stat info;
    size_t len;
    bool aside = false;
    long number = number_of(name, PARE_CLAIM_SET, &len, &aside);
    bool journal = number >= 0 && !aside;
    if (!journal && ((number = number_of(name, PARE_CLAIM_MARK, &len, &aside)) < 0 || len != strlen(s->base) ||
                     strncmp(name, s->base, len) != 0))
        return;
    int fd = openat(s->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    bool ours = fstat(fd, &info) == 0 && (S_ISREG(info.st_mode) || (S_ISDIR(info.st_mode) && !journal));
    if (ours && is_dead(fd)) {
        if (journal)
            pare_journal_complete(s->dir, name, fd);
        else
            remove_stale(s->dir, name, &info, fd, s->base, aside);
    } else if (ours && !journal && errno == EWOULDBLOCK)
        s->live = number;
    close(fd);
}

/* Journals first: what they name is no litter. */
static pare_status look_around(search *s, const char *folder, pare_error *err)
{
    pare_status st = PARE_OK;
    for (int pass = 0; pass < 2 && st == PARE_OK; pass++) {
        int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
        struct dirent *e;
        while (list != NULL && st == PARE_OK && (st = pare_look_next(list, folder, &e, err)) == PARE_OK && e != NULL)
            if ((strstr(e->d_name, PARE_CLAIM_SET) != NULL) == (pass == 0))
                look_at(s, e->d_name);
        if (list != NULL)
            closedir(list);
        else if (fd >= 0)
            close(fd);
    }
    return st;
}

/* A listing takes no longer than moments. Who holds the folder for longer is no run of this program, and is not waited
 * for. */
static void lock_folder(int dir)
{
    enum { TRIES = 2000 };
    const struct timespec moment = {.tv_nsec = 1000000};
    for (int i = 0; i < TRIES && flock(dir, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; i++)
        nanosleep(&moment, NULL);
}

/* -1 with errno: it is gone again. */
static int open_new_folder(const char *path)
{
    int fd = TEMP_FAILURE_RETRY(open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    const int why = errno;
    if (fd < 0)
        rmdir(path);
    errno = why;
    return fd;
}

pare_status pare_claim_create(const char *path, const char *mark, pare_claim_kind kind, char **tmp, int *fd,
                              pare_error *err)
{
    pare_buf name = {0};
    *tmp = NULL;
    *fd = -1;
    pare_status st = pare_buf_printf(&name, err, "%s%s%ld", path, mark, (long)getpid());
    if (st != PARE_OK)
        return st;
    if (kind == PARE_CLAIM_FILE)
        *fd = TEMP_FAILURE_RETRY(open(name.data, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
    else if (mkdir(name.data, 0777) == 0)
        *fd = open_new_folder(name.data);
    if (*fd < 0)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot create %s: %s", path, name.data, strerror(errno));
    else if (!pare_claim_lock(*fd)) { /* another run, which looked before the lock was there, is about to remove it */
        st = pare_fail(err, PARE_ERR_IO, "%s: another run writes to it", path);
        close(*fd);
        *fd = -1;
    }
    if (st == PARE_OK)
        *tmp = name.data;
    else
        pare_buf_close(&name);
    return st;
}

static void close_search(search *s)
{
    if (s->dir >= 0)
        close(s->dir); /* and with it the lock */
}

/* Look around beside path. The folder and its lock are held until close_search. */
static pare_status open_search(search *s, const char *path, pare_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = strndup(slash != NULL ? path : ".", slash == NULL || slash == path ? 1 : (size_t)(slash - path));
    pare_status st = PARE_OK;
    if (folder == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", path);
    *s = (search){
        .dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), .base = slash != NULL ? slash + 1 : path, .live = -1};
    if (s->dir >= 0 && !is_own_folder(folder)) { /* one that cannot be listed is told when the file is created */
        lock_folder(s->dir);
        st = look_around(s, folder, err);
    }
    free(folder);
    if (st != PARE_OK)
        close_search(s);
    return st;
}

pare_status pare_claim(const char *path, pare_claim_kind kind, char **tmp, int *fd, pare_error *err)
{
    search s;
    *tmp = NULL;
    *fd = -1;
    pare_status st = open_search(&s, path, err);
    if (st != PARE_OK)
        return st;
    st = s.live < 0 ? pare_claim_create(path, PARE_CLAIM_MARK, kind, tmp, fd, err)
                    : pare_fail(err, PARE_ERR_IO, "%s: another run (process %ld) writes to it", path, s.live);
    close_search(&s);
    return st;
}

void pare_claim_clean(const char *path)
{
    search s;
    if (open_search(&s, path, NULL) == PARE_OK)
        close_search(&s);
}
