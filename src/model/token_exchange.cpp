#include "model/token_exchange.h"

namespace jreg::model {

using backend::Tensor;

std::int64_t TokenExchange::local_tokens(std::int64_t tokens) const {
  if (!splits_tokens()) return tokens;
  expect(tokens % mesh_.at().tensor_size == 0, "tensor ranks divide the tokens of a micro-batch");
  return tokens / mesh_.at().tensor_size;
}

Tensor TokenExchange::gather(Tensor const& local, Tensor const& full) const {
  if (!splits_tokens()) return local;
  mesh_.tensor().all_gather(local, full);
  return full;
}

Tensor TokenExchange::reduce(Tensor const& partial, Tensor const& local) const {
  if (!splits_tokens()) {
    mesh_.tensor().all_reduce(partial, backend::Reduction::sum);
    return partial;
  }
  mesh_.tensor().reduce_scatter(partial, local);
  return local;
}

}  // namespace jreg::model
