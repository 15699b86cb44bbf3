#include "cmd/mpi.h"

#ifdef PARE_MPI

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A message holds less than 2^31 bytes; longer buffers go in pieces. */
enum { PIECE = 1 << 28, TAG = 1, N_ARRAYS = 4 };

static int rank, size = 1;
static bool started;

/* Before the arrays of a window. */
typedef struct header {
    uint32_t model, window, first, n, has_reference, has_ids;
} header;

pare_status cmd_mpi_start(pare_error *err)
{
    /* set by mpirun of Open MPI, MPICH and by Slurm: a program that was started alone need not wait for a daemon */
    static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"};
    bool launched = false;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        launched = launched || getenv(variables[i]) != NULL;
    if (!launched)
        return PARE_OK;
    if (MPI_Init(NULL, NULL) != MPI_SUCCESS)
        return pare_fail(err, PARE_ERR_DEVICE, "MPI does not start");
    started = true;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (rank > 0 && freopen("/dev/null", "w", stdout) == NULL)
        return pare_fail(err, PARE_ERR_IO, "/dev/null: cannot open");
    return PARE_OK;
}

void cmd_mpi_end(pare_status st)
{
    if (started && st != PARE_OK && st != PARE_ERR_DIFFERENCE && size > 1)
        MPI_Abort(MPI_COMM_WORLD, pare_exit_code(st)); /* the others may wait for this one */
    if (started)
        MPI_Finalize();
    started = false;
}

uint32_t cmd_mpi_rank(void)
{
    return (uint32_t)rank;
}

uint32_t cmd_mpi_size(void)
{
    return (uint32_t)size;
}

pare_status cmd_mpi_keep(cmd_mpi_scores *kept, const pare_scores *s, size_t model, pare_error *err)
{
    const double *const arrays[N_ARRAYS] = {s->nll, s->ref_nll, s->kld, s->kld_reverse};
    const header h = {(uint32_t)model, s->window, s->first, s->n, s->has_reference, s->ids != NULL};
    pare_status st = pare_buf_put(&kept->bytes, &h, sizeof h, err);
    for (int i = 0; i < (s->has_reference ? N_ARRAYS : 1) && st == PARE_OK; i++)
        st = pare_buf_put(&kept->bytes, arrays[i], s->n * sizeof(double), err);
    if (st == PARE_OK && s->ids != NULL)
        st = pare_buf_put(&kept->bytes, s->ids, (s->first + s->n + 1) * sizeof *s->ids, err);
    return st == PARE_OK && s->has_reference ? pare_buf_put(&kept->bytes, s->same_top1, s->n, err) : st;
}

static void send_all(const pare_buf *bytes)
{
    uint64_t len = bytes->len;
    MPI_Send(&len, 1, MPI_UINT64_T, 0, TAG, MPI_COMM_WORLD);
    for (uint64_t at = 0; at < len; at += PIECE)
        MPI_Send(bytes->data + at, (int)(len - at < PIECE ? len - at : PIECE), MPI_BYTE, 0, TAG, MPI_COMM_WORLD);
}

static pare_status receive_all(pare_buf *out, int from, pare_error *err)
{
    uint64_t len = 0;
    out->len = 0;
    MPI_Recv(&len, 1, MPI_UINT64_T, from, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    pare_status st = pare_buf_reserve(out, (size_t)len, err);
    for (uint64_t at = 0; at < len && st == PARE_OK; at += PIECE)
        MPI_Recv(out->data + at, (int)(len - at < PIECE ? len - at : PIECE), MPI_BYTE, from, TAG, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    out->len = st == PARE_OK ? (size_t)len : 0;
    return st;
}

/* An array out of the buffer, aligned. Owned; *at moves behind it. */
static void *take_array(const pare_buf *bytes, size_t *at, size_t n_bytes, bool *ok)
{
    void *copy = *ok && n_bytes <= bytes->len - *at ? malloc(n_bytes > 0 ? n_bytes : 1) : NULL;
    *ok = copy != NULL;
    if (copy != NULL)
        memcpy(copy, bytes->data + *at, n_bytes);
    *at += copy != NULL ? n_bytes : 0;
    return copy;
}

static pare_status replay_window(const pare_buf *bytes, size_t *at, pare_scores_fn fn, void *user, pare_error *err)
{
    header h;
    double *arrays[N_ARRAYS] = {NULL};
    memcpy(&h, bytes->data + *at, sizeof h);
    *at += sizeof h;
    bool ok = true;
    for (uint32_t i = 0; i < (h.has_reference ? N_ARRAYS : 1); i++)
        arrays[i] = take_array(bytes, at, h.n * sizeof(double), &ok);
    int32_t *ids = h.has_ids ? take_array(bytes, at, (h.first + h.n + 1) * sizeof *ids, &ok) : NULL;
    uint8_t *same_top1 = h.has_reference ? take_array(bytes, at, h.n, &ok) : NULL;
    const pare_scores s = {.window = h.window,
                           .first = h.first,
                           .n = h.n,
                           .ids = ids,
                           .nll = arrays[0],
                           .has_reference = h.has_reference,
                           .ref_nll = arrays[1],
                           .kld = arrays[2],
                           .kld_reverse = arrays[3],
                           .same_top1 = same_top1};
    pare_status st = ok ? fn(&s, h.model, user, err) : pare_fail(err, PARE_ERR_MEMORY, "no memory for scores");
    for (int i = 0; i < N_ARRAYS; i++)
        free(arrays[i]);
    free(ids);
    free(same_top1);
    return st;
}

pare_status cmd_mpi_gather(cmd_mpi_scores *kept, pare_scores_fn fn, void *user, pare_error *err)
{
    pare_buf received = {0};
    pare_status st = PARE_OK;
    if (rank > 0)
        send_all(&kept->bytes);
    for (int from = 1; rank == 0 && from < size && st == PARE_OK; from++) {
        size_t at = 0;
        st = receive_all(&received, from, err);
        while (st == PARE_OK && received.len - at >= sizeof(header))
            st = replay_window(&received, &at, fn, user, err);
    }
    pare_buf_close(&received);
    pare_buf_close(&kept->bytes);
    return st;
}

uint64_t cmd_mpi_sum(uint64_t value)
{
    uint64_t sum = value;
    if (size > 1)
        MPI_Reduce(&value, &sum, 1, MPI_UINT64_T, MPI_SUM, 0, MPI_COMM_WORLD);
    return sum;
}

#else

pare_status cmd_mpi_start(pare_error *err)
{
    (void)err;
    return PARE_OK;
}

void cmd_mpi_end(pare_status st)
{
    (void)st;
}

uint32_t cmd_mpi_rank(void)
{
    return 0;
}

uint32_t cmd_mpi_size(void)
{
    return 1;
}

pare_status cmd_mpi_keep(cmd_mpi_scores *kept, const pare_scores *s, size_t model, pare_error *err)
{
    (void)kept;
    (void)s;
    (void)model;
    (void)err;
    return PARE_OK;
}

pare_status cmd_mpi_gather(cmd_mpi_scores *kept, pare_scores_fn fn, void *user, pare_error *err)
{
    (void)kept;
    (void)fn;
    (void)user;
    (void)err;
    return PARE_OK;
}

uint64_t cmd_mpi_sum(uint64_t value)
{
    return value;
}

#endif

void cmd_mpi_take_part(pare_windows *w)
{
    uint64_t n = w->n_windows, parts = cmd_mpi_size(), part = cmd_mpi_rank(), round_up = parts - 1;
    uint32_t first = (uint32_t)((n * part + round_up) / parts), end = (uint32_t)((n * (part + 1) + round_up) / parts);
    for (uint32_t i = first; i < end; i++)
        w->number[i - first] = w->number[i];
    w->n_windows = end - first;
}
