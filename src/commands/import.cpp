#include "commands/import.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "commands/interruption.h"
#include "config/parse.h"
#include "data/mapped_file.h"
#include "mpi/session.h"
#include "store/huggingface_folder.h"
#include "store/output_folder.h"
#include "store/pending_save.h"
#include "train/checkpointing.h"

namespace jreg::commands {
namespace fs = std::filesystem;
namespace {

ImportOptions parse_options(std::vector<std::string> const& arguments) {
  ImportOptions options;
  config::parse_arguments(arguments, config::options_of(options), false);
  if (options.input.empty()) throw UserError("--input: name a folder with config.json and safetensors");
  if (options.output.empty()) throw UserError("--output: name the checkpoint folder to make");
  std::string const name = fs::path{options.output}.lexically_normal().filename().string();
  if (name.starts_with("step_") && name != "step_00000000") {
    throw UserError("--output {}: such a name tells a step, and imported weights are of step 0; choose another name",
                    options.output);
  }
  return options;
}

/// Whether a folder is what this command writes.
bool is_import(fs::path const& folder) {
  std::error_code error;
  return fs::exists(folder / "manifest.json", error) && store::CheckpointReader{folder}.state().weights_only;
}

/// The tensors as they lie in the files, which are mapped; half precision, which checkpoints do not have, in memory.
class Slices {
public:
  explicit Slices(store::HuggingFaceFolder& folder) {
    for (auto const& [name, tensor] : folder.tensors()) {
      store::Rectangle const whole = store::Rectangle::whole(tensor.entry.shape);
      slices_.push_back(
          {name, store::TensorKind::weight, tensor.entry.dtype, tensor.entry.shape, whole,
           tensor.type == store::StoredType::f16 ? widened(folder, name, whole) : mapped(folder, tensor)});
      parameters_ += whole.rows() * whole.columns();
    }
  }
  std::span<store::SavedSlice const> all() const { return slices_; }
  std::int64_t parameters() const { return parameters_; }

private:
  void const* mapped(store::HuggingFaceFolder const& folder, store::StoredTensor const& tensor) {
    fs::path const path = folder.path_of(tensor);
    auto const file = files_.try_emplace(path, path).first;
    return file->second.bytes().data() + tensor.offset;
  }
  void const* widened(store::HuggingFaceFolder& folder, std::string const& name, store::Rectangle const& whole) {
    std::vector<float>& values = floats_[name];
    values.resize(static_cast<std::size_t>(whole.rows() * whole.columns()));
    folder.read_slice(store::TensorKind::weight, name, whole, DType::f32, values.data());
    return values.data();
  }

  std::map<fs::path, data::MappedFile> files_;
  std::map<std::string, std::vector<float>> floats_;
  std::vector<store::SavedSlice> slices_;
  std::int64_t parameters_ = 0;
};

store::State state_of(config::Config const& config, std::string const& origin) {
  std::int64_t const layers = config.model.layers;
  return {.jump_gates = std::vector<std::int64_t>(static_cast<std::size_t>(layers), 0),
          .layers = layers,
          .run_id = fmt::format("{:016x}", stable_hash(origin)),
          .weights_only = true,
          .config = train::key_values(config)};
}

void run(ImportOptions const& options, mpi::Communicator const& self) {
  Interruption const interruption;
  store::HuggingFaceFolder folder{options.input};
  store::OutputFolder output{"--output", options.output, options.overwrite, is_import};
  Slices const slices{folder};
  store::Trajectory const nothing{folder.config().model.layers};
  store::State const state =
      state_of(folder.config(), fmt::format("import {}", fs::weakly_canonical(options.input).string()));
  store::PendingSave save{self, output.temporary(), state, slices.all(), {}};
  while (save.busy()) {  // left by an exception it gives up
    Interruption::check();
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }
  store::SaveReport const report = save.finish(&nothing);
  output.commit(report.folder);
  fmt::print("folder={} source={} parameters={} tensors={} bytes={}\n", output.path().string(), options.input,
             slices.parameters(), slices.all().size(), report.bytes);
}

}  // namespace

int import_model(std::vector<std::string> const& arguments) {
  if (mpi::launched_ranks() > 1) {
    if (mpi::launched_rank() == 0) {
      throw UserError("jreg import runs on one process, not on the {} of this launch", mpi::launched_ranks());
    }
    // Launchers end all ranks as soon as one has left: the first one tells before that.
    std::this_thread::sleep_for(std::chrono::seconds{5});
    return static_cast<int>(ExitCode::usage);
  }
  ImportOptions const options = parse_options(arguments);
  int argc = 0;
  char** argv = nullptr;
  mpi::Session session{argc, argv};
  try {
    mpi::Communicator const self = mpi::Communicator::duplicate(MPI_COMM_SELF);
    run_interruptibly([&] { run(options, self); });
  } catch (std::exception const& error) {
    log::error(error);
    ExitCode const code = log::exit_code(error);
    // After a failed write a normal exit crashes inside HDF5.
    if (code == ExitCode::io) mpi::Session::abort(static_cast<int>(code));
    return static_cast<int>(code);
  }
  return static_cast<int>(ExitCode::done);
}

std::string import_help() {
  ImportOptions options;
  return "jreg import --input FOLDER --output FOLDER [options]\n"
         "Turns a Llama in Hugging Face's format into a checkpoint folder of weights only: for jreg train --init, "
         "which\n"
         "also reads the format itself, and for all that reads checkpoints. Types of tensors stay as they are; half\n"
         "precision becomes fp32.\n\n" +
         config::help_text(config::options_of(options));
}

}  // namespace jreg::commands
