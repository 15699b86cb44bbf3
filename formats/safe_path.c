#include "formats/safe_path.h"
#include "core/look.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number
#define MAX_BYTES 4095
#define MAX_COMPONENT 255
#define MAX_COMPONENTS 256
_Static_assert(MAX_BYTES == PARE_PATH_MAX_BYTES && MAX_COMPONENT == PARE_PATH_MAX_COMPONENT &&
                   MAX_COMPONENTS == PARE_PATH_MAX_COMPONENTS,
               "the messages name the limits");

static const char *component_fault(pare_str part)
{
    if (part.len == 0 || pare_str_equal(part, "."))
        return "holds an empty component or '.'";
    if (pare_str_equal(part, ".."))
        return "holds '..'";
    return part.len > MAX_COMPONENT ? "has a component of more than " TEXT(MAX_COMPONENT) " bytes" : NULL;
}

static const char *components_fault(pare_str name)
{
    size_t n = 0;
    for (size_t start = 0; start <= name.len; n++) {
        const char *part = name.data + start, *slash = memchr(part, '/', name.len - start);
        const size_t len = slash != NULL ? (size_t)(slash - part) : name.len - start;
        const char *fault = component_fault((pare_str){part, len});
        if (fault != NULL)
            return fault;
        start += len + 1;
    }
    if (n > MAX_COMPONENTS)
        return "has more than " TEXT(MAX_COMPONENTS) " components";
    return name.len > MAX_BYTES ? "is longer than " TEXT(MAX_BYTES) " bytes" : NULL;
}

/* passes: bytes that are no fault although they are control bytes or a backslash */
static const char *bytes_fault(pare_str name, const char *passes)
{
    for (size_t i = 0; i < name.len; i++) {
        const unsigned char c = (unsigned char)name.data[i];
        if (c == '\0')
            return "holds a NUL";
        if (c != '\\' && c >= 0x20 && c != 0x7f)
            continue;
        if (strchr(passes, c) == NULL)
            return c == '\\' ? "holds a backslash" : "holds a control byte";
    }
    return NULL;
}

static const char *name_fault(pare_str name, const char *passes)
{
    if (name.len == 0)
        return "is empty";
    if (name.data[0] == '/')
        return "is absolute";
    const char *fault = bytes_fault(name, passes);
    return fault != NULL ? fault : components_fault(name);
}

const char *pare_path_leaves(pare_str name)
{
    return name_fault(name, "\\\n\r");
}

const char *pare_path_fault(pare_str name)
{
    const char *fault = name_fault(name, "");
    return fault != NULL || pare_utf8_valid(name.data, name.len, NULL) ? fault : "is not UTF-8";
}

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "is a folder"
           : S_ISFIFO(mode) ? "is a FIFO"
           : S_ISSOCK(mode) ? "is a socket"
           : S_ISLNK(mode)  ? "is a symbolic link"
                            : "is a device";
}

/* True when target is "../" * (depth + 2), "blobs/" and 40 or 64 lower-case hexadecimal digits. */
static bool is_blob_link(const char *target, size_t depth)
{
    for (size_t i = 0; i < depth + 2; i++, target += 3)
        if (strncmp(target, "../", 3) != 0)
            return false;
    if (strncmp(target, "blobs/", 6) != 0)
        return false;
    size_t n = strspn(target + 6, "0123456789abcdef");
    return (n == 40 || n == 64) && target[6 + n] == '\0';
}

/* How many folders lie between a link and the snapshot that it is in: below snapshots/<commit> where full says that,
 * else below the folder that name is relative to, which may be the snapshot itself. */
static size_t depth_in_snapshot(const char *full, const char *name)
{
    static const char middle[] = "/snapshots/";
    const char *from = name;
    for (const char *at = full; (at = strstr(at, middle)) != NULL; at++) {
        const char *commit = at + sizeof middle - 1;
        if (strspn(commit, "0123456789abcdef") == 40 && commit[40] == '/')
            from = commit + 41 + strspn(commit + 41, "/");
    }
    size_t depth = 0;
    for (const char *at = from; *at != '\0'; at++)
        depth += at[0] == '/' && at[1] != '/';
    return depth;
}

enum { PATH_ROOM = 2 * PATH_MAX };

/* Nothing lies at a path, or one may not look there, or, with *number, it cannot be told. */
static pare_path_state look_failed(int *number, char *why, size_t size)
{
    const int code = errno;
    if (code == ENOENT || code == ENOTDIR)
        return PARE_PATH_ABSENT;
    *number = pare_look_says(code) ? 0 : code;
    snprintf(why, size, "%s", strerror(code));
    return PARE_PATH_REFUSED;
}

/* full is folder/name, a symbolic link. */
static pare_path_state look_at_link(const char *full, const char *name, char *why, size_t size, int *number)
{
    char target[PATH_MAX], blob[PATH_ROOM + PATH_MAX];
    struct stat info;
    size_t depth = depth_in_snapshot(full, name);
    ssize_t n = readlink(full, target, sizeof target - 1);
    if (n < 0)
        return look_failed(number, why, size);
    target[n] = '\0';
    if (!is_blob_link(target, depth)) {
        snprintf(why, size, "is a symbolic link to '%s'", target);
        return PARE_PATH_REFUSED;
    }
    snprintf(blob, sizeof blob, "%.*s/%s", (int)(strrchr(full, '/') - full), full, target);
    char *name_of_blob = strrchr(blob, '/');
    pare_path_state state = PARE_PATH_FILE;
    *name_of_blob = '\0';
    if (lstat(blob, &info) == 0 && !S_ISDIR(info.st_mode)) {
        snprintf(why, size, "is a link into '%.*s', which %s", (int)(strrchr(target, '/') - target), target,
                 S_ISREG(info.st_mode) ? "is a file" : kind_of(info.st_mode));
        return PARE_PATH_REFUSED;
    }
    *name_of_blob = '/';
    if (lstat(blob, &info) != 0) {
        snprintf(why, size, "is a link to the absent blob '%s'", target);
        state = look_failed(number, why, size);
    } else if (!S_ISREG(info.st_mode)) {
        snprintf(why, size, "is a link to '%s', which %s", target, kind_of(info.st_mode));
        state = PARE_PATH_REFUSED;
    }
    return state;
}

/* *number: 0, or errno of a look that said nothing. */
static pare_path_state look(const char *folder, const char *name, char *why, size_t size, int *number)
{
    struct stat info;
    char full[PATH_ROOM]; /* no memory that may be lacking: the answer is about the file */
    const int n = snprintf(full, sizeof full, "%s/%s", folder, name);
    pare_path_state state = PARE_PATH_FILE;
    snprintf(why, size, "is absent");
    if (n < 0 || n >= PATH_ROOM) {
        snprintf(why, size, "has a longer path than files have");
        return PARE_PATH_REFUSED;
    }
    for (char *slash = strchr(full + strlen(folder) + 1, '/'); slash != NULL && state == PARE_PATH_FILE;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (lstat(full, &info) != 0)
            state = look_failed(number, why, size);
        else if (!S_ISDIR(info.st_mode)) {
            snprintf(why, size, "lies behind '%s', which %s", full,
                     S_ISREG(info.st_mode) ? "is a file" : kind_of(info.st_mode));
            state = PARE_PATH_REFUSED;
        }
        *slash = '/';
    }
    if (state == PARE_PATH_FILE && lstat(full, &info) != 0)
        state = look_failed(number, why, size);
    else if (state == PARE_PATH_FILE && S_ISLNK(info.st_mode))
        state = look_at_link(full, name, why, size, number);
    else if (state == PARE_PATH_FILE && !S_ISREG(info.st_mode)) {
        snprintf(why, size, "%s", kind_of(info.st_mode));
        state = PARE_PATH_REFUSED;
    }
    return state;
}

pare_status pare_path_look(pare_path_state *state, const char *folder, const char *name, char *why, size_t size,
                           pare_error *err)
{
    int number = 0;
    *state = look(folder, name, why, size, &number);
    return number == 0 ? PARE_OK
                       : pare_fail(err, PARE_ERR_IO, "%s/%s: cannot be looked at: %s", folder, name, strerror(number));
}

pare_status pare_path_find(char **path, const char *folder, const char *name, pare_error *err)
{
    char why[PATH_ROOM];
    pare_path_state state;
    pare_status st = pare_path_look(&state, folder, name, why, sizeof why, err);
    *path = NULL;
    if (st == PARE_OK && state == PARE_PATH_FILE && (*path = pare_path_join(folder, name, err)) == NULL)
        st = PARE_ERR_MEMORY;
    return st;
}

enum {
    OPEN_FOLDER = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
    OPEN_FILE = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
};

/* Open a component of len bytes in dir, which is closed. -1 with errno: also when dir is none. */
static int step(int dir, const char *part, size_t len, int flags)
{
    char name[PARE_PATH_MAX_COMPONENT + 1];
    int fd = -1;
    if (dir < 0)
        return -1;
    if (len > PARE_PATH_MAX_COMPONENT)
        errno = ENAMETOOLONG;
    else {
        memcpy(name, part, len);
        name[len] = '\0';
        fd = openat(dir, name, flags);
    }
    const int why = errno;
    close(dir);
    errno = why;
    return fd;
}

/* The file that path leads to from dir, which is closed, folder by folder. */
static int walk(int dir, const char *path)
{
    for (const char *slash; (slash = strchr(path, '/')) != NULL; path = slash + 1)
        dir = step(dir, path, (size_t)(slash - path), OPEN_FOLDER);
    return step(dir, path, strlen(path), OPEN_FILE);
}

/* The same for the last component being a link of the Hub's cache, read where it lies. */
static int walk_link(int dir, const char *name, size_t depth)
{
    char target[4096];
    const char *last = strrchr(name, '/');
    for (const char *slash; (slash = strchr(name, '/')) != NULL; name = slash + 1)
        dir = step(dir, name, (size_t)(slash - name), OPEN_FOLDER);
    ssize_t n = dir >= 0 ? readlinkat(dir, last != NULL ? last + 1 : name, target, sizeof target - 1) : -1;
    target[n > 0 ? n : 0] = '\0';
    if (n > 0 && is_blob_link(target, depth))
        return walk(dir, target);
    if (dir >= 0)
        close(dir);
    errno = ELOOP;
    return -1;
}

pare_status pare_path_open(pare_path_file *f, const char *folder, const char *name, pare_error *err)
{
    struct stat info;
    *f = (pare_path_file){.fd = -1};
    pare_status st = pare_path_look(&f->state, folder, name, f->why, sizeof f->why, err);
    if (st != PARE_OK || f->state != PARE_PATH_FILE)
        return st;
    const int root = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    f->fd = root >= 0 ? walk(fcntl(root, F_DUPFD_CLOEXEC, 3), name) : -1;
    if (root >= 0 && f->fd < 0 && errno == ELOOP) {
        char *full = pare_path_join(folder, name, NULL);
        f->fd = full != NULL ? walk_link(fcntl(root, F_DUPFD_CLOEXEC, 3), name, depth_in_snapshot(full, name)) : -1;
        free(full);
    }
    const int why = errno;
    if (root >= 0)
        close(root);
    if (f->fd >= 0 && fstat(f->fd, &info) == 0 && S_ISREG(info.st_mode))
        return PARE_OK;
    const bool moved = f->fd >= 0 || why == ELOOP || why == ENOTDIR || why == ENOENT || why == ENXIO;
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    return moved ? pare_fail(err, PARE_ERR_IO, "%s/%s: something else took its place while it was opened", folder, name)
                 : pare_fail(err, PARE_ERR_IO, "%s/%s: cannot open: %s", folder, name, strerror(why));
}

bool pare_path_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *pare_path_folder(const char *path, pare_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (folder == NULL)
        pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a path", path);
    return folder;
}

char *pare_path_join(const char *folder, const char *name, pare_error *err)
{
    pare_buf path = {0};
    if (pare_buf_printf(&path, err, "%s/%s", folder, name) == PARE_OK)
        return path.data;
    pare_buf_close(&path);
    return NULL;
}
