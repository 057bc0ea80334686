/* Gathering and matrix products, compiled once per ISA, with contraction to fused multiply-add (which
 * the one formula here, scaled_input, has nothing for: its product comes last). */
#include <string.h>

#include "formulas.h"
#include "unit.h"

#define MULTIPLY_ADD NAME(multiply_add)

#define REAL float
#define PRECISION float32
#include "product_real.h"
#include "product_bfloat16_emulated.h"
#undef REAL
#undef PRECISION

#define REAL double
#define PRECISION float64
#include "product_real.h"
