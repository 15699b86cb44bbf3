#include "core/threads.h"
#include "core/background.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static int chosen_threads;

/* CPUs that cgroup v2 or v1 grants, rounded up; a large number when there is no quota. */
static int read_quota(void)
{
    long quota = -1, period = 100000;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (f != NULL) {
        if (fscanf(f, "%ld %ld", &quota, &period) != 2) /* "max 100000": no quota */
            quota = -1;
        fclose(f);
    } else if ((f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r")) != NULL) {
        if (fscanf(f, "%ld", &quota) != 1)
            quota = -1;
        fclose(f);
    }
    if (quota <= 0 || period <= 0)
        return 1 << 20;
    return (int)((quota + period - 1) / period);
}

/* Read once: some ask for each tensor, and the files take some 30 us. */
static int cgroup_cpus(void)
{
    static atomic_int known;
    int n = atomic_load(&known);
    if (n == 0)
        atomic_store(&known, n = read_quota());
    return n;
}

int pare_threads(void)
{
    if (chosen_threads > 0)
        return chosen_threads;
    const char *text = getenv("OMP_NUM_THREADS");
    long asked = text != NULL ? strtol(text, NULL, 10) : 0;
    if (asked > 0 && asked < 4096)
        return (int)asked;
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : omp_get_num_procs();
    int quota = cgroup_cpus();
    if (n > quota)
        n = quota;
    return n > 0 ? n : 1;
}

void pare_set_threads(int n)
{
    chosen_threads = n > 0 ? n : 0;
}

pare_status pare_parallel(size_t n, pare_work_fn fn, void *ctx, pare_error *err)
{
    atomic_size_t failed = SIZE_MAX; /* the smallest failed index so far: what is below it still runs */
    pare_error first = {0};
    int threads = omp_in_parallel() || pare_is_background() ? 1 : pare_threads();
    if ((size_t)threads > n)
        threads = n > 0 ? (int)n : 1;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (size_t i = 0; i < n; i++) {
        if (i > atomic_load_explicit(&failed, memory_order_relaxed))
            continue;
        pare_error mine = {0};
        pare_status st = fn(i, omp_get_thread_num(), ctx, &mine);
        if (st == PARE_OK)
            continue;
        mine.status = st;
#pragma omp critical(pare_parallel_failure)
        if (i < atomic_load(&failed)) {
            atomic_store(&failed, i);
            first = mine;
        }
    }
    if (atomic_load(&failed) == SIZE_MAX)
        return PARE_OK;
    if (err != NULL)
        *err = first;
    return first.status;
}
