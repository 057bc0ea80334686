/* The products of bfloat16 by the tiles of AMX. */
#define PIECES 1
#define PRECISION bfloat16
#include "product_amx.h"
