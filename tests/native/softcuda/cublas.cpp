// libcublas.so.12: matrix products, column-major, as far as CudnnDigits calls them.
#include "tensors.h"

using namespace softcuda;

namespace {

enum Status { ok = 0, not_initialised = 1, alloc_failed = 3, invalid = 7, execution_failed = 13, not_supported = 15 };

struct Handle {
    Stream *stream = nullptr;
    uint64_t workspace = 0; // reset by SetStream, as in cuBLAS
};

bool type_of(int code, Type &type) {
    type = code == 14 ? Type::bf16 : Type::f32;
    return code == 0 || code == 14;
}

int refuse_blas(int status, const char *call, const char *why) {
    refuse(invalid_value, call, why);
    return status;
}

struct Operand {
    uint64_t address;
    Type type;
    bool transposed;
    int rows, columns, leading; // of op(X), and the stored matrix's leading dimension

    size_t stored_columns() const { return (size_t)(transposed ? rows : columns); }
    size_t count() const { return (stored_columns() - 1) * (size_t)leading + (size_t)(transposed ? columns : rows); }
    size_t bytes() const { return count() * size_of(type); }

    // op(X) with the given dimension running fastest
    std::vector<float> packed(bool rows_are_outer, bool tf32) const {
        const std::vector<float> stored = load(memory(address, bytes(), "cublasGemmEx"), count(), type, tf32);
        std::vector<float> result((size_t)rows * (size_t)columns);
        for (int r = 0; r < rows; ++r) {
            for (int c = 0; c < columns; ++c) {
                const size_t from =
                    transposed ? (size_t)r * (size_t)leading + (size_t)c : (size_t)c * (size_t)leading + (size_t)r;
                result[rows_are_outer ? (size_t)r * (size_t)columns + (size_t)c
                                      : (size_t)c * (size_t)rows + (size_t)r] = stored[from];
            }
        }
        return result;
    }
};

} // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))
#define ENTER                                                                                                          \
    if (const int status = planned_failure(__func__))                                                                  \
    return returned(status)

EXPORT int cublasCreate_v2(Handle **handle) {
    ENTER;
    if (!has_current_context()) {
        return refuse_blas(not_initialised, __func__, "no context is current on this thread");
    }
    *handle = new Handle;
    count_handle("cuBLAS handles", 1);
    return ok;
}

EXPORT int cublasDestroy_v2(Handle *handle) {
    const int status = returned(planned_failure(__func__));
    delete handle;
    count_handle("cuBLAS handles", -1);
    return status;
}

EXPORT int cublasSetStream_v2(Handle *handle, Stream *stream) {
    ENTER;
    handle->stream = stream;
    handle->workspace = 0;
    return is_live(stream) ? ok : refuse_blas(invalid, __func__, "unknown stream");
}

EXPORT int cublasSetWorkspace_v2(Handle *handle, uint64_t workspace, size_t bytes) {
    ENTER;
    handle->workspace = workspace;
    return workspace % 256 == 0 && memory(workspace, bytes, __func__) ? ok : invalid;
}

EXPORT int cublasGetProperty(int property, int *value) { // 0 major, 1 minor, 2 patch
    ENTER;
    *value = property == 0 ? 12 : property == 1 ? 9 : 0;
    return ok;
}

EXPORT const char *cublasGetStatusName(int status) {
    switch (status) {
    case ok:
        return "CUBLAS_STATUS_SUCCESS";
    case not_initialised:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case alloc_failed:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case invalid:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case execution_failed:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case not_supported:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
        return "CUBLAS_STATUS_UNKNOWN";
    }
}

EXPORT const char *cublasGetStatusString(int) { return "as the name says"; }

EXPORT int cublasGemmEx(Handle *handle, int ta, int tb, int m, int n, int k, const float *alpha, uint64_t a, int a_type,
                        int lda, uint64_t b, int b_type, int ldb, const float *beta, uint64_t c, int c_type, int ldc,
                        int compute, int) {
    ENTER;
    Type types[3];
    if (!type_of(a_type, types[0]) || !type_of(b_type, types[1]) || !type_of(c_type, types[2]) || a_type != b_type ||
        (a_type == 0 && c_type != 0) || (compute != 68 && compute != 77)) {
        return refuse_blas(not_supported, __func__, "this combination of types is not supported");
    }
    if (m <= 0 || n <= 0 || k <= 0 || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m || *alpha != 1 ||
        *beta != 0) {
        return refuse_blas(invalid, __func__, "a dimension, alpha or beta is out of range");
    }
    if (!handle->workspace && is_capturing(handle->stream)) {
        return refuse_blas(invalid, __func__, "captured without a workspace of its own (SetStream resets it)");
    }
    const Operand left = {a, types[0], ta != 0, m, k, lda}, right = {b, types[1], tb != 0, k, n, ldb};
    const Type out = types[2];
    const size_t bytes = ((size_t)(n - 1) * (size_t)ldc + (size_t)m) * size_of(out);
    if (!memory(a, left.bytes(), __func__) || !memory(b, right.bytes(), __func__) || !memory(c, bytes, __func__)) {
        return invalid;
    }
    return enqueue(handle->stream, __func__,
                   [=, workspace = handle->workspace]() -> Result {
                       const char *call = "cublasGemmEx";
                       void *target = used_memory(c, bytes, call, Use::writes);
                       if (!target || (workspace && !used_memory(workspace, 2, call, Use::writes)) ||
                           !used_memory(a, left.bytes(), call, Use::reads) ||
                           !used_memory(b, right.bytes(), call, Use::reads)) {
                           return illegal_address;
                       }
                       const std::vector<float> x = left.packed(true, compute == 77),
                                                y = right.packed(false, compute == 77);
                       std::vector<float> column((size_t)m);
#pragma omp parallel for firstprivate(column) schedule(static)
                       for (int j = 0; j < n; ++j) {
                           for (int i = 0; i < m; ++i) {
                               const float *p = &x[(size_t)i * (size_t)k], *q = &y[(size_t)j * (size_t)k];
                               float sum = 0;
#pragma omp simd reduction(+ : sum)
                               for (int l = 0; l < k; ++l) {
                                   sum += p[l] * q[l];
                               }
                               column[(size_t)i] = sum;
                           }
                           store(static_cast<char *>(target) + (size_t)j * (size_t)ldc * size_of(out), column, out);
                       }
                       return success;
                   })
               ? execution_failed
               : ok;
}
