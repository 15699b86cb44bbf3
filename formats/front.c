#include "formats/front.h"

pare_status pare_front_judge(pare_front_reader read, const char *path, pare_status st, pare_error *err)
{
    pare_map front;
    pare_model m = {0};
    pare_error why = {0};
    uint64_t n = 0;
    bool cut = false;
    if (pare_map_open_front(&front, path, &n, NULL) != PARE_OK)
        return st;
    pare_status judged = read(&m, &front, n, path, &cut, &why);
    bool bad = !cut && (judged == PARE_ERR_FORMAT || judged == PARE_ERR_RANGE || judged == PARE_ERR_UNSUPPORTED);
    pare_model_close(&m);
    pare_map_close(&front);
    if (bad && err != NULL)
        *err = why;
    return bad ? judged : st;
}
