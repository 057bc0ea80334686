/* The products of float32, split into three bfloat16, by the tiles of AMX. */
#define PIECES 3
#define PRECISION float32
#include "product_amx.h"
