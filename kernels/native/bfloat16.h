/* bfloat16, the upper half of float32; the same in ../bfloat16.py. */
#ifndef FASTMLP_BFLOAT16_H
#define FASTMLP_BFLOAT16_H

#include <stdint.h>
#include <string.h>

/* To nearest, ties to even. */
static inline float rounded(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    /* Half of the last place that is kept, so that ties go to even; a NaN stays one. */
    bits = value != value ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u);
    bits &= 0xffff0000u;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
