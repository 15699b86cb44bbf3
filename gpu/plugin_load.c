#include "gpu/plugin.h"

#include "core/text.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "pare-cuda.so"

static const pare_gpu_host host = {.abi = PARE_GPU_ABI,
                                   .fail = pare_fail,
                                   .check_interrupt = pare_check_interrupt,
                                   .tensor_read = pare_tensor_read,
                                   .tensor_release = pare_tensor_release,
                                   .tensor_matrices = pare_tensor_matrices,
                                   .kv_refuse = pare_kv_refuse};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const pare_gpu_plugin *loaded;
static char loaded_path[PATH_MAX];

const char *pare_gpu_path(void)
{
    return loaded_path;
}

/* The folder of the program, without the slash at its end; false when the system does not tell. */
static bool program_folder(char out[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
    char *slash = strrchr(out, '/');
    if (slash != NULL)
        *slash = '\0';
    return slash != NULL;
}

/* Candidate i, in the order of the search; false behind the last. */
static bool candidate(size_t i, char out[PATH_MAX])
{
    char folder[PATH_MAX];
    const char *given = getenv("PARE_CUDA_PLUGIN");
    int n = -1;
    if (given != NULL && *given != '\0') /* a path, and never a name for the dynamic linker to search */
        n = i == 0 ? snprintf(out, PATH_MAX, "%s%s", strchr(given, '/') != NULL ? "" : "./", given) : -1;
    else if (i < 2 && program_folder(folder))
        n = snprintf(out, PATH_MAX, "%s/%s" FILE_NAME, folder, i == 0 ? "" : "../lib/pare/");
    else if (i < 3)
        n = snprintf(out, PATH_MAX, "%s/" FILE_NAME, PARE_PLUGIN_FOLDER);
    if (n >= PATH_MAX)
        out[0] = '\0'; /* no file has this name */
    return n >= 0;
}

/* The first candidate that is there. */
static bool find(char path[PATH_MAX])
{
    for (size_t i = 0; candidate(i, path); i++)
        if (access(path, F_OK) == 0)
            return true;
    return false;
}

bool pare_gpu_present(void)
{
    char path[PATH_MAX];
    return find(path);
}

static pare_status not_found(pare_error *err)
{
    pare_buf where = {0};
    char path[PATH_MAX];
    pare_status st = PARE_OK;
    for (size_t i = 0; candidate(i, path) && st == PARE_OK; i++)
        st = pare_buf_printf(&where, err, "%s%s", i > 0 ? ", " : "", path);
    if (st == PARE_OK)
        st = pare_fail(err, PARE_ERR_DEVICE, "no CUDA plugin: looked for %s%s", where.data,
                       getenv("PARE_CUDA_PLUGIN") != NULL ? " (PARE_CUDA_PLUGIN)"
                                                          : "; a build with nvcc makes it, PARE_CUDA_PLUGIN names one");
    pare_buf_close(&where);
    return st;
}

static pare_status load(const char *path, pare_error *err)
{
    pare_gpu_entry entry = NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *why = dlerror(); /* begins with the path where it is about that file */
        size_t n = strlen(path);
        if (strncmp(why, path, n) == 0 && why[n] == ':')
            why += n + 1 + strspn(why + n + 1, " ");
        return pare_fail(err, PARE_ERR_DEVICE, "%s: the CUDA plugin cannot be loaded: %s", path, why);
    }
    *(void **)&entry = dlsym(library, PARE_GPU_ENTRY);
    const pare_gpu_plugin *plugin = entry != NULL ? entry(&host) : NULL;
    if (plugin != NULL && plugin->abi == PARE_GPU_ABI) {
        loaded = plugin; /* and stays for good: threads of the driver may run in it */
        snprintf(loaded_path, sizeof loaded_path, "%s", path);
        return PARE_OK;
    }
    dlclose(library);
    if (entry == NULL)
        return pare_fail(err, PARE_ERR_DEVICE, "%s: is no plugin of pare: it has no " PARE_GPU_ENTRY, path);
    return pare_fail(err, PARE_ERR_DEVICE,
                     "%s: the CUDA plugin is of another version of pare: install both from one build", path);
}

pare_status pare_gpu_load(const pare_gpu_plugin **out, pare_error *err)
{
    char path[PATH_MAX];
    pare_status st = PARE_OK;
    pthread_mutex_lock(&lock);
    if (loaded == NULL)
        st = find(path) ? load(path, err) : not_found(err);
    *out = loaded;
    pthread_mutex_unlock(&lock);
    return st;
}
