// Runs two updates of tiny models on the same weights, then some AdamW steps with the last gradient, and writes what
// came out for check_parity.py, which describes the files. On any mesh:
//     mpirun -n 4 parity_dump FOLDER... --mesh.tensor 2 --mesh.sequence_parallel true --mesh.zero1 true
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/error.h"
#include "base/log.h"
#include "config/parse.h"
#include "config/validate.h"
#include "h5/dataset.h"
#include "h5/file.h"
#include "jump/penalty.h"
#include "jump/statistics.h"
#include "mesh/mesh.h"
#include "model/llama.h"
#include "mpi/session.h"
#include "optim/adamw.h"
#include "optim/gradient_norm.h"
#include "optim/gradient_reducer.h"
#include "optim/schedule.h"
#include "params/partition.h"
#include "params/store.h"

namespace {

using namespace jreg;
using backend::Tensor;

template <class T> std::vector<T> on_host(backend::Backend& backend, Tensor const& tensor) {
  expect(tensor.dtype == backend::dtype_of<T>() && tensor.contiguous(), "tensor is copied as the type it holds");
  std::vector<T> values(static_cast<std::size_t>(tensor.size()));
  backend.copy_to_host(values.data(), tensor.data, values.size() * sizeof(T));
  return values;
}

/// A tensor with memory of its own, zero at first.
struct OwnTensor {
  OwnTensor(backend::Backend& backend, DType dtype, std::int64_t rows, std::int64_t columns)
      : buffer{backend, static_cast<std::size_t>(rows * columns) * size_of(dtype)},
        view{buffer.data(), dtype, rows, columns} {
    std::vector<char> const zeros(buffer.bytes(), 0);
    backend.copy_from_host(buffer.data(), zeros.data(), zeros.size());
  }
  backend::Buffer buffer;
  Tensor view;
};

/// A whole array on every rank.
struct Whole {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<double> values = std::vector<double>(static_cast<std::size_t>(rows * columns), 0.0);

  double& at(std::int64_t row, std::int64_t column) { return values[static_cast<std::size_t>(row * columns + column)]; }
};

/// What an update computes before the optimizer.
struct Update {
  double loss = 0;  // mean cross entropy
  double jreg = 0;  // R
  jump::JumpStatistics statistics;
  std::vector<double> histogram;  // (L, bins)
  Whole logits;                   // (B * S, vocab)
  std::map<std::string, Whole> gradients;
};

struct Optimized {
  double gradient_norm = 0;
  std::map<std::string, Whole> weights;
};

/// One case's model on this rank's part of the mesh.
class Dump {
public:
  Dump(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend)
      : config_{config},
        backend_{backend},
        mesh_{world, backend, static_cast<int>(config.mesh.tensor), config.model.kv_heads,
              config.mesh.sequence_parallel},
        declared_{model::declare_parameters(config.model, mesh_.at(), config.mesh.sequence_parallel)},
        store_{backend, declared_.registry, DType::f32, true},
        per_rank_{config.train.global_batch / mesh_.at().data_size},
        micro_{config.train.micro_batch > 0 ? config.train.micro_batch : per_rank_},
        model_{config.model,
               declared_.index,
               {.sequence_length = config.train.sequence_length,
                .largest_micro_batch = micro_,
                .normed_final_state = config.jreg.final_state == "normed",
                .recompute = model::recompute_named(config.train.recompute)},
               backend,
               mesh_,
               store_},
        buckets_{params::make_buckets(store_.registry(), 1000, mesh_.at().data_size)},
        reducer_{store_, mesh_, buckets_, config.mesh.zero1},
        penalty_{config.jreg, config.model.layers},
        adamw_{config.optim, config.run.seed, backend, mesh_, store_, buckets_, config.mesh.zero1},
        norm_{backend, store_, mesh_, adamw_.owned(), config.mesh.zero1} {}

  /// Where the documents of each sequence begin, (B, S): see model::MicroBatch.
  void mask_documents(std::vector<std::int32_t> first) { first_ = std::move(first); }

  void load_weights(h5::File const& input) {
    for (std::size_t i = 0; i < store_.registry().all().size(); ++i) {
      params::Parameter const& p = store_.registry()[i];
      std::vector<float> whole(static_cast<std::size_t>(p.declared.rows * p.declared.columns));
      h5::read(h5::open_dataset(input.get(), "weights/" + p.declared.name), DType::f32, whole.data());
      std::vector<float> local(static_cast<std::size_t>(p.size()), 0.0F);
      for (std::int64_t row = p.row_begin; row < std::min(p.row_end, p.declared.rows); ++row) {
        std::copy_n(whole.begin() + row * p.declared.columns + p.column_begin, p.local_columns(),
                    local.begin() + (row - p.row_begin) * p.local_columns());
      }
      backend_.copy_from_host(store_.weight(i).data, local.data(), local.size() * sizeof(float));
    }
  }

  /// tokens (B, S + 1) of the whole batch.
  Update update(std::int64_t step, std::span<std::int32_t const> tokens);

  /// AdamW steps at the rates of the schedule, with the gradient that is there: clipped, then divided by 1, 2, 3, ...
  Optimized optimize(std::int64_t steps) {
    Optimized result;
    result.gradient_norm = norm_.measure();
    optim::Schedule const schedule{config_.optim, steps};
    double const scale = optim::clip_factor(result.gradient_norm, config_.optim.clip);
    for (std::int64_t step = 0; step < steps; ++step) {
      adamw_.step(schedule.at(step), scale / static_cast<double>(step + 1));
    }
    adamw_.gather().finish();
    Tensor const flat = store_.flat_weights({0, store_.registry().flat_size()});
    result.weights = joined(flat);
    for (params::Parameter const& p : store_.registry().all()) expect_same(p, flat, result.weights.at(p.declared.name));
    return result;
  }

private:
  void fill(Tensor const& inputs, Tensor const& targets, std::span<std::int32_t const> tokens,
            std::int64_t first) const;
  void add_logits(Whole& logits, std::int64_t first_token);
  std::map<std::string, Whole> joined(Tensor const& flat) const;
  void expect_same(params::Parameter const& p, Tensor const& flat, Whole const& whole) const;

  config::Config const& config_;
  backend::Backend& backend_;
  mesh::Mesh mesh_;
  model::DeclaredModel declared_;
  params::Store store_;
  std::int64_t per_rank_;  // sequences of an update on this data rank
  std::int64_t micro_;     // sequences of a micro-batch
  model::Llama model_;
  std::vector<params::Bucket> buckets_;
  optim::GradientReducer reducer_;
  jump::Penalty penalty_;
  optim::AdamW adamw_;
  optim::GradientNorm norm_;
  std::vector<std::int32_t> first_;  // (B, S), or empty
};

/// Sequences [first, first + micro_) of the batch as inputs and targets.
void Dump::fill(Tensor const& inputs, Tensor const& targets, std::span<std::int32_t const> tokens,
                std::int64_t first) const {
  std::int64_t const length = config_.train.sequence_length;
  auto const bytes = static_cast<std::size_t>(length) * sizeof(std::int32_t);
  for (std::int64_t row = 0; row < micro_; ++row) {
    std::int32_t const* const from = tokens.data() + (first + row) * (length + 1);
    backend_.copy_from_host(inputs.as<std::int32_t>() + row * length, from, bytes);
    backend_.copy_from_host(targets.as<std::int32_t>() + row * length, from + 1, bytes);
  }
}

/// Adds this rank's tokens and columns of the last forward pass.
void Dump::add_logits(Whole& logits, std::int64_t first_token) {
  std::int64_t const tokens = micro_ * config_.train.sequence_length;
  OwnTensor const local{backend_, DType::f32, tokens, model_.dimensions().vocab_rows};
  model_.logits(local.view);
  std::vector<float> const values = on_host<float>(backend_, local.view);
  std::int64_t const first = store_.registry()[declared_.index.head].row_begin;
  std::int64_t const columns = std::min(local.view.columns, logits.columns - first);  // without padding
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t c = 0; c < columns; ++c) {
      logits.at(first_token + token, first + c) = values[static_cast<std::size_t>(token * local.view.columns + c)];
    }
  }
}

/// The whole tensors of a flat array, each element from the rank that would write it to a checkpoint.
std::map<std::string, Whole> Dump::joined(Tensor const& flat) const {
  std::vector<float> const values = on_host<float>(backend_, flat);
  std::map<std::string, Whole> result;
  for (params::Parameter const& p : store_.registry().all()) {
    result.emplace(p.declared.name, Whole{p.declared.rows, p.declared.columns});
  }
  for (params::RowPart const& part : adamw_.written()) {
    params::Parameter const& p = store_.registry()[part.parameter];
    Whole& whole = result.at(p.declared.name);
    for (std::int64_t i = 0; i < part.range.size(); ++i) {
      std::int64_t const row = part.row_begin + i / p.local_columns();
      if (row >= whole.rows) break;  // padding
      whole.at(row, p.column_begin + i % p.local_columns()) = values[static_cast<std::size_t>(part.range.begin + i)];
    }
  }
  for (auto& [name, whole] : result) mesh_.world().sum(whole.values);
  return result;
}

/// This rank's slice must have the very bits of the whole.
void Dump::expect_same(params::Parameter const& p, Tensor const& flat, Whole const& whole) const {
  std::vector<float> const values = on_host<float>(backend_, flat.column_range(p.offset, p.end()));
  for (std::int64_t i = 0; i < p.size(); ++i) {
    std::int64_t const row = p.row_begin + i / p.local_columns();
    if (row >= whole.rows) break;
    std::int64_t const column = p.column_begin + i % p.local_columns();
    expect_equal(static_cast<double>(values[static_cast<std::size_t>(i)]),
                 whole.values[static_cast<std::size_t>(row * whole.columns + column)], p.declared.name.c_str());
  }
}

Update Dump::update(std::int64_t step, std::span<std::int32_t const> tokens) {
  std::int64_t const length = config_.train.sequence_length;
  std::int64_t const layers = config_.model.layers;
  std::int64_t const count = config_.train.global_batch * length;
  OwnTensor const inputs{backend_, DType::i32, 1, micro_ * length};
  OwnTensor const targets{backend_, DType::i32, 1, micro_ * length};
  OwnTensor const begins{backend_, DType::i32, 1, micro_ * length};
  OwnTensor const loss{backend_, DType::f64, 1, 1};
  OwnTensor const sums{backend_, DType::f64, layers + 1, backend::angular_sums};
  OwnTensor const histogram{backend_, DType::i64, layers, jump::histogram_bins};
  std::vector<double> const coefficients =
      penalty_.active(step) ? penalty_.coefficients(step, count) : std::vector<double>{};
  Update result;
  result.logits = Whole{count, config_.model.vocab};

  Tensor const gradients = store_.flat_gradients({0, store_.registry().flat_size()});
  backend_.ops().zero(gradients);
  for (std::int64_t done = 0; done < per_rank_; done += micro_) {
    std::int64_t const first = mesh_.at().data * per_rank_ + done;
    bool const last = done + micro_ == per_rank_;
    fill(inputs.view, targets.view, tokens, first);
    model::MicroBatch micro{.tokens = inputs.view, .targets = targets.view, .first = {}, .sequences = micro_};
    if (!first_.empty()) {
      micro.first = begins.view;
      backend_.copy_from_host(begins.view.data, first_.data() + first * length,
                              static_cast<std::size_t>(begins.view.bytes()));
    }
    model_.forward(micro);
    model_.add_statistics(sums.view);
    model_.add_histograms(histogram.view);
    add_logits(result.logits, first * length);
    model_.loss_and_gradient(micro, loss.view, 1.0F / static_cast<float>(count));
    model::BackwardHooks hooks;
    if (last) {  // before, gradients still add up
      hooks = {[&](std::size_t unit) { reducer_.unit_done(unit); }, [&] { reducer_.progress(); }};
    }
    model_.backward(micro, coefficients, hooks);
  }
  reducer_.finish();
  mesh_.data().all_reduce(loss.view, backend::Reduction::sum);
  mesh_.tokens().all_reduce(sums.view, backend::Reduction::sum);
  mesh_.tokens().all_reduce(histogram.view, backend::Reduction::sum);
  mesh_.world().sum(result.logits.values);

  result.loss = on_host<double>(backend_, loss.view).front() / static_cast<double>(count);
  result.statistics = jump::statistics_of(on_host<double>(backend_, sums.view), layers);
  result.jreg = penalty_.value(result.statistics);
  auto const counts = on_host<std::int64_t>(backend_, histogram.view);
  result.histogram.assign(counts.begin(), counts.end());
  result.gradients = joined(gradients);
  if (!config_.mesh.zero1) {
    for (params::Parameter const& p : store_.registry().all()) {
      expect_same(p, gradients, result.gradients.at(p.declared.name));
    }
  }
  penalty_.observe(result.statistics);
  return result;
}

void write_values(hid_t at, std::string const& name, h5::Extents const& shape, std::vector<double> const& values) {
  h5::write(h5::create_dataset(at, name, DType::f64, shape), DType::f64, values.data());
}

void write_tensors(h5::Group const& group, std::map<std::string, Whole> const& tensors) {
  for (auto const& [name, whole] : tensors) {
    auto const rows = static_cast<hsize_t>(whole.rows);
    bool const vector = whole.columns == 1;
    write_values(group.get(), name, vector ? h5::Extents{rows} : h5::Extents{rows, static_cast<hsize_t>(whole.columns)},
                 whole.values);
  }
}

void write_update(h5::Group const& group, Update const& update) {
  hid_t const at = group.get();
  auto const vector = [&](char const* name, std::vector<double> const& values) {
    write_values(at, name, {values.size()}, values);
  };
  vector("loss", {update.loss});
  vector("jreg", {update.jreg});
  vector("displacement", update.statistics.displacement);
  vector("jump_rate", update.statistics.jump_rate);
  vector("angle", update.statistics.angle);
  vector("relative_update", update.statistics.relative_update);
  vector("cosine_std", update.statistics.cosine_std);
  vector("hidden_norm", update.statistics.hidden_norm);
  write_values(at, "histogram", {update.statistics.displacement.size(), static_cast<hsize_t>(jump::histogram_bins)},
               update.histogram);
  write_values(at, "logits", {static_cast<hsize_t>(update.logits.rows), static_cast<hsize_t>(update.logits.columns)},
               update.logits.values);
  write_tensors(h5::create_group(at, "gradients"), update.gradients);
}

void run_case(std::filesystem::path const& folder, config::Config const& config, mpi::Communicator const& world,
              backend::Backend& backend) {
  h5::File const input = h5::open_file(folder / "input.h5");
  h5::DataSet const data = h5::open_dataset(input.get(), "tokens");
  h5::Extents const shape = h5::shape_of(data);  // (updates, B, S + 1)
  std::vector<std::int32_t> tokens(shape.at(0) * shape.at(1) * shape.at(2));
  h5::read(data, DType::i32, tokens.data());

  Dump dump{config, world, backend};
  dump.load_weights(input);
  if (config.data.document_mask) {
    std::vector<std::int32_t> first(shape[1] * (shape[2] - 1));
    h5::read(h5::open_dataset(input.get(), "first"), DType::i32, first.data());
    dump.mask_documents(std::move(first));
  }
  std::size_t const batch = shape[1] * shape[2];
  std::vector<Update> updates;
  for (std::size_t step = 0; step < shape[0]; ++step) {
    updates.push_back(dump.update(static_cast<std::int64_t>(step), std::span{tokens}.subspan(step * batch, batch)));
  }
  Optimized const optimized = dump.optimize(config.train.steps);
  if (world.rank() != 0) return;

  h5::File const output = h5::create_file(folder / "output.h5");
  for (std::size_t step = 0; step < updates.size(); ++step) {
    write_update(h5::create_group(output.get(), fmt::format("update_{}", step)), updates[step]);
  }
  h5::Group const group = h5::create_group(output.get(), "optimized");
  write_values(group.get(), "gradient_norm", {1}, {optimized.gradient_norm});
  write_tensors(h5::create_group(group.get(), "weights"), optimized.weights);
}

}  // namespace

int main(int argc, char** argv) {
  mpi::Session session{argc, argv};
  try {
    log::set_rank(session.rank(), session.size());
    mpi::Communicator const world = mpi::Communicator::duplicate(MPI_COMM_WORLD);
    std::vector<std::string> const arguments(argv + 1, argv + argc);
    config::Config asked;
    std::vector<std::string> const folders = config::parse_arguments(arguments, config::options_of(asked), true);
    auto const backend = backend::make_backend(asked.run.backend, world.split_node().rank(), asked.run.collective);
    for (std::string const& folder : folders) {
      config::Config config;
      auto const options = config::options_of(config);
      config::parse_file(std::filesystem::path{folder} / "config.cfg", options);
      config::parse_arguments(arguments, options, true);
      config::resolve(config);
      config::validate(config, world.size());
      run_case(folder, config, world, *backend);
    }
  } catch (std::exception const& error) {
    log::error(error);
    mpi::Session::abort(static_cast<int>(log::exit_code(error)));
  }
  return 0;
}
