#include "backend/cpu/kernels/attention_pairs.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

namespace {

/// Scratch of one thread. Inner dimensions of products count steps: see attention_pairs.h.
struct Tiles {
  Block keys_transposed;    // (head_size, sequence)
  Block values_transposed;  // (head_size, sequence)
  Block keys;               // (sequence, head_size)
  Block dkeys;              // (sequence, head_size)
  Block dvalues;            // (sequence, head_size)
  Block queries;            // (query_block, head_size): left factor
  Block dout;               // (query_block, head_size): left factor
  Block dqueries;           // (query_block, head_size)
  Block weights;            // (query_block, key_block): softmax
  Block dscores;            // (query_block, key_block)
  // With pairs, copies of their own; else the ones above.
  Block right_queries;       // (query_block, head_size): right factor
  Block right_dout;          // (query_block, head_size): right factor
  Block dscores_along;       // (query_block, key_block)
  Block weights_transposed;  // (query_block, key_block), left factor whose inner dimension are the queries
  Block dscores_transposed;  // (query_block, key_block), the same
  std::int64_t floats;       // of all of these
};

template <bool pairs> Tiles cut_tiles(AttentionShape const& shape, float* scratch) {
  ScratchCutter cutter{scratch};
  Tiles tiles{};
  tiles.keys_transposed = cutter.cut(steps<pairs>(shape.head_size), shape.sequence);
  tiles.values_transposed = cutter.cut(steps<pairs>(shape.head_size), shape.sequence);
  tiles.keys = cutter.cut(steps<pairs>(shape.sequence), shape.head_size);
  tiles.dkeys = cutter.cut(shape.sequence, shape.head_size);
  tiles.dvalues = cutter.cut(shape.sequence, shape.head_size);
  tiles.queries = cutter.cut(query_block, steps<pairs>(shape.head_size));
  tiles.dout = cutter.cut(query_block, steps<pairs>(shape.head_size));
  tiles.dqueries = cutter.cut(query_block, shape.head_size);
  tiles.weights = cutter.cut(query_block, key_block);
  tiles.dscores = cutter.cut(query_block, key_block);
  tiles.right_queries = pairs ? cutter.cut(steps<pairs>(query_block), shape.head_size) : tiles.queries;
  tiles.right_dout = pairs ? cutter.cut(steps<pairs>(query_block), shape.head_size) : tiles.dout;
  tiles.dscores_along = pairs ? cutter.cut(query_block, steps<pairs>(key_block)) : tiles.dscores;
  tiles.weights_transposed = pairs ? cutter.cut(steps<pairs>(query_block), key_block) : tiles.weights;
  tiles.dscores_transposed = pairs ? cutter.cut(steps<pairs>(query_block), key_block) : tiles.dscores;
  tiles.floats = cutter.used;
  return tiles;
}

/// Where a block of queries lies.
struct Queries {
  std::int64_t first_token;  // of the sequence
  std::int64_t head;
  std::int64_t begin;  // first query in the sequence
  std::int64_t rows;
};

template <class T> float dot(T const* a, T const* b, std::int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) sum += load(a, i) * load(b, i);
  return sum;
}

/// One row: scores -> softmax weights, dweights -> dscores = weight (dweight - mean); zero around the visible keys.
void soften_row(float* weights, float* dscores, float scale, float log_sum_exp, float mean, Visible visible,
                std::int64_t keys) {
  std::int64_t const width = padded(visible.end);  // whole vectors
  for (std::int64_t j = 0; j < smaller(visible.begin, visible.end); ++j) {
    weights[j] = -__builtin_inff();
    dscores[j] = 0;
  }
  for (std::int64_t j = visible.end; j < width; ++j) {
    weights[j] = -__builtin_inff();
    dscores[j] = 0;
  }
#pragma omp simd
  for (std::int64_t j = 0; j < width; ++j) {
    float const weight = exponential(scale * weights[j] - log_sum_exp);
    weights[j] = weight;
    dscores[j] = weight * (dscores[j] - mean);
  }
  for (std::int64_t j = width; j < keys; ++j) {
    weights[j] = 0;
    dscores[j] = 0;
  }
}

/// dvalues += weights^T dout, dkeys += dscores^T queries for the keys [key, key + keys) of a block.
template <bool pairs>
void add_to_keys(Tiles const& tiles, std::int64_t key, std::int64_t keys, Queries const& at, std::int64_t width) {
  for (std::int64_t row = 0; row < keys; row += tall) {
    std::int64_t const height = smaller(tall, keys - row);
    // No query before the first of these keys sees one.
    std::int64_t const hidden = steps<pairs>(key + row > at.begin ? key + row - at.begin : 0);
    std::int64_t const depth = steps<pairs>(at.rows) - hidden;
    // Transposed left factors: element (key, query).
    block_product<pairs>({from_row(tiles.weights_transposed, hidden).data + row, 1, tiles.weights_transposed.stride},
                         from_row(tiles.right_dout, hidden), from_row(tiles.dvalues, key + row), height, width, depth,
                         true);
    block_product<pairs>({from_row(tiles.dscores_transposed, hidden).data + row, 1, tiles.dscores_transposed.stride},
                         from_row(tiles.right_queries, hidden), from_row(tiles.dkeys, key + row), height, width, depth,
                         true);
  }
}

/// The queries' part of a block, a few rows at a time: softmax weights, dscores, and dqueries (+)= dscores keys.
template <bool pairs>
void differentiate_rows(Tiles const& tiles, FirstKeys const& first, Queries const& at, Visible block, float scale,
                        float const* log_sum_exp, float const* means, bool accumulate, std::int64_t size) {
  std::int64_t const key = block.begin;
  std::int64_t const keys = block.end - block.begin;
  for (std::int64_t row = 0; row < at.rows; row += tall) {
    std::int64_t const height = smaller(tall, at.rows - row);
    std::int64_t const seen = keys_before(at.begin + row + height, key, keys);
    Block const weights = from_row(tiles.weights, row);
    Block const dscores = from_row(tiles.dscores, row);
    Block const along = from_row(tiles.dscores_along, row);
    block_product<pairs>({from_row(tiles.queries, row).data, tiles.queries.stride, 1},
                         {tiles.keys_transposed.data + key, tiles.keys_transposed.stride}, weights, height,
                         padded(seen), steps<pairs>(size), false);
    block_product<pairs>({from_row(tiles.dout, row).data, tiles.dout.stride, 1},
                         {tiles.values_transposed.data + key, tiles.values_transposed.stride}, dscores, height,
                         padded(seen), steps<pairs>(size), false);
    for (std::int64_t i = 0; i < height; ++i) {
      std::int64_t const query = at.begin + row + i;
      soften_row(from_row(weights, i).data, from_row(dscores, i).data, scale, log_sum_exp[query], means[row + i],
                 visible_keys(first, query, key, keys), padded(keys));
    }
    for (std::int64_t i = 0; pairs && i < height; i += 2) {
      std::int64_t const pair = (row + i) / 2;
      round_rows(from_row(weights, i), height - i, {nullptr, 0}, from_row(tiles.weights_transposed, pair).data,
                 padded(keys));
      round_rows(from_row(dscores, i), height - i, from_row(along, i), from_row(tiles.dscores_transposed, pair).data,
                 padded(keys));
    }
    block_product<pairs>({along.data, along.stride, 1}, from_row(tiles.keys, steps<pairs>(key)),
                         from_row(tiles.dqueries, row), height, padded(size), steps<pairs>(seen), accumulate);
  }
}

template <class T>
void unpack(Block from, float factor, T* to, std::int64_t stride, std::int64_t rows, std::int64_t columns) {
  for (std::int64_t i = 0; i < rows; ++i) {
    float const* const source = from.data + i * from.stride;
    T* const target = to + i * stride;
#pragma omp simd
    for (std::int64_t j = 0; j < columns; ++j) store(target, j, factor * source[j]);
  }
}

/// Gradients of heads that were turned, turned back: the rows are those of the sequence's tokens from `token` on.
template <class T>
void unpack_turned(AttentionArgs const& args, FirstKeys const& first, std::int64_t token, Block from, float factor,
                   T* to, std::int64_t rows) {
  if (!args.rotation) return unpack(from, factor, to, args.dqkv.stride, rows, args.shape.head_size);
  std::int64_t const half = args.shape.head_size / 2;
  for (std::int64_t i = 0; i < rows; ++i) {
    std::int64_t const position = token + i - first.at(token + i);
    float const* const cosine = row_of<float const>(args.rotation.cosine, position);
    float const* const sine = row_of<float const>(args.rotation.sine, position);
    float const* const low = from.data + i * from.stride;
    float const* const high = low + half;
    T* const target = to + i * args.dqkv.stride;
#pragma omp simd
    for (std::int64_t j = 0; j < half; ++j) {
      float const a = factor * low[j];
      float const b = factor * high[j];
      store(target, j, a * cosine[j] + b * sine[j]);
      store(target + half, j, b * cosine[j] - a * sine[j]);
    }
  }
}

/// One block of queries against all its keys: dkeys, dvalues += ..., and its dqueries.
template <class T, bool pairs>
void backward_block(AttentionArgs const& args, Tiles const& tiles, FirstKeys const& first, Queries const& at,
                    float const* log_sum_exp) {
  std::int64_t const size = args.shape.head_size;
  std::int64_t const token = at.first_token + at.begin;
  float const scale = 1.0F / __builtin_sqrtf(static_cast<float>(size));
  T const* const queries = row_of<T const>(args.qkv, token) + at.head * size;
  T const* const dout = row_of<T const>(args.dout, token) + at.head * size;
  pack_left<pairs>(queries, args.qkv.stride, tiles.queries, at.rows, size);
  pack_left<pairs>(dout, args.dout.stride, tiles.dout, at.rows, size);
  if constexpr (pairs) {
    pack_right<pairs>(queries, args.qkv.stride, tiles.right_queries, at.rows, size);
    pack_right<pairs>(dout, args.dout.stride, tiles.right_dout, at.rows, size);
  }
  float means[query_block];  // of dweights under the softmax = dout . out
  for (std::int64_t i = 0; i < at.rows; ++i) {
    means[i] = dot(row_of<T const>(args.dout, token + i) + at.head * size,
                   row_of<T const>(args.out, token + i) + at.head * size, size);
  }
  std::int64_t const first_block = first.block_at(at.begin);
  for (std::int64_t key = first_block; key < at.begin + at.rows; key += key_block) {
    std::int64_t const keys = smaller(key_block, at.begin + at.rows - key);
    differentiate_rows<pairs>(tiles, first, at, {key, key + keys}, scale, log_sum_exp, means, key != first_block, size);
    add_to_keys<pairs>(tiles, key, keys, at, padded(size));
  }
  unpack_turned(args, first, at.begin, tiles.dqueries, scale, row_of<T>(args.dqkv, token) + at.head * size, at.rows);
}

template <class T, bool pairs>
void attention_backward_unit(AttentionArgs const& args, std::int64_t unit, float* scratch) {
  AttentionShape const& shape = args.shape;
  std::int64_t const batch = unit / shape.kv_heads;
  std::int64_t const kv_head = unit % shape.kv_heads;
  std::int64_t const group = shape.heads / shape.kv_heads;
  std::int64_t const size = shape.head_size;
  std::int64_t const first_token = batch * shape.sequence;
  std::int64_t const key_column = (shape.heads + kv_head) * size;
  std::int64_t const value_column = (shape.heads + shape.kv_heads + kv_head) * size;
  Tiles const tiles = cut_tiles<pairs>(shape, scratch);
  FirstKeys const first = first_keys(args, batch);
  T const* const row = row_of<T const>(args.qkv, first_token);
  pack_right_transposed<pairs>(row + key_column, args.qkv.stride, tiles.keys_transposed, shape.sequence, size);
  pack_right_transposed<pairs>(row + value_column, args.qkv.stride, tiles.values_transposed, shape.sequence, size);
  pack_right<pairs>(row + key_column, args.qkv.stride, tiles.keys, shape.sequence, size);
  for (std::int64_t i = 0; i < shape.sequence * tiles.dkeys.stride; ++i) tiles.dkeys.data[i] = 0;
  for (std::int64_t i = 0; i < shape.sequence * tiles.dvalues.stride; ++i) tiles.dvalues.data[i] = 0;

  for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    float const* const log_sum_exp = row_of<float const>(args.log_sum_exp, batch * shape.heads + head);
    for (std::int64_t begin = 0; begin < shape.sequence; begin += query_block) {
      Queries const at{first_token, head, begin, smaller(query_block, shape.sequence - begin)};
      backward_block<T, pairs>(args, tiles, first, at, log_sum_exp);
    }
  }
  T* const out_row = row_of<T>(args.dqkv, first_token);
  unpack_turned(args, first, 0, tiles.dkeys, 1.0F / __builtin_sqrtf(static_cast<float>(size)), out_row + key_column,
                shape.sequence);
  unpack(tiles.dvalues, 1.0F, out_row + value_column, args.dqkv.stride, shape.sequence, size);
}

}  // namespace

std::int64_t attention_backward_scratch(AttentionShape const& shape) {
  std::int64_t const floats = cut_tiles<false>(shape, nullptr).floats;
  std::int64_t const with_pairs = cut_tiles<true>(shape, nullptr).floats;
  return floats > with_pairs ? floats : with_pairs;
}

void attention_backward(AttentionArgs const& args, std::int64_t unit, float* scratch) {
  if (args.qkv.dtype == DType::f32) {
    attention_backward_unit<float, false>(args, unit, scratch);
  } else if (in_pairs(args)) {
    attention_backward_unit<bfloat16, has_pairs>(args, unit, scratch);
  } else {
    attention_backward_unit<bfloat16, false>(args, unit, scratch);
  }
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
