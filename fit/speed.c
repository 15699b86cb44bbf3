#include "fit/speed.h"

double pare_fit_slowness(pare_type type, pare_fit_target target)
{
    (void)type;
    (void)target;
    return 1;
}
