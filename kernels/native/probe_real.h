/* The multiply-add loop for one precision. */
#include "vector.h"

static double NAME(multiply_add_loop)(int64_t steps, double x_, double y_) {
    const REAL x = (REAL)x_;
    REAL lanes[LANES];
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = (REAL)y_;
    NAME(vector) y = NAME(load)(lanes), sum[PROBE_ACCUMULATORS];
    UNROLL
    for (int i = 0; i < PROBE_ACCUMULATORS; i++) sum[i] = NAME(zero)();
    for (int64_t step = 0; step < steps; step++) {
        UNROLL
        for (int i = 0; i < PROBE_ACCUMULATORS; i++) {
#ifdef PRETEND_TO_CHANGE
            PRETEND_TO_CHANGE(y);
            sum[i] = NAME(multiply_add)(sum[i], x, y);
#else
            /* For x = 1 the same sum, and no product that could be moved out of the loop. */
            sum[i] = NAME(multiply_add)(y, x, sum[i]);
#endif
        }
    }
    double total = 0;
    UNROLL
    for (int i = 0; i < PROBE_ACCUMULATORS; i++) {
        NAME(store)(lanes, sum[i]);
        for (int lane = 0; lane < LANES; lane++) total += (double)lanes[lane];
    }
    return total;
}

const struct probe_kernels TABLE(probe) = {NAME(multiply_add_loop)};
