#include "backend/cpu/kernels/attention_pairs.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

namespace {

/// Scratch of one thread. Inner dimensions of products count steps: see attention_pairs.h.
struct Tiles {
  Block keys;           // (head_size, sequence): transposed
  Block values;         // (sequence, head_size)
  Block queries;        // (query_block, head_size)
  Block scores;         // (query_block, key_block)
  Block weights;        // the same, as pairs; without pairs the scores themselves
  Block sum;            // (query_block, head_size)
  float* maximum;       // (query_block)
  float* denominator;   // (query_block)
  std::int64_t floats;  // of all of these
};

template <bool pairs> Tiles cut_tiles(AttentionShape const& shape, float* scratch) {
  ScratchCutter cutter{scratch};
  Tiles tiles{};
  tiles.keys = cutter.cut(steps<pairs>(shape.head_size), shape.sequence);
  tiles.values = cutter.cut(steps<pairs>(shape.sequence), shape.head_size);
  tiles.queries = cutter.cut(query_block, steps<pairs>(shape.head_size));
  tiles.scores = cutter.cut(query_block, key_block);
  tiles.weights = pairs ? cutter.cut(query_block, steps<pairs>(key_block)) : tiles.scores;
  tiles.sum = cutter.cut(query_block, shape.head_size);
  tiles.maximum = cutter.cut(1, query_block).data;
  tiles.denominator = cutter.cut(1, query_block).data;
  tiles.floats = cutter.used;
  return tiles;
}

/// A row that sees no key of the block: no weight, and the sums stay as they are.
void skip_row(Tiles const& tiles, std::int64_t row, std::int64_t keys, bool first_block) {
  float* const scores = tiles.scores.data + row * tiles.scores.stride;
  for (std::int64_t j = 0; j < keys; ++j) scores[j] = 0;
  if (!first_block) return;
  tiles.maximum[row] = -__builtin_inff();
  tiles.denominator[row] = 0;
}

/// The largest of `start` and whole vectors of scores, passing over NaN: the sum of the weights, which are differences
/// from the maximum, becomes NaN all the same.
float largest_of(float const* scores, std::int64_t width, float start) {
  Vector largest = start + Vector{};
  for (std::int64_t j = 0; j < width; j += lanes) {
    Vector const more = *reinterpret_cast<Vector const*>(scores + j);
    largest = more > largest ? more : largest;
  }
  float maximum = largest[0];
  for (std::int64_t lane = 1; lane < lanes; ++lane) maximum = largest[lane] > maximum ? largest[lane] : maximum;
  return maximum;
}

/// Scores of one row become exp(scale (score - maximum so far)); what earlier key blocks summed up is scaled down to
/// the new maximum. The visible keys count, the others of `keys` become zero.
void soften_row(Tiles const& tiles, std::int64_t row, Visible visible, std::int64_t keys, std::int64_t head_size,
                float scale, bool first_block) {
  if (visible.begin >= visible.end) return skip_row(tiles, row, keys, first_block);
  float* const scores = tiles.scores.data + row * tiles.scores.stride;
  // Whole vectors: what lies around the visible keys counts as -infinity.
  std::int64_t const width = padded(visible.end);
  for (std::int64_t j = 0; j < visible.begin; ++j) scores[j] = -__builtin_inff();
  for (std::int64_t j = visible.end; j < width; ++j) scores[j] = -__builtin_inff();
  float const maximum = largest_of(scores, width, first_block ? -__builtin_inff() : tiles.maximum[row]);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < width; ++j) {
    float const weight = exponential(scale * (scores[j] - maximum));
    scores[j] = weight;
    sum += weight;
  }
  for (std::int64_t j = width; j < keys; ++j) scores[j] = 0;
  if (first_block) {
    tiles.denominator[row] = sum;
  } else {
    float const shrunk = exponential(scale * (tiles.maximum[row] - maximum));
    tiles.denominator[row] = tiles.denominator[row] * shrunk + sum;
    float* const out = tiles.sum.data + row * tiles.sum.stride;
    std::int64_t const columns = padded(head_size);
#pragma omp simd
    for (std::int64_t i = 0; i < columns; ++i) out[i] *= shrunk;
  }
  tiles.maximum[row] = maximum;
}

/// Queries [begin, begin + rows) of one head.
template <class T, bool pairs>
void attend(AttentionArgs const& args, Tiles const& tiles, FirstKeys const& first, std::int64_t first_token,
            std::int64_t head, std::int64_t begin, std::int64_t rows) {
  AttentionShape const& shape = args.shape;
  std::int64_t const size = shape.head_size;
  float const scale = 1.0F / __builtin_sqrtf(static_cast<float>(size));
  pack_left<pairs>(row_of<T const>(args.qkv, first_token + begin) + head * size, args.qkv.stride, tiles.queries, rows,
                   size);
  std::int64_t const first_block = first.block_at(begin);
  for (std::int64_t key = first_block; key < begin + rows; key += key_block) {
    std::int64_t const keys = smaller(key_block, begin + rows - key);
    // A few queries at a time, so that little of what causality hides is computed.
    for (std::int64_t row = 0; row < rows; row += tall) {
      std::int64_t const height = smaller(tall, rows - row);
      std::int64_t const seen = keys_before(begin + row + height, key, keys);
      Block const scores = from_row(tiles.scores, row);
      Block const weights = from_row(tiles.weights, row);
      block_product<pairs>({from_row(tiles.queries, row).data, tiles.queries.stride, 1},
                           {tiles.keys.data + key, tiles.keys.stride}, scores, height, padded(seen), steps<pairs>(size),
                           false);
      for (std::int64_t i = row; i < row + height; ++i) {
        soften_row(tiles, i, visible_keys(first, begin + i, key, seen), padded(seen), size, scale, key == first_block);
      }
      for (std::int64_t i = 0; pairs && i < height; i += 2) {
        round_rows(from_row(scores, i), height - i, from_row(weights, i), nullptr, padded(seen));
      }
      block_product<pairs>({weights.data, weights.stride, 1}, from_row(tiles.values, steps<pairs>(key)),
                           from_row(tiles.sum, row), height, padded(size), steps<pairs>(seen), key != first_block);
    }
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    T* const out = row_of<T>(args.out, first_token + begin + i) + head * size;
    float const* const sum = tiles.sum.data + i * tiles.sum.stride;
    float const factor = 1.0F / tiles.denominator[i];
#pragma omp simd
    for (std::int64_t j = 0; j < size; ++j) store(out, j, sum[j] * factor);
  }
}

template <class T, bool pairs> void attention_unit(AttentionArgs const& args, std::int64_t unit, float* scratch) {
  AttentionShape const& shape = args.shape;
  std::int64_t const chunks = (shape.sequence + attention_chunk - 1) / attention_chunk;
  // The longest chunks come first, so that threads finish together.
  std::int64_t const chunk = chunks - 1 - unit / (shape.batch * shape.kv_heads);
  std::int64_t const batch = unit % (shape.batch * shape.kv_heads) / shape.kv_heads;
  std::int64_t const kv_head = unit % shape.kv_heads;
  std::int64_t const group = shape.heads / shape.kv_heads;
  std::int64_t const first_token = batch * shape.sequence;
  std::int64_t const end = smaller((chunk + 1) * attention_chunk, shape.sequence);
  Tiles const tiles = cut_tiles<pairs>(shape, scratch);
  FirstKeys const first = first_keys(args, batch);
  std::int64_t const first_key = first.block_at(chunk * attention_chunk);
  T const* const first_row = row_of<T const>(args.qkv, first_token + first_key);
  std::int64_t const keys = end - first_key;
  pack_right_transposed<pairs>(first_row + (shape.heads + kv_head) * shape.head_size, args.qkv.stride,
                               {tiles.keys.data + first_key, tiles.keys.stride}, keys, shape.head_size);
  pack_right<pairs>(first_row + (shape.heads + shape.kv_heads + kv_head) * shape.head_size, args.qkv.stride,
                    from_row(tiles.values, steps<pairs>(first_key)), keys, shape.head_size);
  float const scale = 1.0F / __builtin_sqrtf(static_cast<float>(shape.head_size));
  for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    float* const log_sum_exp = row_of<float>(args.log_sum_exp, batch * shape.heads + head);
    for (std::int64_t begin = chunk * attention_chunk; begin < end; begin += query_block) {
      std::int64_t const rows = smaller(query_block, end - begin);
      attend<T, pairs>(args, tiles, first, first_token, head, begin, rows);
      for (std::int64_t i = 0; i < rows; ++i) {
        log_sum_exp[begin + i] = scale * tiles.maximum[i] + __builtin_logf(tiles.denominator[i]);
      }
    }
  }
}

}  // namespace

std::int64_t attention_scratch(AttentionShape const& shape) {
  std::int64_t const floats = cut_tiles<false>(shape, nullptr).floats;
  std::int64_t const with_pairs = cut_tiles<true>(shape, nullptr).floats;
  return floats > with_pairs ? floats : with_pairs;
}

void attention(AttentionArgs const& args, std::int64_t unit, float* scratch) {
  if (args.qkv.dtype == DType::f32) {
    attention_unit<float, false>(args, unit, scratch);
  } else if (in_pairs(args)) {
    attention_unit<bfloat16, has_pairs>(args, unit, scratch);
  } else {
    attention_unit<bfloat16, false>(args, unit, scratch);
  }
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
