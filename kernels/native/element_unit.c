/* Activations, losses and updates, compiled once per ISA. No contraction: a formula gives the same
 * bits on every ISA and in every backend. */
#include <string.h>

#include "formulas.h"
#include "unit.h"

#define REAL float
#define REAL_BYTES 4
#define INTEGER int32_t
#define PRECISION float32
#include "element_real.h"
#undef REAL
#undef REAL_BYTES
#undef INTEGER
#undef PRECISION

#define REAL double
#define REAL_BYTES 8
#define INTEGER int64_t
#define PRECISION float64
#include "element_real.h"
