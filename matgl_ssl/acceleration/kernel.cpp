// Runs a network that acts on every row alike, in blocks of rows that stay in a core's cache.
//
// A convolution's edge network writes a dozen tensors of the size of the edges when each layer is a call of its own, and
// reading them back from memory takes far longer than computing them. Here a block of rows goes through the whole network
// before the next one comes in. Gradients are networks of the same operations (row_network.py), so nothing is kept between
// a pass and its derivative but what went in.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif

template <class T> struct Lanes;
template <> struct Lanes<float> {
  typedef float Vector __attribute__((vector_size(BYTES)));
  typedef int32_t Integers __attribute__((vector_size(BYTES)));
  static constexpr int mantissa = 23, bias = 127, exp_terms = 7;
  static constexpr float lowest = -87.0f, highest = 88.0f, magic = 12582912.0f;  // 1.5 * 2^23
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
};
template <> struct Lanes<double> {
  typedef double Vector __attribute__((vector_size(BYTES)));
  typedef int64_t Integers __attribute__((vector_size(BYTES)));
  static constexpr int mantissa = 52, bias = 1023, exp_terms = 14;
  static constexpr double lowest = -708.0, highest = 709.0, magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
};
template <class T> using Vec = typename Lanes<T>::Vector;
template <class T> constexpr int lanes = BYTES / static_cast<int>(sizeof(T));
template <class T> constexpr int padded(int width) { return (width + lanes<T> - 1) / lanes<T> * lanes<T>; }

template <class T> inline Vec<T> all(T x) { return x - Vec<T>{}; }  // subtracting 0 is nothing; adding it is work

// ---- Functions of one number. NaN stays NaN: comparisons with it are false, and leave it where it is. ----

template <class T> inline Vec<T> clamped(Vec<T> x) {
  using L = Lanes<T>;
#ifdef __AVX512F__  // one instruction each, which puts out its second argument where one is NaN
  if constexpr (sizeof(T) == 4) {
    const __m512 above = _mm512_max_ps(_mm512_set1_ps(L::lowest), reinterpret_cast<__m512>(x));
    return reinterpret_cast<Vec<T>>(_mm512_min_ps(_mm512_set1_ps(L::highest), above));
  }
#endif
  x = x < L::lowest ? all<T>(L::lowest) : x;
  return x > L::highest ? all<T>(L::highest) : x;
}

constexpr double inverse_factorial(int n) { return n < 2 ? 1.0 : inverse_factorial(n - 1) / n; }

template <class T> inline Vec<T> exponential(Vec<T> x) {
  using L = Lanes<T>;
  x = clamped<T>(x);
  const Vec<T> shifted = x * static_cast<T>(1.4426950408889634074) + L::magic;  // its last bits are the exponent
  const Vec<T> n = shifted - L::magic;
  const Vec<T> r = (x - n * L::ln2_high) - n * L::ln2_low;
  Vec<T> sum = all<T>(static_cast<T>(inverse_factorial(L::exp_terms - 1)));
#pragma GCC unroll 16
  for (int k = L::exp_terms - 2; k >= 0; --k) sum = sum * r + static_cast<T>(inverse_factorial(k));
  typename L::Integers power;
  std::memcpy(&power, &shifted, BYTES);
  power = (power + L::bias) << L::mantissa;
  Vec<T> scale;
  std::memcpy(&scale, &power, BYTES);
  return sum * scale;
}

template <class T> inline Vec<T> reciprocal(Vec<T> x) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) {  // 14 bits and a Newton step, in a third of a division's time
    const Vec<T> guess = reinterpret_cast<Vec<T>>(_mm512_rcp14_ps(reinterpret_cast<__m512>(x)));
    return guess * (static_cast<T>(2) - x * guess);
  }
#endif
  return static_cast<T>(1) / x;
}

template <class T> inline Vec<T> log1p_of_unit(Vec<T> t) {  // 0 <= t <= 1
  Vec<T> sum{};
  if constexpr (sizeof(T) == 4) {  // interpolated at Chebyshev's points: off by less than 2e-8
    constexpr float coefficients[] = {0.00512610214f, -0.0290740647f, 0.0775160868f, -0.136022476f, 0.190768807f,
                                      -0.24835399f,   0.333181217f,   -0.49999445f,  0.999999966f};
#pragma GCC unroll 9
    for (float c : coefficients) sum = sum * t + c;
    return sum * t;
  } else {  // log(1 + t) = 2 artanh(t / (2 + t))
    const Vec<T> s = t / (t + static_cast<T>(2)), square = s * s;
#pragma GCC unroll 20
    for (int k = 17; k >= 0; --k) sum = sum * square + static_cast<T>(1.0 / (2 * k + 1));
    return sum * s * static_cast<T>(2);
  }
}

enum Activation {  // _n: derivatives
  SOFTPLUS2, SIGMOID, SIGMOID_1, SIGMOID_2, SIGMOID_3, SILU, SILU_1, SILU_2, SILU_3,
  GAUSSIAN, GAUSSIAN_1, GAUSSIAN_2, GAUSSIAN_3
};

template <class T, int KIND> inline Vec<T> of_sigmoid(Vec<T> x, Vec<T> s) {
  const Vec<T> d = s * (static_cast<T>(1) - s), u = static_cast<T>(1) - s * static_cast<T>(2);
  if constexpr (KIND == SIGMOID) return s;
  if constexpr (KIND == SIGMOID_1) return d;
  if constexpr (KIND == SIGMOID_2) return d * u;
  if constexpr (KIND == SIGMOID_3) return d * (u * u - d * static_cast<T>(2));
  if constexpr (KIND == SILU) return x * s;
  if constexpr (KIND == SILU_1) return s + x * d;
  if constexpr (KIND == SILU_2) return d * (x * u + static_cast<T>(2));
  return d * (u * static_cast<T>(3) + x * (u * u - d * static_cast<T>(2)));
}

template <class T, int KIND> inline Vec<T> of_gaussian(Vec<T> x, Vec<T> g) {  // g = exp(-x^2)
  if constexpr (KIND == GAUSSIAN) return g;
  if constexpr (KIND == GAUSSIAN_1) return x * g * static_cast<T>(-2);
  if constexpr (KIND == GAUSSIAN_2) return (x * x * static_cast<T>(4) - static_cast<T>(2)) * g;
  return (static_cast<T>(12) - x * x * static_cast<T>(8)) * x * g;
}

// An activation, and its derivative where that is wanted too: they share their exponential.
template <class T, int KIND, bool PAIR> void activate_all(const T* x, T* y, T* slope, int64_t n) {
  for (int64_t i = 0; i < n; i += lanes<T>) {
    const Vec<T> in = *reinterpret_cast<const Vec<T>*>(x + i);
    Vec<T> out, derivative;
    if constexpr (KIND == SOFTPLUS2) {
      const Vec<T> t = exponential<T>(in > 0 ? -in : in), zero{};
      out = (in > 0 ? in : zero) + log1p_of_unit<T>(t) - static_cast<T>(0.69314718055994530942);
      if constexpr (PAIR) {
        const Vec<T> s = reciprocal<T>(t + static_cast<T>(1));
        derivative = in > 0 ? s : t * s;
      }
    } else if constexpr (KIND >= GAUSSIAN) {
      const Vec<T> g = exponential<T>(-in * in);
      out = of_gaussian<T, KIND>(in, g);
      if constexpr (PAIR) derivative = of_gaussian<T, KIND + 1>(in, g);
    } else {
      const Vec<T> s = reciprocal<T>(exponential<T>(-in) + static_cast<T>(1));
      out = of_sigmoid<T, KIND>(in, s);
      if constexpr (PAIR) derivative = of_sigmoid<T, KIND + 1>(in, s);
    }
    *reinterpret_cast<Vec<T>*>(y + i) = out;
    if constexpr (PAIR) *reinterpret_cast<Vec<T>*>(slope + i) = derivative;
  }
}

template <class T, bool PAIR, int KIND = SOFTPLUS2>
void activate(int kind, const T* x, T* y, T* slope, int64_t n) {
  if constexpr (KIND <= GAUSSIAN_3) {
    constexpr bool has_derivative = KIND != SIGMOID_3 && KIND != SILU_3 && KIND != GAUSSIAN_3;
    if (kind == KIND) return activate_all<T, KIND, PAIR && has_derivative>(x, y, slope, n);
    activate<T, PAIR, KIND + 1>(kind, x, y, slope, n);
  }
}

// ---- C (+)= A B, with A's rows and columns at any stride, B's and C's rows padded to whole vectors. ----

template <class T, int M, int N>
inline void tile(const T* a, ptrdiff_t a_row, ptrdiff_t a_col, const T* b, int b_row, T* c, int c_row, int k, bool add) {
  Vec<T> sums[M][N];
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) sums[i][j] = add ? reinterpret_cast<const Vec<T>*>(c + i * c_row)[j] : Vec<T>{};
  for (int l = 0; l < k; ++l, a += a_col, b += b_row) {
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i) {
      const Vec<T> left = all<T>(a[i * a_row]);
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) sums[i][j] += left * reinterpret_cast<const Vec<T>*>(b)[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) reinterpret_cast<Vec<T>*>(c + i * c_row)[j] = sums[i][j];
}

template <class T, int M, int N>
int panel(int from, const T* a, ptrdiff_t a_row, ptrdiff_t a_col, const T* b, int m, int n, T* c, int k, bool add) {
  for (; from + N * lanes<T> <= n; from += N * lanes<T>)
    for (int i = 0; i < m; i += M) tile<T, M, N>(a + i * a_row, a_row, a_col, b + from, n, c + i * n + from, n, k, add);
  return from;
}

template <class T>  // m is a multiple of 8 and n of the lanes
void product(const T* a, ptrdiff_t a_row, ptrdiff_t a_col, const T* b, int m, int n, T* c, int k, bool add) {
  constexpr int tall = BYTES == 64 ? 8 : 4;  // 16 sums of 32 registers, or 8 of 16
  const int from = panel<T, tall, 2>(0, a, a_row, a_col, b, m, n, c, k, add);
  panel<T, 8, 1>(from, a, a_row, a_col, b, m, n, c, k, add);
}

// Row i of n goes to, or is added to, to(i) from from(i); padding, if there is any, stays as it is. V: vectors in a row,
// where they are few and whole.
template <class T, bool ADDED, int V, class From, class To>
inline void move_vectors(int64_t n, int64_t width, From from, To to) {
  for (int64_t i = 0; i < n; ++i) {
    const T* source = from(i);
    T* target = to(i);
    int64_t j = 0;
    for (; V ? j < V * lanes<T> : j + lanes<T> <= width; j += lanes<T>) {
      Vec<T> value;
      std::memcpy(&value, source + j, BYTES);
      if constexpr (ADDED) {
        Vec<T> before;
        std::memcpy(&before, target + j, BYTES);
        value += before;
      }
      std::memcpy(target + j, &value, BYTES);
    }
    if constexpr (V == 0)
      for (; j < width; ++j) target[j] = ADDED ? target[j] + source[j] : source[j];
  }
}

template <class T, bool ADDED, class From, class To> inline void move(int64_t n, int64_t width, From from, To to) {
  if (width == lanes<T>) return move_vectors<T, ADDED, 1>(n, width, from, to);
  if (width == 2 * lanes<T>) return move_vectors<T, ADDED, 2>(n, width, from, to);
  if (width == 4 * lanes<T>) return move_vectors<T, ADDED, 4>(n, width, from, to);
  move_vectors<T, ADDED, 0>(n, width, from, to);
}

// ---- The network ----

enum Code {
  ROWS, TABLE, VECTOR, LINEAR, ADD_ROWS, ADD_TABLE, ADD_VECTOR, ADD_LINEAR,  // ADD_x: to the value that is there
  MULTIPLY, ADD, ACTIVATE, WRITE, SUM, OUTER, COLUMNS,
  ACTIVATE_PAIR  // the derivative goes to b
};

struct Operation {  // mirrors row_network.py
  int64_t code, to, a, b;  // places of values in the scratch, in numbers a row
  int64_t slot, index;     // of a tensor, or an output; of the atoms (TABLE, SUM); kind (ACTIVATE)
  int64_t width, other;    // of the value, or of a; of b (OUTER), of a (LINEAR)
};

struct Tensor {
  const void* data;
  int64_t stride;
};

struct Output {
  void* data;
  int64_t rows, width, summed;  // whether it is a sum over rows, which each thread begins on its own
};

template <class T> struct Run {
  const Operation* operations;
  const Tensor* tensors;
  const Output* outputs;
  const int64_t* const* atoms;
  int64_t n_operations, n_outputs, n_rows, block;
  T* const* matrices;  // by operation: padded, and turned where a product wants it

  static int64_t size(const Output& output) {
    return output.summed ? (output.rows + 15) / 16 * 16 * padded<T>(static_cast<int>(output.width)) : 0;
  }

  void rows(int64_t first, int64_t last, T* scratch, T* const* sums) const {
    for (int64_t begin = first; begin < last; begin += block) {
      const int64_t n = std::min(block, last - begin);
      for (int64_t o = 0; o < n_operations; ++o) step(operations[o], o, begin, n, scratch, sums);
    }
  }

  void step(const Operation& op, int64_t which, int64_t begin, int64_t n, T* scratch, T* const* sums) const {
    const int width = padded<T>(static_cast<int>(op.width));
    T* to = scratch + op.to * block;
    const T* a = scratch + op.a * block;
    const T* b = scratch + op.b * block;
    switch (op.code) {
      case ROWS:
        read<false>(op, tensors[op.slot], begin, 1, nullptr, n, width, to);
        break;
      case TABLE:
        read<false>(op, tensors[op.slot], 0, 0, atoms[op.index] + begin, n, width, to);
        break;
      case VECTOR:
        read<false>(op, tensors[op.slot], 0, 0, nullptr, n, width, to);
        break;
      case ADD_ROWS:
        read<true>(op, tensors[op.slot], begin, 1, nullptr, n, width, to);
        break;
      case ADD_TABLE:
        read<true>(op, tensors[op.slot], 0, 0, atoms[op.index] + begin, n, width, to);
        break;
      case ADD_VECTOR:
        read<true>(op, tensors[op.slot], 0, 0, nullptr, n, width, to);
        break;
      case LINEAR:
      case ADD_LINEAR:
        product<T>(a, padded<T>(static_cast<int>(op.other)), 1, matrices[which], static_cast<int>((n + 7) / 8 * 8), width,
                   to, static_cast<int>(op.other), op.code == ADD_LINEAR);
        break;
      case MULTIPLY:
        for (int64_t i = 0; i < n * width; ++i) to[i] = a[i] * b[i];
        break;
      case ADD:
        for (int64_t i = 0; i < n * width; ++i) to[i] = a[i] + b[i];
        break;
      case ACTIVATE:
        activate<T, false>(static_cast<int>(op.index), a, to, nullptr, n * width);
        break;
      case ACTIVATE_PAIR:
        activate<T, true>(static_cast<int>(op.index), a, to, scratch + op.b * block, n * width);
        break;
      case WRITE: {
        T* out = static_cast<T*>(outputs[op.slot].data) + begin * op.width;
        move<T, false>(n, op.width, [&](int64_t i) { return a + i * width; }, [&](int64_t i) { return out + i * op.width; });
        break;
      }
      case SUM: {
        const int64_t* index = atoms[op.index] + begin;
        T* out = sums[op.slot];
        move<T, true>(n, width, [&](int64_t i) { return a + i * width; }, [&](int64_t i) { return out + index[i] * width; });
        break;
      }
      case OUTER:
        product<T>(a, 1, width, b, (static_cast<int>(op.width) + 7) / 8 * 8, padded<T>(static_cast<int>(op.other)),
                   sums[op.slot], static_cast<int>(n), true);
        break;
      case COLUMNS:
        move<T, true>(n, width, [&](int64_t i) { return a + i * width; }, [&](int64_t) { return sums[op.slot]; });
        break;
    }
  }

  template <bool ADDED>  // row i of the block is row index[i], or first + i * by, of the tensor
  static void read(const Operation& op, const Tensor& from, int64_t first, int64_t by, const int64_t* index, int64_t n,
                   int width, T* to) {
    const T* data = static_cast<const T*>(from.data);
    const int64_t stride = from.stride;
    const auto target = [&](int64_t i) { return to + i * width; };
    if (index)
      move<T, ADDED>(n, op.width, [&](int64_t i) { return data + index[i] * stride; }, target);
    else
      move<T, ADDED>(n, op.width, [&](int64_t i) { return data + (first + i * by) * stride; }, target);
    if (!ADDED && op.width < width)
      for (int64_t i = 0; i < n; ++i) std::fill(to + i * width + op.width, to + (i + 1) * width, T(0));
  }

  static void gather(const Output& output, const T* const* parts, int n_parts) {
    const int64_t width = padded<T>(static_cast<int>(output.width));
    T* out = static_cast<T*>(output.data);
    const auto target = [&](int64_t i) { return out + i * output.width; };
    for (int p = 0; p < n_parts; ++p) {
      const auto source = [&](int64_t i) { return parts[p] + i * width; };
      if (p)
        move<T, true>(output.rows, output.width, source, target);
      else
        move<T, false>(output.rows, output.width, source, target);
    }
  }
};

// Memory that is kept from call to call: what is asked for anew has to be cleared by the system first.
struct Arena {
  std::unique_ptr<char[]> memory;
  size_t size = 0;
  char* take(size_t bytes) {
    if (bytes + 64 > size) {
      memory.reset(new char[bytes + 64]);
      size = bytes + 64;
    }
    return memory.get() + (64 - reinterpret_cast<uintptr_t>(memory.get()) % 64) % 64;
  }
};

template <class T> void run(Run<T> network, int64_t scratch_width, int n_threads) {
  thread_local Arena arena;
  const int64_t n_blocks = (network.n_rows + network.block - 1) / network.block;
  // Waiting for each other costs threads more than a few blocks, most of all where others want the cores, too.
  n_threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(n_threads, n_blocks / 16)));

  size_t matrices = 0, sums = 0;
  for (int64_t o = 0; o < network.n_operations; ++o)
    if (network.operations[o].code == LINEAR || network.operations[o].code == ADD_LINEAR)
      matrices += network.operations[o].other * padded<T>(static_cast<int>(network.operations[o].width));
  for (int64_t i = 0; i < network.n_outputs; ++i) sums += Run<T>::size(network.outputs[i]);
  matrices = (matrices + 15) / 16 * 16;
  const size_t own = sums + scratch_width * network.block + 16 * 8;
  T* memory = reinterpret_cast<T*>(arena.take((matrices + n_threads * own) * sizeof(T)));

  std::unique_ptr<T*[]> packed(new T*[network.n_operations]());
  T* next = memory;
  for (int64_t o = 0; o < network.n_operations; ++o) {
    const Operation& op = network.operations[o];
    if (op.code != LINEAR && op.code != ADD_LINEAR) continue;
    const Tensor& matrix = network.tensors[op.slot];
    const T* data = static_cast<const T*>(matrix.data);
    const int64_t width = padded<T>(static_cast<int>(op.width));
    packed[o] = next;
    for (int64_t i = 0; i < op.other; ++i)
      for (int64_t j = 0; j < width; ++j)
        *next++ = j >= op.width ? 0 : op.index ? data[j * matrix.stride + i] : data[i * matrix.stride + j];
  }
  network.matrices = packed.get();

  // Whatever may throw is done before the threads begin: an exception must not leave a parallel region.
  std::unique_ptr<const T*[]> parts(new const T*[n_threads * network.n_outputs + 1]);
  std::unique_ptr<T*[]> own_sums(new T*[n_threads * network.n_outputs + 1]);
#pragma omp parallel for num_threads(n_threads) schedule(static, 1) if (n_threads > 1)
  for (int thread = 0; thread < n_threads; ++thread) {
    T* mine = memory + matrices + thread * own;
    T** my_sums = own_sums.get() + thread * network.n_outputs;
    std::memset(mine, 0, sums * sizeof(T));
    for (int64_t i = 0; i < network.n_outputs; ++i) {
      parts[i * n_threads + thread] = my_sums[i] = mine;
      mine += Run<T>::size(network.outputs[i]);
    }
    network.rows(std::min(network.n_rows, n_blocks * thread / n_threads * network.block),
                 std::min(network.n_rows, n_blocks * (thread + 1) / n_threads * network.block), mine, my_sums);
  }
  for (int64_t i = 0; i < network.n_outputs; ++i)
    if (network.outputs[i].summed) Run<T>::gather(network.outputs[i], parts.get() + i * n_threads, n_threads);
}

}  // namespace

// 1 when all is computed; 0 when an edge names an atom that there is not; -1 without memory; -2 for anything else. No
// exception may reach the caller, which is not C++. Pointers are passed as integers.
extern "C" int64_t matgl_ssl_rows(int64_t is_double, const Operation* operations, int64_t n_operations,
                                  const Tensor* tensors, const Output* outputs, int64_t n_outputs,
                                  const int64_t* const* atoms, int64_t n_rows, int64_t n_atoms, int64_t block,
                                  int64_t scratch_width, int64_t n_threads) try {
  for (int end = 0; end < 2 && atoms[0] != nullptr; ++end) {
    bool is_bad = false;  // without a way out, which would be a test for each edge
    for (int64_t i = 0; i < n_rows; ++i) is_bad |= static_cast<uint64_t>(atoms[end][i]) >= static_cast<uint64_t>(n_atoms);
    if (is_bad) return 0;
  }
  const int threads = static_cast<int>(n_threads);
  if (is_double)
    run<double>({operations, tensors, outputs, atoms, n_operations, n_outputs, n_rows, block, nullptr}, scratch_width, threads);
  else
    run<float>({operations, tensors, outputs, atoms, n_operations, n_outputs, n_rows, block, nullptr}, scratch_width, threads);
  return 1;
} catch (const std::bad_alloc&) {
  return -1;
} catch (...) {
  return -2;
}
