/* cmd/mpi.h - one evaluation on many machines: mpirun -n 4 pare eval ... (a build with -DPARE_MPI=ON)
 *
 * Each rank measures a stretch of a text's windows and sends their scores to rank 0, which takes them in the order of
 * the windows as if it had measured them itself: figures and records do not depend on the number of ranks. Without MPI,
 * or when no mpirun started the program, there is one rank and nothing is sent. */
#ifndef PARE_CMD_MPI_H
#define PARE_CMD_MPI_H

#include "core/text.h"
#include "eval/evaluate.h"

/* Join the other ranks, if there are any. Ranks above 0 print nothing from then on. Errors: PARE_ERR_DEVICE */
pare_status cmd_mpi_start(pare_error *err);

/* Leave; after a failure all ranks end, with st's exit code. Nothing when cmd_mpi_start was not called. */
void cmd_mpi_end(pare_status st);

uint32_t cmd_mpi_rank(void); /* 0: the one that prints and writes */
uint32_t cmd_mpi_size(void);

/* Leave in w this rank's stretch of its windows. */
void cmd_mpi_take_part(pare_windows *w);

/* Of a rank above 0: scores to send. Zeroed is empty. */
typedef struct cmd_mpi_scores {
    pare_buf bytes;
} cmd_mpi_scores;

pare_status cmd_mpi_keep(cmd_mpi_scores *kept, const pare_scores *scores, size_t model, pare_error *err);

/* All ranks call it after their stretch. Rank 0 gives fn the scores of the others in order. Errors: PARE_ERR_DEVICE,
 * PARE_ERR_MEMORY, those of fn */
pare_status cmd_mpi_gather(cmd_mpi_scores *kept, pare_scores_fn fn, void *user, pare_error *err);

/* The sum over all ranks, for rank 0. All ranks call it. */
uint64_t cmd_mpi_sum(uint64_t value);

#endif
