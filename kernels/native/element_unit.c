/* Activations, losses and updates, compiled once per ISA. No contraction: a formula gives the same
 * bits on every ISA and in every backend. */
#include <string.h>

#include "formulas.h"
#include "unit.h"

#define REAL float
#define PRECISION float32
#include "element_real.h"
#undef REAL
#undef PRECISION

#define REAL double
#define PRECISION float64
#include "element_real.h"
