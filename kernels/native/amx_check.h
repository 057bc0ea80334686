/* Whether the products of AMX may be used in this process. */
#ifndef FASTMLP_AMX_CHECK_H
#define FASTMLP_AMX_CHECK_H

#include "kernels.h"

/* Asks the system for the registers of the tiles; returns NULL if it gives them, else why not. They are
 * then there for all threads of the process, and for those of its forks. */
const char *amx_refusal(void);

/* Tries products on small matrices whose numbers it rounds to bfloat16, or not: NULL if they are right,
 * else which one is wrong. */
const char *products_fault(const struct three_products *products, int rounds);

#endif
