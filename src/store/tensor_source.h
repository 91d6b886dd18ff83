#pragma once

#include <filesystem>
#include <string>

#include "store/manifest.h"

namespace jreg::store {

/// Tensors in files under their Hugging Face names, of which any rectangle can be read: a checkpoint of whatever mesh,
/// or weights in another program's format. Not collective.
class TensorSource {
public:
  TensorSource() = default;
  TensorSource(TensorSource const&) = delete;
  TensorSource& operator=(TensorSource const&) = delete;
  virtual ~TensorSource() = default;

  /// What messages name.
  virtual std::filesystem::path const& folder() const = 0;

  /// The tensor's whole shape and type; null when there is no such tensor.
  virtual TensorEntry const* find(TensorKind kind, std::string const& name) const = 0;

  /// Reads `part` of a tensor into host memory, row-major, converted to `dtype`. Throws DataError when a file is
  /// damaged, or there is no such tensor or part.
  virtual void read_slice(TensorKind kind, std::string const& name, Rectangle const& part, DType dtype, void* host) = 0;
};

}  // namespace jreg::store
