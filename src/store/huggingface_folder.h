#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "config/config.h"
#include "store/elements.h"
#include "store/safetensors.h"
#include "store/tensor_source.h"

namespace jreg::store {

/// Where the elements of a whole tensor lie in a file, row-major.
struct StoredTensor {
  TensorEntry entry;  // of the one slice in `slices`; its type is f32 also for half precision, which f32 holds exactly
  StoredType type = StoredType::f32;
  std::int64_t offset = 0;  // in bytes, from the beginning of the file
};

/// A folder as transformers' save_pretrained leaves it: config.json and model.safetensors, or the shards that
/// model.safetensors.index.json names. Holds weights only; reads no more than what it is asked for. Not collective.
class HuggingFaceFolder : public TensorSource {
public:
  /// Reads config.json and the headers. Throws UserError where files are not there, DataError naming file and key or
  /// tensor where they are malformed, are no Llama, or do not hold exactly the model's tensors.
  explicit HuggingFaceFolder(std::filesystem::path folder);

  std::filesystem::path const& folder() const override { return folder_; }
  /// See parse_huggingface_config().
  config::Config const& config() const noexcept { return config_; }
  TensorEntry const* find(TensorKind kind, std::string const& name) const override;
  /// `dtype` is f32 or bf16.
  void read_slice(TensorKind kind, std::string const& name, Rectangle const& part, DType dtype, void* host) override;

  /// The model's tensors by name.
  std::map<std::string, StoredTensor> const& tensors() const noexcept { return tensors_; }
  std::filesystem::path path_of(StoredTensor const& tensor) const { return folder_ / tensor.entry.slices[0].file; }

private:
  void read_headers();
  void add(SafetensorsEntry const& tensor, std::int64_t data_begin, std::string const& file);
  void check_tensors();
  void check_tied_head();

  std::filesystem::path folder_;
  config::Config config_;
  std::map<std::string, StoredTensor> tensors_;
  std::map<std::string, Descriptor> files_;  // open, by name
};

/// The files that model.safetensors.index.json places tensors in, by tensor. Throws DataError "<file>: ..." for
/// anything else, and for names that are no plain file names in the same folder.
std::map<std::string, std::string> parse_safetensors_index(std::string_view text, std::string const& file);

}  // namespace jreg::store
