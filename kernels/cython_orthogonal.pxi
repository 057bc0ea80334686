# Newton and Schulz (formulas.NEWTON_SCHULZ): a matrix with singular values of about 1, by a team.

cdef struct Orthogonal:
    # What it needs, for matrices of at most some size. Its products are those of the parameters'
    # type: a plan in bfloat16 takes float32's.
    const product_kernels *product
    const element_kernels *element
    ptrdiff_t lanes
    ptrdiff_t value_bytes
    step_function polynomial
    const char *factors   # of the polynomial, real
    double on_diagonal
    int n_steps
    double smallest_norm
    char *start           # panels of the matrix, as it comes
    char *x               # of the matrix, or of its transpose if it is wide: (large, small)
    char *next_x
    char *gram            # (small, small)
    char *terms
    double *squares       # of each panel of the matrix: summed in order, whoever computed them


cdef class OrthogonalMemory:
    """The memory of `Orthogonal` for matrices of some shapes (rows, columns)."""

    cdef Orthogonal native
    cdef Memory memory
    cdef object factors

    def __cinit__(self, str dtype, shapes):
        cdef const kernels *table = kernels_for(dtype)
        cdef Orthogonal *native = &self.native
        cdef ptrdiff_t of_start = 0, of_x = 0, of_gram = 0, n_squares = 0
        native.product, native.element = &table.product, &table.element
        native.lanes, native.value_bytes = table.lanes, table.value_bytes
        native.polynomial = table.element.steps[formula_number(STEP_NAMES, "gram_polynomial")]
        first, *others = formulas.NEWTON_SCHULZ
        self.factors = flat_numbers([others], dtype)
        native.factors, native.on_diagonal = address(self.factors), first
        native.n_steps = formulas.NEWTON_SCHULZ_STEPS
        native.smallest_norm = formulas.SMALLEST_NORM
        for rows, columns in shapes:
            large, small = max(rows, columns), min(rows, columns)
            of_start = max(of_start, self.panel_bytes(rows, columns))
            of_x = max(of_x, self.panel_bytes(large, small))
            of_gram = max(of_gram, self.panel_bytes(small, small))
            n_squares = max(n_squares, panels_of(columns, native.lanes))
        self.memory = Memory(of_start + 2 * of_x + 2 * of_gram + n_squares * sizeof(double))
        native.start = self.memory.start
        native.x = native.start + of_start
        native.next_x = native.x + of_x
        native.gram = native.next_x + of_x
        native.terms = native.gram + of_gram
        native.squares = <double *>(native.terms + of_gram)

    cdef ptrdiff_t panel_bytes(self, ptrdiff_t rows, ptrdiff_t columns):
        """How many bytes the panels of a matrix take, in whole cache lines."""
        cdef ptrdiff_t n_values = panels_of(columns, self.native.lanes) * spaced(
            rows, self.native.lanes, self.native.value_bytes)
        return (n_values * self.native.value_bytes + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE


cdef void orthogonalize(const Orthogonal *own, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                        char *out, team *team, int thread) noexcept nogil:
    """`own.start`, of whose panels the thread has made its share, made orthogonal, to `out`.

    Both are panels of (rows, columns), `stride` values apart. Each thread owns panels of every
    result, so no sum depends on their number. Ends without a barrier: the thread's share of the
    panels of `out` is ready.
    """
    cdef ptrdiff_t lanes = own.lanes, size = own.value_bytes
    cdef ptrdiff_t large = max(rows, columns), small = min(rows, columns)
    cdef ptrdiff_t x_stride = spaced(large, lanes, size), gram_stride = spaced(small, lanes, size)
    cdef ptrdiff_t n_panels = panels_of(columns, lanes), small_panels = panels_of(small, lanes)
    cdef ptrdiff_t first = share(small_panels, thread, team.n_threads)
    cdef ptrdiff_t last = share(small_panels, thread + 1, team.n_threads)
    cdef bint is_wide = columns > rows
    cdef ptrdiff_t panel, group, start, end, n_groups, next_stride
    cdef ptrdiff_t group_panels = max(
        2, 2 * ((small_panels + 2 * PANEL_GROUPS - 1) // (2 * PANEL_GROUPS)))
    cdef char *x = own.x
    cdef char *next_x = own.next_x
    cdef double total = 0.0, factor = 0.0
    cdef int step
    n_groups = (small_panels + group_panels - 1) // group_panels
    for panel in range(share(n_panels, thread, team.n_threads),
                       share(n_panels, thread + 1, team.n_threads)):
        own.squares[panel] = own.element.sum_of_squares(
            own.start + panel * stride * size, rows * lanes)
    team_barrier(team)
    for panel in range(n_panels):
        total += own.squares[panel]
    if sqrt(total) > own.smallest_norm:
        factor = 1.0 / sqrt(total)
    if is_wide:
        own.product.transpose(own.start, stride, x, x_stride, rows, columns, first, last)
    for panel in range(first, last):
        if not is_wide:
            memcpy(x + panel * x_stride * size, own.start + panel * stride * size,
                   rows * lanes * size)
        own.element.scale(x + panel * x_stride * size, factor, large * lanes)
    team_barrier(team)
    for step in range(own.n_steps):
        # Both matrices are symmetric: of a group of panels the rows past it are those of others.
        for group in range(n_groups):
            start, end = group * group_panels, min(small_panels, (group + 1) * group_panels)
            if owner(group, team.n_threads) == thread:
                own.product.weight_gradient(
                    x, x_stride, NULL, x, x_stride, own.gram, gram_stride, NULL, large, 0,
                    min(small, end * lanes), start, end)
        team_barrier(team)
        for group in range(n_groups):
            if owner(group, team.n_threads) == thread:
                mirror(own, own.gram, gram_stride, small, group * group_panels,
                       min(small_panels, (group + 1) * group_panels))
        team_barrier(team)
        for group in range(n_groups):
            start, end = group * group_panels, min(small_panels, (group + 1) * group_panels)
            if owner(group, team.n_threads) == thread:
                own.product.weighted_sum(
                    own.gram, gram_stride, NULL, own.gram, gram_stride, lanes, NULL, own.terms,
                    gram_stride, min(small, end * lanes), small, start, end)
                for panel in range(start, end):
                    own.polynomial(own.terms + panel * gram_stride * size,
                                   own.gram + panel * gram_stride * size, NULL, 0, own.factors,
                                   min(small, end * lanes) * lanes)
                    add_to_diagonal(own, own.terms + panel * gram_stride * size, panel, small)
        team_barrier(team)
        for group in range(n_groups):
            if owner(group, team.n_threads) == thread:
                mirror(own, own.terms, gram_stride, small, group * group_panels,
                       min(small_panels, (group + 1) * group_panels))
        team_barrier(team)
        next_stride = x_stride
        if step == own.n_steps - 1 and not is_wide:
            next_x, next_stride = out, stride
        own.product.weighted_sum(
            x, x_stride, NULL, own.terms, gram_stride, lanes, NULL, next_x, next_stride, large, small,
            first, last)
        x, next_x = next_x, x
        team_barrier(team)
    if is_wide:
        own.product.transpose(
            x, x_stride, out, stride, large, small, share(n_panels, thread, team.n_threads),
            share(n_panels, thread + 1, team.n_threads))


cdef int owner(ptrdiff_t group, int n_threads) noexcept nogil:
    """Which thread takes a group of panels, of which each is more work than the one before."""
    cdef int place = group % n_threads
    return place if group // n_threads % 2 == 0 else n_threads - 1 - place


cdef void mirror(const Orthogonal *own, char *values, ptrdiff_t stride, ptrdiff_t rows,
                 ptrdiff_t first, ptrdiff_t last) noexcept nogil:
    """Fill in the rows past the panels [first, last) of a symmetric matrix, out of later panels."""
    cdef ptrdiff_t row = last * own.lanes
    if row < rows:
        own.product.transpose(
            values + last * stride * own.value_bytes, stride,
            values + row * own.lanes * own.value_bytes, stride, rows, rows - row, first, last)


cdef void add_to_diagonal(const Orthogonal *own, char *values, ptrdiff_t panel,
                          ptrdiff_t rows) noexcept nogil:
    """Add the polynomial's first factor to what a panel has of the diagonal."""
    cdef ptrdiff_t row, at
    for row in range(panel * own.lanes, min(rows, (panel + 1) * own.lanes)):
        at = row * own.lanes + row % own.lanes
        if own.value_bytes == 4:
            (<float *>values)[at] += <float>own.on_diagonal
        else:
            (<double *>values)[at] += own.on_diagonal


cdef struct Alone:
    # One matrix (rows, columns), from its panels `start` to `out`.
    const Orthogonal *own
    ptrdiff_t stride
    ptrdiff_t rows
    ptrdiff_t columns
    char *out


cdef void orthogonalize_alone(void *context, team *team, int thread) noexcept nogil:
    cdef Alone *alone = <Alone *>context
    orthogonalize(alone.own, alone.stride, alone.rows, alone.columns, alone.out, team, thread)
