#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/bfloat16.h"
#include "store/checkpoint.h"
#include "store/rows.h"

// A small set of tensors whose elements follow from kind, tensor, row and column, cut among ranks in different ways.
namespace jreg::test {

using store::Rectangle;
using store::Shape;
using store::TensorKind;

struct Tensor {
  std::string name;
  TensorKind kind;
  Shape shape;
  DType dtype = DType::f32;
  std::vector<Rectangle> parts;  // part i is saved by rank i % ranks
};

/// Small enough for a bf16 to hold exactly where a test needs that.
inline float element(std::size_t tensor, std::int64_t row, std::int64_t column) {
  return static_cast<float>(row * 8 + column) * static_cast<float>(tensor + 1);
}

/// Rows cut evenly, columns cut evenly, a vector in one piece, quarters.
inline std::vector<Tensor> tensors(int ranks) {
  auto const cut = [ranks](std::int64_t size, int rank) { return size * rank / ranks; };
  std::vector<Rectangle> rows;
  std::vector<Rectangle> columns;
  for (int rank = 0; rank < ranks; ++rank) {
    rows.push_back({cut(9, rank), cut(9, rank + 1), 0, 5});
    columns.push_back({0, 6, cut(8, rank), cut(8, rank + 1)});
  }
  std::vector<Rectangle> const quarters{{0, 2, 0, 3}, {0, 2, 3, 4}, {2, 4, 0, 3}, {2, 4, 3, 4}};
  std::vector<Tensor> all;
  for (TensorKind const kind : {TensorKind::weight, TensorKind::moment1, TensorKind::moment2}) {
    all.push_back({"model.embed_tokens.weight", kind, Shape::of_matrix(9, 5), DType::f32, rows});
    all.push_back({"model.layers.0.mlp.down_proj.weight", kind, Shape::of_matrix(6, 8), DType::f32, columns});
    all.push_back({"model.norm.weight", kind, Shape::of_vector(5), DType::f32, {Rectangle{0, 5, 0, 1}}});
  }
  all.push_back({"lm_head.weight", TensorKind::weight, Shape::of_matrix(4, 4), DType::bf16, quarters});
  return all;
}

/// One rank's slices and the memory they point into.
struct RankSlices {
  std::vector<std::vector<std::byte>> memory;
  std::vector<store::SavedSlice> slices;
};

inline RankSlices slices_of(int rank, int ranks) {
  RankSlices mine;
  std::vector<Tensor> const all = tensors(ranks);
  for (std::size_t t = 0; t < all.size(); ++t) {
    for (std::size_t p = 0; p < all[t].parts.size(); ++p) {
      if (static_cast<int>(p) % ranks != rank) continue;
      Rectangle const& part = all[t].parts[p];
      std::vector<std::byte> bytes;
      for (std::int64_t row = part.row_begin; row < part.row_end; ++row) {
        for (std::int64_t column = part.column_begin; column < part.column_end; ++column) {
          float const value = element(t, row, column);
          bfloat16 const narrow = to_bfloat16(value);
          auto const* const from = all[t].dtype == DType::bf16 ? reinterpret_cast<std::byte const*>(&narrow)
                                                               : reinterpret_cast<std::byte const*>(&value);
          bytes.insert(bytes.end(), from, from + size_of(all[t].dtype));
        }
      }
      mine.memory.push_back(std::move(bytes));
      mine.slices.push_back({all[t].name, all[t].kind, all[t].dtype, all[t].shape, part, mine.memory.back().data()});
    }
  }
  return mine;
}

inline store::State make_state(std::int64_t step) {
  return {.step = step,
          .tokens = step * 2048,
          .sampler_position = step * 8,
          .adamw_steps = step - 1,
          .skipped_updates = 1,
          .jump_gates = {0, 1, 1},
          .layers = 3,
          .data_ranks = 2,
          .tensor_ranks = 1,
          .zero1 = true,
          .run_id = "run-1",
          .config = {{"run.seed", "1"}, {"data.train", "a b/c"}, {"jreg.weights", ""}}};
}

}  // namespace jreg::test
