#include "quant/iq4_search.h"

void pare_iq4_fan(pare_effort effort, pare_fan *fan)
{
    pare_fan_init(fan, PARE_IQ4_LOW, PARE_IQ4_HIGH, effort == PARE_EFFORT_BEST ? 4 : 2);
    if (effort == PARE_EFFORT_BEST)
        pare_fan_add(fan, 80, 2, 240, true);
    else
        pare_fan_add(fan, 100, 7.25f, 180, true);
}

void pare_iq4_pack(const float *x, float scale, uint8_t *qs)
{
    float inverse = scale != 0 ? 1 / scale : 0;
    uint8_t code[PARE_FAN_LEN] = {0};
    for (unsigned k = 1; k < 16; k++) {
        float border = (float)(pare_iq4_level(k - 1) + pare_iq4_level(k)) * 0.5f;
        for (int i = 0; i < PARE_FAN_LEN; i++)
            code[i] = (uint8_t)(code[i] + (x[i] * inverse >= border));
    }
    for (int j = 0; j < PARE_FAN_LEN / 2; j++)
        qs[j] = (uint8_t)(code[j] | code[j + PARE_FAN_LEN / 2] << 4);
}
