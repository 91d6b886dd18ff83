// Compares this program's Llama with transformers' on folders of Hugging Face's that hold, beside the model,
// reference.safetensors: what transformers computed for some tokens (tools/make_hf_reference.py writes it). Returns 1
// where anything differs by more than its limit. On any number of ranks, which share each model's tensors:
//     mpirun -n 2 huggingface_parity FOLDER...
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/error.h"
#include "base/log.h"
#include "config/validate.h"
#include "jump/statistics.h"
#include "mesh/mesh.h"
#include "model/llama.h"
#include "mpi/session.h"
#include "params/store.h"
#include "store/model_files.h"
#include "store/safetensors.h"
#include "train/weights.h"

namespace {

using namespace jreg;
using backend::Tensor;

/// The largest differences allowed: absolute ones of logits and loss, of Psi 2e-5 relative + 1e-5 absolute, of zeta in
/// percent.
constexpr double logit_limit = 1e-4;
constexpr double loss_limit = 2e-5;
constexpr double psi_relative = 2e-5;
constexpr double psi_absolute = 1e-5;
constexpr double zeta_limit = 2e-3;

/// reference.safetensors: tokens (B, S + 1) I32, logits (B * S, vocab) F32, loss (1), displacement (L) and jump_rate
/// (L) F64.
class Reference {
public:
  explicit Reference(std::filesystem::path const& path)
      : path_{path},
        file_{store::open_descriptor(path, O_RDONLY)},
        header_{store::read_safetensors_header(file_, path)} {}

  store::SafetensorsEntry const& entry(std::string const& name) const {
    for (store::SafetensorsEntry const& tensor : header_.tensors) {
      if (tensor.name == name) return tensor;
    }
    throw DataError("{}: has no {}", path_.string(), name);
  }
  template <class T> std::vector<T> read(std::string const& name) const {
    store::SafetensorsEntry const& tensor = entry(name);
    std::vector<T> values(static_cast<std::size_t>(tensor.end - tensor.begin) / sizeof(T));
    store::read_at(file_, header_.data_begin + tensor.begin, std::as_writable_bytes(std::span{values}), path_);
    return values;
  }

private:
  std::filesystem::path path_;
  store::Descriptor file_;
  store::SafetensorsHeader header_;
};

/// A tensor with memory of its own, zero at first.
struct OwnTensor {
  OwnTensor(backend::Backend& backend, DType dtype, std::int64_t rows, std::int64_t columns)
      : buffer{backend, static_cast<std::size_t>(rows * columns) * size_of(dtype)},
        view{buffer.data(), dtype, rows, columns} {
    backend.ops().zero(view);
  }
  backend::Buffer buffer;
  Tensor view;
};

template <class T> std::vector<T> on_host(backend::Backend& backend, Tensor const& tensor) {
  std::vector<T> values(static_cast<std::size_t>(tensor.size()));
  backend.copy_to_host(values.data(), tensor.data, values.size() * sizeof(T));
  return values;
}

struct Result {
  std::vector<float> logits;  // (T, vocab_rows) of this rank
  double loss = 0;            // mean
  jump::JumpStatistics statistics;
};

/// A model on all ranks, which hold slices of it.
class Model {
public:
  Model(std::filesystem::path const& folder, std::int64_t sequences, std::int64_t length,
        mpi::Communicator const& world, backend::Backend& backend)
      : files_{store::open_model(folder)},
        backend_{backend},
        mesh_{world, backend, world.size(), files_.config.model.kv_heads, false},
        declared_{model::declare_parameters(files_.config.model, mesh_.at(), false)},
        store_{backend, declared_.registry, DType::f32, false},
        sequences_{sequences},
        length_{length},
        llama_{files_.config.model,
               declared_.index,
               {.sequence_length = length, .largest_micro_batch = sequences, .with_backward = false},
               backend,
               mesh_,
               store_} {
    train::load_weights(*files_.tensors, store_.registry(), [&](params::Range range, float const* values) {
      backend.copy_from_host(store_.flat_weights(range).data, values,
                             static_cast<std::size_t>(range.size()) * sizeof(float));
    });
  }

  Result run(std::vector<std::int32_t> const& tokens) {
    std::int64_t const count = sequences_ * length_;
    OwnTensor const inputs{backend_, DType::i32, 1, count};
    OwnTensor const targets{backend_, DType::i32, 1, count};
    auto const bytes = static_cast<std::size_t>(length_) * sizeof(std::int32_t);
    for (std::int64_t row = 0; row < sequences_; ++row) {
      std::int32_t const* const from = tokens.data() + row * (length_ + 1);
      backend_.copy_from_host(inputs.view.as<std::int32_t>() + row * length_, from, bytes);
      backend_.copy_from_host(targets.view.as<std::int32_t>() + row * length_, from + 1, bytes);
    }
    model::MicroBatch const batch{.tokens = inputs.view, .targets = targets.view, .first = {}, .sequences = sequences_};
    llama_.forward(batch);
    OwnTensor const logits{backend_, DType::f32, count, llama_.dimensions().vocab_rows};
    llama_.logits(logits.view);
    std::int64_t const layers = files_.config.model.layers;
    OwnTensor const sums{backend_, DType::f64, layers + 1, backend::angular_sums};
    llama_.add_statistics(sums.view);
    OwnTensor const loss{backend_, DType::f64, 1, 1};
    llama_.loss(batch, loss.view);
    return {on_host<float>(backend_, logits.view), on_host<double>(backend_, loss.view)[0] / static_cast<double>(count),
            jump::statistics_of(on_host<double>(backend_, sums.view), layers)};
  }

  std::int64_t vocab() const { return files_.config.model.vocab; }
  std::int64_t first_row() const { return store_.registry()[declared_.index.head].row_begin; }
  std::int64_t rows() const { return llama_.dimensions().vocab_rows; }

private:
  store::ModelFiles files_;
  backend::Backend& backend_;
  mesh::Mesh mesh_;
  model::DeclaredModel declared_;
  params::Store store_;
  std::int64_t sequences_;
  std::int64_t length_;
  model::Llama llama_;
};

/// The largest difference of this rank's logits.
double compare_logits(Model const& model, std::vector<float> const& ours, std::vector<float> const& reference) {
  double largest = 0;
  std::int64_t const columns = std::min(model.rows(), model.vocab() - model.first_row());  // without padding
  std::int64_t const tokens = std::ssize(reference) / model.vocab();
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t c = 0; c < columns; ++c) {
      double const difference = static_cast<double>(ours[static_cast<std::size_t>(token * model.rows() + c)]) -
                                reference[static_cast<std::size_t>(token * model.vocab() + model.first_row() + c)];
      largest = std::isnan(difference) ? INFINITY : std::max(largest, std::abs(difference));
    }
  }
  return largest;
}

bool check(std::filesystem::path const& folder, mpi::Communicator const& world, backend::Backend& backend) {
  Reference const reference{folder / "reference.safetensors"};
  std::vector<std::int64_t> const shape = reference.entry("tokens").shape;
  Model model{folder, shape.at(0), shape.at(1) - 1, world, backend};
  Result const ours = model.run(reference.read<std::int32_t>("tokens"));
  auto const logits = reference.read<float>("logits");
  expect_equal(std::ssize(logits), shape[0] * (shape[1] - 1) * model.vocab(), "logits of the reference");
  double logit_difference = compare_logits(model, ours.logits, logits);
  world.max(std::span{&logit_difference, 1});
  double const loss = reference.read<double>("loss").at(0);
  auto const psi = reference.read<double>("displacement");
  auto const zeta = reference.read<double>("jump_rate");
  expect_equal(psi.size(), ours.statistics.displacement.size(), "layers of the reference");
  double psi_excess = 0;  // in parts of what is allowed
  double zeta_difference = 0;
  for (std::size_t l = 0; l < psi.size(); ++l) {
    double const allowed = psi_relative * psi[l] + psi_absolute;
    psi_excess = std::max(psi_excess, std::abs(ours.statistics.displacement[l] - psi[l]) / allowed);
    if (l > 0) zeta_difference = std::max(zeta_difference, std::abs(ours.statistics.jump_rate[l] - zeta[l]));
  }
  double const loss_difference = std::abs(ours.loss - loss);
  bool const good = logit_difference <= logit_limit && loss_difference <= loss_limit && psi_excess <= 1 &&
                    zeta_difference <= zeta_limit;
  if (world.rank() == 0) {
    fmt::print(
        "{}: {}; |logits| to {:.2f}, differ by {:.1e}; loss {:.6f} by {:.1e}; Psi_L {:.6f}, all by {:.3f} of "
        "what is allowed; zeta_L {:.4f}, all by {:.1e}\n",
        folder.string(), good ? "equal" : "DIFFERS",
        std::abs(*std::ranges::max_element(logits, {}, [](float x) { return std::abs(x); })), logit_difference, loss,
        loss_difference, psi.back(), psi_excess, zeta.back(), zeta_difference);
  }
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  mpi::Session session{argc, argv};
  bool good = argc > 1;
  try {
    log::set_rank(session.rank(), session.size());
    mpi::Communicator const world = mpi::Communicator::duplicate(MPI_COMM_WORLD);
    auto const backend = backend::make_backend("cpu", 0);
    for (int i = 1; i < argc; ++i) good = check(argv[i], world, *backend) && good;
  } catch (std::exception const& error) {
    log::error(error);
    mpi::Session::abort(static_cast<int>(log::exit_code(error)));
  }
  return good ? 0 : 1;
}
