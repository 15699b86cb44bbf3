/* Benchmark files with arbitrary content: as they look, and as every format that is known by its name. */
#include "tasks/task.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_task_options options = {0};
    pare_error err = {0};
    for (size_t i = 0;; options.format = pare_task_format_name(i++)) {
        pare_task task;
        if (pare_task_parse(&task, "fuzz/task_test.jsonl", data, size, &options, &err) == PARE_OK)
            pare_task_close(&task);
        if (i > 0 && options.format == NULL)
            return 0;
    }
}
