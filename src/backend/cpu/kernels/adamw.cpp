#include <bit>

#include "backend/adamw_update.h"
#include "backend/cpu/kernels/math.h"
#include "base/philox.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

namespace {

/// The new weight; sets the new moments.
inline float updated(AdamWUpdate const& update, float weight, float gradient, float& first, float& second) {
  float const g = update.scale * gradient;
  float const m = update.beta1 * first + (1 - update.beta1) * g;
  float const v = update.beta2 * second + (1 - update.beta2) * g * g;
  first = m;
  second = v;
  return update.kept * weight - update.rate * m / (__builtin_sqrtf(v) * update.root + update.eps);
}

template <bool has_compute> void update_elements(AdamW const& args, Range elements) {
  float* const weight = values_of(args.weight);
  float const* const gradient = values_of(args.gradient);
  float* const first = values_of(args.first);
  float* const second = values_of(args.second);
  auto* const compute = static_cast<bfloat16*>(args.compute.data);
  AdamWUpdate const update = update_of(args);
#pragma omp simd
  for (std::int64_t i = elements.begin; i < elements.end; ++i) {
    float m = first[i];
    float v = second[i];
    float const w = updated(update, weight[i], gradient[i], m, v);
    first[i] = m;
    second[i] = v;
    weight[i] = w;
    if constexpr (has_compute) store(compute, i, w);
  }
}

struct Words {
  std::uint32_t a;
  std::uint32_t b;
  std::uint32_t c;
  std::uint32_t d;
};

constexpr std::int64_t block = 8;         // elements that share a block of Philox, 16 bits each
constexpr std::int64_t most_blocks = 64;  // drawn at once: 1 KiB
static_assert(std::endian::native == std::endian::little, "the lower half of a word comes first");

/// The bits of blocks [first, first + count) in the order of their elements.
inline void draw(std::uint64_t key, std::int64_t first, std::int64_t count, std::uint16_t* bits) {
  std::uint32_t words[4 * most_blocks];
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    auto const four = philox<Words>(key, 0, static_cast<std::uint64_t>(first + i));
    words[4 * i] = four.a;
    words[4 * i + 1] = four.b;
    words[4 * i + 2] = four.c;
    words[4 * i + 3] = four.d;
  }
  __builtin_memcpy(bits, words, static_cast<std::size_t>(count) * sizeof(Words));
}

/// As StochasticRounding has it.
inline std::uint16_t rounded_by(std::uint16_t random, float value) {
  auto const bits = __builtin_bit_cast(std::uint32_t, value);
  std::uint32_t const magnitude = bits & 0x7fffffffU;
  std::uint32_t const added = magnitude < 0x7f800000U ? random : 0U;
  std::uint32_t const quiet = magnitude > 0x7f800000U ? 0x400000U : 0U;
  return static_cast<std::uint16_t>(((bits + added) | quiet) >> 16);
}

void update_rounding(AdamW const& args, Range elements) {
  auto* const weight = static_cast<bfloat16*>(args.weight.data);
  float const* const gradient = values_of(args.gradient);
  float* const first = values_of(args.first);
  float* const second = values_of(args.second);
  AdamWUpdate const update = update_of(args);
  StochasticRounding const& rounding = args.rounding;
  std::uint16_t bits[block * most_blocks];
  std::int64_t begin = elements.begin;
  while (begin < elements.end) {
    std::int64_t const run = begin / rounding.run;
    std::int64_t const element = rounding.first + run * rounding.stride + (begin - run * rounding.run);
    std::int64_t const skipped = element % block;
    std::int64_t end = begin + (block * most_blocks - skipped);
    end = end < elements.end ? end : elements.end;
    end = end < (run + 1) * rounding.run ? end : (run + 1) * rounding.run;
    draw(rounding.key, element / block, (skipped + (end - begin) + block - 1) / block, bits);
    std::int64_t const drawn = begin - skipped;  // where the bits begin
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) {
      float m = first[i];
      float v = second[i];
      float const w = updated(update, widen(weight[i]), gradient[i], m, v);
      first[i] = m;
      second[i] = v;
      weight[i].bits = rounded_by(bits[i - drawn], w);
    }
    begin = end;
  }
}

}  // namespace

void adamw(AdamW const& args, Range elements) {
  if (args.weight.dtype == DType::bf16) {
    update_rounding(args, elements);
  } else if (args.compute.data != nullptr) {
    update_elements<true>(args, elements);
  } else {
    update_elements<false>(args, elements);
  }
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
