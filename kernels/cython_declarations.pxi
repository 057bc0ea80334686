# What the flow calls: the C kernels (native/), chosen for this CPU at import, and its constants.

cdef extern from "kernels.h":
    enum:
        LOSS_BLOCK
        ROOM_ROWS

    enum element_type:
        ELEMENT_UINT8
        ELEMENT_FLOAT32
        ELEMENT_FLOAT64

    struct source:
        const char *data
        ptrdiff_t row_stride
        ptrdiff_t column_stride
        element_type type
        int scales_each
        const void *center
        const void *scale

    struct sparse_rows "sparse":
        const int64_t *starts
        const int32_t *columns
        const void *values
        int scales_each
        const void *scale

    struct wanted_targets "targets":
        const int32_t *labels
        const void *values
        const void *weights

    struct output_groups "groups":
        ptrdiff_t count
        const int64_t *ends

    ctypedef void (*step_function)(void *w, const void *g, void *state, ptrdiff_t state_stride,
                                   const void *coefficients, ptrdiff_t n) noexcept nogil

    struct dropout_rule "dropout":
        uint32_t key
        uint32_t threshold
        double factor

    ctypedef void (*adjust_function)(const void *w, void *g, const void *adjustments,
                                     ptrdiff_t n) noexcept nogil

    struct update_rule "update":
        step_function step
        adjust_function adjust
        const void *adjustments
        const void *bias_adjustments
        int is_gradient_descent
        ptrdiff_t state_offset
        ptrdiff_t state_stride
        const void *coefficients

    struct product_kernels:
        int (*gather)(const source *x, const int64_t *order, ptrdiff_t n_rows,
                       ptrdiff_t batch_rows, ptrdiff_t n_known, ptrdiff_t n_columns, void *panels,
                       ptrdiff_t stride, uint16_t *nonzero) noexcept nogil
        void (*to_panels)(const void *matrix, ptrdiff_t rows, ptrdiff_t columns, void *panels,
                          ptrdiff_t stride) noexcept nogil
        void (*from_panels)(const void *panels, ptrdiff_t stride, ptrdiff_t rows,
                            ptrdiff_t columns, void *matrix) noexcept nogil
        void (*weighted_sum)(const void *a, ptrdiff_t a_stride, const uint16_t *nonzero, const void *w,
                             ptrdiff_t w_stride, ptrdiff_t w_step, const void *b, void *z,
                             ptrdiff_t z_stride, ptrdiff_t rows, ptrdiff_t fan_in, ptrdiff_t first,
                             ptrdiff_t last) noexcept nogil
        void (*weight_gradient)(const void *a, ptrdiff_t a_stride, const uint16_t *nonzero,
                                const void *dz, ptrdiff_t dz_stride, void *out, ptrdiff_t out_stride,
                                const update_rule *update, ptrdiff_t rows, ptrdiff_t first_input,
                                ptrdiff_t last_input, ptrdiff_t first, ptrdiff_t last) noexcept nogil
        void (*bias_gradient)(const void *dz, ptrdiff_t dz_stride, void *out,
                              const update_rule *update, ptrdiff_t rows, ptrdiff_t first,
                              ptrdiff_t last) noexcept nogil
        void (*transpose)(const void *w, ptrdiff_t w_stride, void *w_transposed,
                          ptrdiff_t transposed_stride, ptrdiff_t fan_in, ptrdiff_t fan_out,
                          ptrdiff_t first, ptrdiff_t last) noexcept nogil
        void (*input_gradient)(const void *dz, ptrdiff_t dz_stride, const void *w,
                               ptrdiff_t w_stride, void *da, ptrdiff_t da_stride, ptrdiff_t rows,
                               ptrdiff_t fan_in, ptrdiff_t fan_out, ptrdiff_t first,
                               ptrdiff_t last) noexcept nogil

    struct weight_strips:
        ptrdiff_t fan_in
        ptrdiff_t fan_out
        float scale
        uint32_t *strips
        uint32_t *transposed

    struct strip_products:
        ptrdiff_t (*strip_words)(ptrdiff_t depth) noexcept nogil
        int (*gather)(const source *x, const int64_t *order, ptrdiff_t n_rows, ptrdiff_t batch_rows,
                      ptrdiff_t n_known, ptrdiff_t n_columns, uint32_t *strips) noexcept nogil
        void (*keep_inputs)(const void *a, ptrdiff_t a_stride, ptrdiff_t rows, ptrdiff_t fan_in,
                            ptrdiff_t first, ptrdiff_t last, uint32_t *a_strips) noexcept nogil
        void (*keep_weights)(const void *w, ptrdiff_t w_stride, ptrdiff_t first_input,
                             ptrdiff_t last_input, ptrdiff_t first, ptrdiff_t last,
                             const weight_strips *kept) noexcept nogil
        void (*weighted_sum)(const void *a, ptrdiff_t a_stride, const uint32_t *a_strips, const void *w,
                             ptrdiff_t w_stride, ptrdiff_t w_step, const weight_strips *kept,
                             const void *b, void *z, ptrdiff_t z_stride, ptrdiff_t rows,
                             ptrdiff_t fan_in, ptrdiff_t first, ptrdiff_t last) noexcept nogil
        void (*weight_gradient)(const void *a, ptrdiff_t a_stride, const uint32_t *a_strips,
                                ptrdiff_t fan_in, const void *dz, ptrdiff_t dz_stride, void *out,
                                ptrdiff_t out_stride, const update_rule *update,
                                const weight_strips *kept, ptrdiff_t rows, ptrdiff_t first_input,
                                ptrdiff_t last_input, ptrdiff_t first, ptrdiff_t last,
                                uint32_t *room) noexcept nogil
        void (*input_gradient)(const void *dz, ptrdiff_t dz_stride, const uint32_t *dz_strips,
                               const void *w, ptrdiff_t w_stride, const weight_strips *kept, void *da,
                               ptrdiff_t da_stride, ptrdiff_t rows, ptrdiff_t first,
                               ptrdiff_t last) noexcept nogil

    struct normalization_kernels:
        void (*column_statistics)(const void *z, ptrdiff_t rows, void *mean, void *variance,
                                  void *factor) noexcept nogil
        void (*factors)(const void *variance, void *factor, ptrdiff_t n) noexcept nogil
        void (*normalize_columns)(const void *z, ptrdiff_t rows, const void *mean,
                                  const void *factor, const void *gamma, const void *beta, void *x,
                                  void *scaled) noexcept nogil
        void (*sums_of_slopes)(const void *x, const void *dz, ptrdiff_t rows, void *dbeta,
                               void *dgamma) noexcept nogil
        void (*slope_of_columns)(const void *x, void *dz, ptrdiff_t rows, const void *factor,
                                 const void *gamma, void *dbeta, void *dgamma) noexcept nogil
        void (*update_running)(void *running_mean, void *running_variance, const void *mean,
                               const void *variance, ptrdiff_t rows, ptrdiff_t n) noexcept nogil
        void (*normalize_rows)(const void *z, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                               const void *gamma, const void *beta, void *x, void *scaled,
                               void *factors) noexcept nogil
        void (*slope_of_rows)(const void *x, void *dz, ptrdiff_t stride, ptrdiff_t rows,
                              ptrdiff_t columns, const void *gamma,
                              const void *factors) noexcept nogil

    struct element_kernels:
        void (*activation)(int formula, const void *z, void *a, ptrdiff_t n) noexcept nogil
        void (*activation_derivative)(int formula, const void *z, const void *a, void *slope,
                                      ptrdiff_t n) noexcept nogil
        void (*activation_slope)(int formula, const void *z, const void *a, const void *da, void *dz,
                                 ptrdiff_t n) noexcept nogil
        void (*softmax)(const void *z, void *p, ptrdiff_t stride, ptrdiff_t rows,
                        const output_groups *groups) noexcept nogil
        double (*loss)(int formula, const void *taken, ptrdiff_t stride, ptrdiff_t rows,
                       const output_groups *groups, const wanted_targets *targets,
                       const void *parameters, const int64_t *order, double factor, void *slopes,
                       void *row_losses) noexcept nogil
        void (*drop)(const dropout_rule *dropout, ptrdiff_t first_row, ptrdiff_t rows,
                     ptrdiff_t first_unit, const void *values, void *kept) noexcept nogil
        int (*sparse_finite)(const sparse_rows *x, const int64_t *order,
                             ptrdiff_t rows) noexcept nogil
        void (*sparse_sum)(const sparse_rows *x, const int64_t *order, const dropout_rule *dropout,
                           ptrdiff_t first_row, ptrdiff_t last_row, const void *w,
                           ptrdiff_t w_stride, ptrdiff_t w_step, const void *b, void *z,
                           ptrdiff_t z_stride, ptrdiff_t first, ptrdiff_t last) noexcept nogil
        void (*sparse_gradient)(const sparse_rows *x, const int64_t *order,
                                const dropout_rule *dropout, ptrdiff_t rows, const void *dz,
                                ptrdiff_t dz_stride, double factor, void *out,
                                ptrdiff_t out_stride, ptrdiff_t first_input,
                                ptrdiff_t last_input, ptrdiff_t first,
                                ptrdiff_t last) noexcept nogil
        adjust_function adjust
        double (*sum_of_squares)(const void *values, ptrdiff_t n) noexcept nogil
        void (*scale)(void *values, double factor, ptrdiff_t n) noexcept nogil
        void (*limit_norm)(void *panel, ptrdiff_t rows, double limit) noexcept nogil
        const step_function *steps
        const normalization_kernels *normalization

    struct int8_kernels:
        const char *isa
        int group
        void (*weighted_sum)(const void *a, ptrdiff_t a_stride, const uint16_t *nonzero, const void *w,
                             ptrdiff_t w_stride, ptrdiff_t w_step, const void *b, void *z,
                             ptrdiff_t z_stride, ptrdiff_t rows, ptrdiff_t fan_in, ptrdiff_t first,
                             ptrdiff_t last) noexcept nogil
        int (*quantize_rows)(const source *x, ptrdiff_t first, ptrdiff_t rows, ptrdiff_t columns,
                             float steps_per_unit, float zero_point, void *panels,
                             ptrdiff_t stride) noexcept nogil
        void (*dequantize)(const void *sums, ptrdiff_t rows, const float *factors,
                           const float *biases, void *z) noexcept nogil
        void (*requantize)(const void *a, ptrdiff_t rows, ptrdiff_t panel, float steps_per_unit,
                           float zero_point, void *panels, ptrdiff_t stride) noexcept nogil

    enum:
        NONZERO_PADDING

    enum precision_number "precision":
        FLOAT32
        FLOAT64
        BFLOAT16

    struct kernels:
        const char *isa
        const char *product_isa
        const char *product_note
        int lanes
        int value_bytes
        product_kernels product
        const strip_products *strips
        element_kernels element
        int8_kernels int8

    const kernels *fastmlp_kernels(const char *cap)
    void fastmlp_try_amx(precision_number precision, bint all_products)
    const char *fastmlp_isa_name(int i)
    const char *fastmlp_activation_name(int i)
    const char *fastmlp_loss_name(int i)
    const char *fastmlp_step_name(int i)

cdef extern from "pages.h":
    void advise_huge_pages(void *start, size_t n_bytes) noexcept nogil

cdef extern from "pool.h":
    struct team:
        int n_threads

    void team_run(int n_threads, void (*function)(void *, team *, int) noexcept nogil,
                  void *context) noexcept nogil
    void team_share(int n_threads, void (*function)(void *, team *, int) noexcept nogil,
                    void *context) noexcept nogil
    void team_barrier(team *present) noexcept nogil
    long team_take(team *present) noexcept nogil
    int team_limit() noexcept nogil


cdef enum:
    CACHE_LINE = 64
    HUGE_PAGE = 1 << 21
    SOFTMAX = -1  # the one output activation that is not element-wise
    PREDICTION_ROWS = 128  # rows of a block when predicting
    FEW_ROWS = 128  # so few are predicted from the flat vector: packing would take longer
    MAX_PREDICTING = 64  # threads
    # Below so many multiply-adds per thread and barrier, a barrier costs more than it brings
    # (measured, see README.md); waking up a sleeping thread costs as much as WAKE_UP barriers. Tiles of AMX
    # are so much faster when predicting.
    VALUES_PER_MEETING = 60_000
    WAKE_UP = 400
    TILE_SPEED = 3
    SAMPLED_GROUPS = 8  # of four rows each, to see how many values are zero
    SAMPLED_COLUMNS = 256
    OWN_INPUTS = 4  # so many threads gather their own input
    MAX_COEFFICIENTS = 24
    N_ADJUSTED = 3  # contract.N_ADJUSTMENTS
    # How a layer is normalised:
    NOT_NORMALIZED = 0
    BATCH = 1
    LAYER = 2
    # What multiplies the network's inputs in training, if it is not for the plan to say:
    BY_PLAN = 0
    BY_TILES = 1
    AS_WHOLE_NUMBERS = 2  # by tiles, of bytes
    PANEL_GROUPS = 16  # of panels of a symmetric matrix: the more, the less of it is computed twice


cdef list names_of(const char *(*name_at)(int)):
    cdef int i = 0
    found = []
    while name_at(i) is not NULL:
        found.append(name_at(i).decode())
        i += 1
    return found


ISA_NAMES = names_of(fastmlp_isa_name)
# The formulas as they were when the extension was built, in the order of their tables.
ACTIVATION_NAMES = names_of(fastmlp_activation_name)
LOSS_NAMES = names_of(fastmlp_loss_name)
STEP_NAMES = names_of(fastmlp_step_name)


cdef const kernels *kernel_tables = NULL  # by precision_number
cdef str float32_products = "fma"  # which of FLOAT32_PRODUCTS


cdef choose_kernels():
    """Choose for this CPU, once: asking it takes long in a virtual machine."""
    global kernel_tables, float32_products
    cap = os.environ.get("FASTMLP_MAX_ISA", "").strip().lower()
    cdef bytes name = cap.encode()
    kernel_tables = fastmlp_kernels(<const char *>name if cap else NULL)
    if kernel_tables is NULL:
        raise ValueError(
            f"the environment variable FASTMLP_MAX_ISA must be one of {', '.join(ISA_NAMES)}; "
            f"got {cap!r}"
        )
    float32_products = requested_float32_products()
    if float32_products == "amx":
        fastmlp_try_amx(FLOAT32, True)


cdef const kernels *kernels_for(str precision):
    if precision == "bfloat16":
        fastmlp_try_amx(BFLOAT16, True)
        return &kernel_tables[<int>BFLOAT16]
    return &kernel_tables[<int>FLOAT32 if precision == "float32" else <int>FLOAT64]


cdef const strip_products *tiles_of_float32():
    """The tiles that multiply it, everything or where they pay; NULL if there are none, or none are wanted."""
    if float32_products == "auto":
        fastmlp_try_amx(FLOAT32, False)
    return kernels_for("float32").strips


cdef int formula_number(list names, str name) except -2:
    if name not in names:
        raise ValueError(
            f"the extension was built without the formula {name!r}; reinstall fastmlp to build it "
            "from the present formulas.py, or use another backend"
        )
    return names.index(name)


cdef class Memory:
    """Zeroed memory that starts on a cache line, or on a huge page if it is large; frees itself."""

    cdef void *allocated
    cdef char *start

    def __cinit__(self, size_t n_bytes):
        cdef size_t alignment = HUGE_PAGE if n_bytes >= HUGE_PAGE else CACHE_LINE
        self.allocated = PyMem_RawCalloc(n_bytes + alignment, 1)
        if self.allocated is NULL:
            raise MemoryError(f"fastmlp could not allocate {n_bytes:,} bytes")
        self.start = <char *>((<uintptr_t>self.allocated + alignment - 1) & ~(alignment - 1))
        if alignment == HUGE_PAGE:
            advise_huge_pages(self.start, n_bytes)

    def __dealloc__(self):
        PyMem_RawFree(self.allocated)
