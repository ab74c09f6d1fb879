// The products of a dense layer, for any number of samples, and of inputs and outputs in multiples of eight: y = x · wᵀ, dx = dy · w and
// dw = dyᵀ · x. In memory, each is (columns, rows) of a product of two factors, of which either may lie with the sum along its rows or,
// turned, across them; so one kernel makes all three.
//
// A block of four warps makes 128 rows by 64 columns, a warp 32 of these rows. 64 bytes of the sum at a time are a stage; three are on
// their way.
#include "element.cuh"

// The left factor is (rows, sum), the right one (columns, sum); turned, (sum, rows) and (sum, columns). `to` is (parts, columns, rows) of
// f32, each part the sum over its share, or, narrow, (columns, rows) of Element. The left one is older than the kernel before.
struct Product {
    const void *left, *right;
    void *to;
    int rows, columns, sum, parts, left_turned, right_turned, narrow;
};

constexpr int product_threads = 128, product_stages = 4, product_rows = 128, product_columns = 64;

struct alignas(8) Pair {
    unsigned w[2];
};

// A factor's part of a tile: Width of what it has across the sum, of which a warp reads Pairs times sixteen. 32 of them by a stage of the
// sum are 2 KiB in shared memory, in units of sixteen bytes, which lie so that what is read or written at once is in different banks.
//
// In bf16 these are blocks of eight by eight, of which ldmatrix and wgmma read rows or columns. In f32, ldmatrix cannot turn; so a lane
// loads four neighbours at once, which then are in four blocks of eight: block k has the k-th of every four. Of which four, is in the order
// of `spread`, so that four lanes have neighbours in the product. Eight units in a line of banks lie in another order.
template <typename Mode, bool Left, int Width, int Pairs> struct ProductFactor {
    using Element = typename Mode::Element;
    static constexpr int of_unit = Mode::of_unit, of_stage = 4 * of_unit, at_once = 32, stage_bytes = 64 * Width;
    static constexpr unsigned bytes_at_once = 64 * at_once, block_bytes = 128;
    static constexpr bool bf16 = of_unit == 8;

    const Element *from;         // what the thread copies next
    int pitch, ahead;            // elements, which an int holds: no layer has 2^26 inputs or outputs, and no batch so many samples
    int left_across, left_along; // of the matrix, from what the thread copies on
    unsigned stages, to, at;     // in bytes of shared memory
    bool turned;

    DEVICE_INLINE static int spread(int block) { return block >> 1 | (block & 1) << 2; }

    // `part` is the first stage of the sum, `first` of the warp in the tile.
    DEVICE_INLINE void begin(const void *matrix, bool is_turned, int count, int sum, int tile, int part, int first, unsigned bytes) {
        const int thread = (int)threadIdx.x, i = lane() >> 3, r = lane() & 7, g = lane() >> 2, t = lane() & 3;
        turned = is_turned, stages = bytes;
        int across, along;
        // Of a fragment's four blocks: of the left factor, those across the sum come first.
        const int next_across = Left ? i & 1 : i >> 1, next_along = Left ? i >> 1 : i & 1;
        if (bf16) {
            const int row = warp() * 8 + r, unit = i * 8;
            across = turned ? unit : row, along = turned ? row : unit;
            to = (across & ~7) * 4 + (along & ~7) + r;
            at = first * 4 + next_across * 32 + next_along * 8 + r;
        } else {
            across = turned ? thread % 8 * 4 : thread / 4, along = turned ? thread / 8 : t * 4;
            to = thread ^ (turned ? along & 3 : across >> 2 & 7);
            at = first * 4 + (turned ? t * 8 + (spread(g) ^ t) : ((4 * spread(r) + next_across) * 4 + next_along) ^ spread(r));
        }
        to = stages + 16 * to, at = stages + 16 * at;
        across += tile, along += part * of_stage;
        left_across = count - across, left_along = sum - along;
        from = static_cast<const Element *>(matrix) + (turned ? (long long)along * count + across : (long long)across * sum + along);
        pitch = turned ? at_once : at_once * sum;
        ahead = turned ? of_stage * count : of_stage;
    }

    // The next stage.
    DEVICE_INLINE void copy(unsigned slot) {
        const Element *next = from;
#pragma unroll
        for (int i = 0; i < Width / at_once; ++i, next += pitch) {
            copy_unit(SHARED_ADDRESS(dynamic_shared_memory) + to + slot * stage_bytes + i * bytes_at_once, next,
                      i * at_once < left_across && left_along > 0);
        }
        from += ahead;
        left_along -= of_stage;
    }

    DEVICE_INLINE void load(unsigned (&loaded)[Pairs][4], unsigned slot, unsigned step) const {
        const unsigned stage = at + slot * stage_bytes, shared = SHARED_ADDRESS(dynamic_shared_memory) + stage + 2 * block_bytes * step;
        if (bf16) {
            if (turned) {
#pragma unroll
                for (int pair = 0; pair < Pairs; ++pair) {
                    load_blocks_turned(loaded[pair], shared + 8 * block_bytes * pair);
                }
            } else {
#pragma unroll
                for (int pair = 0; pair < Pairs; ++pair) {
                    load_blocks(loaded[pair], shared + 8 * block_bytes * pair);
                }
            }
        } else if (!turned) {
#pragma unroll
            for (int pair = 0; pair < Pairs; ++pair) {
                load_blocks(loaded[pair], SHARED_ADDRESS(dynamic_shared_memory) + (stage ^ 32 * step) + bytes_at_once * (pair / 2) +
                                              block_bytes * (pair % 2));
            }
        } else {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
#pragma unroll
                for (int four = 0; four < Pairs / 2; ++four) {
                    const Unit unit = load_unit(dynamic_shared_memory + stage + (2 * step + half) * 4 * block_bytes + bytes_at_once * four);
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
                        loaded[2 * four + k / 2][Left ? k % 2 + 2 * half : k % 2 * 2 + half] = unit.w[k];
                    }
                }
            }
        }
    }

    // Of the right factor: adds the products of a step, which four warps make together. Each warp has sixteen rows of either product.
    DEVICE_INLINE void multiply(float (&sums)[2][2 * Pairs][4], const unsigned (&rows)[2][4], unsigned slot, unsigned step) const {
        const unsigned begin = SHARED_ADDRESS(dynamic_shared_memory) + stages + slot * stage_bytes;
        const unsigned long long columns = right_factor(begin + 2 * block_bytes * step, block_bytes, 4 * block_bytes);
        begin_products();
        if (turned) {
            begin_bf16_turned(sums[0], rows[0], columns);
            begin_bf16_turned(sums[1], rows[1], columns);
        } else {
            begin_bf16(sums[0], rows[0], columns);
            begin_bf16(sums[1], rows[1], columns);
        }
        end_products();
        settle(sums[0]);
        settle(sums[1]);
    }
};

// In tf32, what was not rounded where it was made is rounded here, since the tensor core cuts off thirteen bits: adding 0.36 to 0.72 of the
// last bit it keeps rounds to nearest on average, leaves what is rounded and NaN as they are, and is one instruction, cvt.rna three.
DEVICE_INLINE unsigned as_multiplied(unsigned word, F32) {
    unsigned rounded;
    asm("mul.f32 %0, %1, %2; //@fp32 mov.b32 %0, %1;" : "=&r"(rounded) : "r"(word), "f"(1 + 0.36f / 1024));
    return rounded;
}

DEVICE_INLINE unsigned as_multiplied(unsigned word, Bf16) { return word; }

template <typename Mode, int Pairs> DEVICE_INLINE void round_words(unsigned (&to)[Pairs][4], const unsigned (&from)[Pairs][4]) {
#pragma unroll
    for (int i = 0; i < 4 * Pairs; ++i) {
        to[i / 4][i % 4] = as_multiplied(from[i / 4][i % 4], Mode());
    }
}

template <typename Mode> DEVICE_INLINE void product(const Product &p) {
    using Left = ProductFactor<Mode, true, product_rows, 2>;
    using Right = ProductFactor<Mode, false, product_columns, 4>;
    constexpr bool bf16 = Mode::of_unit == 8;
    const int down = (p.rows + product_rows - 1) / product_rows, across = (p.columns + product_columns - 1) / product_columns;
    const int part = (int)blockIdx.x / (down * across), tile = (int)blockIdx.x % (down * across);
    const int first_row = tile % down * product_rows, first_column = tile / down * product_columns;
    const int warp_row = 32 * warp();
    const int all = (p.sum + Left::of_stage - 1) / Left::of_stage, begin = all * part / p.parts, count = all * (part + 1) / p.parts - begin;
    Left left;
    Right right;
    left.begin(p.left, p.left_turned, p.rows, p.sum, first_row, begin, warp_row, 0);
    right.begin(p.right, p.right_turned, p.columns, p.sum, first_column, begin, 0, product_stages * Left::stage_bytes);

#pragma unroll 1
    for (int s = 0; s < smaller(product_stages - 1, count); ++s) {
        left.copy(s);
    }
    wait_for_kernel_before();
#pragma unroll 1
    for (int s = 0; s < product_stages - 1; ++s) {
        if (s < count) {
            right.copy(s);
        }
        close_copies();
    }

    float sums[2][8][4] = {};
    // Two steps to a stage. What one multiplies is loaded while the one before multiplies, except by warpgroups, which wait.
    const bool by_warpgroups = bf16 && Mode::by_warpgroups();
    const unsigned steps = 2 * (unsigned)count;
    unsigned a[2][4] = {}, b[4][4] = {};
#pragma unroll 1
    for (unsigned step = 0; step <= steps; ++step) {
        unsigned rows[2][4], columns[4][4];
        round_words<Mode>(rows, a);
        round_words<Mode>(columns, b);
        if (step < steps) {
            const unsigned s = step / 2, later = s + product_stages - 1;
            if (step % 2 == 0) {
                wait_for_copies<product_stages - 2>();
                let_products_see_writes();
                __syncthreads();
                if (later < (unsigned)count) {
                    left.copy(later % product_stages);
                    right.copy(later % product_stages);
                }
                close_copies();
            }
            left.load(a, s % product_stages, step % 2);
            if constexpr (bf16) {
                if (by_warpgroups) {
                    right.multiply(sums, a, s % product_stages, step % 2);
                }
            }
            if (!by_warpgroups) {
                right.load(b, s % product_stages, step % 2);
            }
        }
        if (step == 0 || by_warpgroups) {
            continue;
        }
        Mode::with_products([&](auto how) __attribute__((always_inline)) {
            using Products = decltype(how);
            typename Products::template Factor<4> of_rows[2];
            Products::prepare(of_rows[0], rows[0]);
            Products::prepare(of_rows[1], rows[1]);
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                typename Products::template Factor<2> of_columns;
                Products::prepare(of_columns, {columns[j / 2][j % 2 * 2], columns[j / 2][j % 2 * 2 + 1]});
                Products::multiply(sums[0][j], of_rows[0], of_columns);
                Products::multiply(sums[1][j], of_rows[1], of_columns);
            }
        });
    }
    let_next_kernel_begin();

    // Through shared memory, so that a warp stores whole rows: (columns, rows) of f32, without bank conflicts.
    __syncthreads();
    constexpr int pitch = bf16 ? product_rows + 4 : product_rows;
    const int g = lane() >> 2, t = lane() & 3;
    float *const tile_sums = reinterpret_cast<float *>(dynamic_shared_memory);
    if constexpr (bf16) {
        float *const own = tile_sums + 2 * t * pitch + warp_row + g;
#pragma unroll
        for (int k = 0; k < 64; ++k) {
            own[(k / 2 % 8 * 8 + k % 2) * pitch + k / 16 * 8] = sums[k / 32][k / 2 % 8][k / 16 % 2 * 2 + k % 2];
        }
    } else {
        float *const own = tile_sums + 4 * t * pitch + warp_row + 4 * (Left::spread(g) ^ t);
#pragma unroll
        for (int k = 0; k < 16; ++k) {
            const int e = k % 2, j = k / 2;
            *reinterpret_cast<Four<float> *>(own + (j / 4 * 32 + e * 16 + j % 4) *
                                                       pitch) = {{sums[0][j][e], sums[0][j][2 + e], sums[1][j][e], sums[1][j][2 + e]}};
        }
    }
    __syncthreads();
    const int row = first_row + 4 * lane(), last = smaller(product_columns, p.columns - first_column);
    long long at = ((long long)part * p.columns + first_column + warp()) * p.rows + row;
    constexpr int warps = product_threads / 32, loads = 4; // of which each waits for shared memory beside the others
#pragma unroll 1
    for (int first = warp(); row < p.rows && first < last; first += loads * warps) {
        Unit units[loads];
#pragma unroll
        for (int k = 0; k < loads; ++k) {
            const int n = first + k * warps;
            units[k] = load_unit(tile_sums + n * pitch + 4 * (bf16 ? lane() : lane() ^ (n >> 2 & 3)));
        }
#pragma unroll
        for (int k = 0; k < loads; ++k) {
            const int n = first + k * warps;
            if (n < last && bf16 && p.narrow) {
                const Values<4> v = F32::widen(units[k]);
                *reinterpret_cast<Pair *>(static_cast<bfloat16 *>(p.to) + at) = {{Bf16::pack(v.v[0], v.v[1]), Bf16::pack(v.v[2], v.v[3])}};
            } else if (n < last) {
                store_unit(static_cast<float *>(p.to) + at, units[k]);
            }
            at += (long long)warps * p.rows;
        }
    }
}

PUBLISH(product_tile_rows, product_rows)
PUBLISH(product_tile_columns, product_columns)
PUBLISH(product_stage_bytes, 64)
PUBLISH(product_blocks, 2) // of a multiprocessor that fit every GPU
constexpr int product_shared_bytes = product_stages * 64 * (product_rows + product_columns);
SHARED_MEMORY(product_bf16, product_shared_bytes / 2)
SHARED_MEMORY(product_f32, product_shared_bytes / 2)
KERNEL(128, 4) product_bf16(Product p) { product<Bf16>(p); }
KERNEL(128, 3) product_f32(Product p) { product<F32>(p); }
