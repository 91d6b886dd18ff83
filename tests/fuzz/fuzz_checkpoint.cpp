// A checkpoint folder: a whole one, whose manifest is edited and signed again, whose files are damaged and whose
// pointer says anything, as the input tells. What is read must be what was saved.
//
// Files whose hash is right but whose content is not HDF5's are left out: the library crashes on some, which is why
// readers check the hash first.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <map>

#include "fuzz/fuzz.h"
#include "store/checkpoint.h"
#include "store/describe.h"
#include "store/files.h"
#include "store/part_file.h"
#include "store/tensors.h"
#include "support/temporary_folder.h"

namespace jreg::fuzz {
namespace {

namespace fs = std::filesystem;
using store::Manifest;
using store::Rectangle;
using store::TensorEntry;

constexpr int ranks = 2;
constexpr std::int64_t step = 7;
constexpr std::int64_t layers = 3;

void write_file(fs::path const& path, std::string_view content) {
  std::ofstream{path, std::ios::binary}.write(content.data(), static_cast<std::streamsize>(content.size()));
}

/// The checkpoint as it was saved.
class Original {
public:
  Original() {
    fs::create_directories(folder());
    std::vector<test::Tensor> const tensors = test::tensors(ranks);
    for (test::Tensor const& tensor : tensors) {
      TensorEntry entry{tensor.name, tensor.kind, tensor.dtype, tensor.shape, {}};
      for (std::size_t p = 0; p < tensor.parts.size(); ++p) {
        if (!tensor.parts[p].empty()) entry.slices.push_back({file_of(p), tensor.parts[p]});
      }
      manifest.tensors.push_back(entry);
    }
    manifest.state = test::make_state(step);
    manifest.version = manifest.commit = "0";
    manifest.config_hash = store::hash_of("");
    for (int rank = 0; rank < ranks; ++rank) {
      test::RankSlices const mine = test::slices_of(rank, ranks);
      fs::path const file = folder() / store::part_name(rank);
      store::fill_part(file, store::create_part(file, rank, step, mine.slices), std::stop_token{});
      add(store::part_name(rank));
    }
    store::write_index(folder() / "index.h5", manifest, trajectory);
    add("index.h5");
  }

  fs::path const& run() const { return run_.path(); }
  fs::path folder() const { return store::checkpoint_folder(run(), step); }
  void restore(std::string const& name) const { write_file(folder() / name, contents_.at(name)); }
  std::string const& content(std::string const& name) const { return contents_.at(name); }

  Manifest manifest;
  store::Trajectory trajectory = test::make_trajectory(step, layers);

private:
  static std::string file_of(std::size_t part) { return store::part_name(static_cast<int>(part) % ranks); }
  void add(std::string const& name) {
    manifest.files.push_back(store::describe_file(folder(), name));
    contents_[name] = store::read_text(folder() / name, 1 << 24);
  }

  test::TemporaryFolder run_;
  std::map<std::string, std::string> contents_;
};

/// One input: edits of the manifest, perhaps a damaged file, a pointer.
class Trial {
public:
  Trial(Original const& original, FuzzedDataProvider& input)
      : original_{original}, input_{input}, manifest_{original.manifest} {}
  Trial(Trial const&) = delete;
  Trial& operator=(Trial const&) = delete;
  ~Trial() {
    if (!damaged_.empty()) original_.restore(damaged_);
  }

  void run() {
    int const edits = input_.ConsumeIntegralInRange(0, 6);
    for (int i = 0; i < edits; ++i) edit();
    if (input_.ConsumeBool()) damage();
    write_file(original_.folder() / "manifest.json", store::to_json(manifest_));
    write_file(original_.run() / "checkpoints" / "latest", pointer());
    bool const accepted = accepts([&] { read(); });
    auto const latest = store::find_latest(original_.run());
    must_hold(accepted ? latest == original_.folder() : !latest, "the newest checkpoint is the one that opens");
  }

private:
  template <class Item> Item& pick(std::vector<Item>& items) {
    return items[input_.ConsumeIntegralInRange<std::size_t>(0, items.size() - 1)];
  }
  std::int64_t number() {
    return input_.ConsumeBool() ? input_.ConsumeIntegralInRange<std::int64_t>(-2, 12)
                                : input_.ConsumeIntegral<std::int64_t>();
  }
  std::string pointer() {
    std::string const text = input_.ConsumeRemainingBytesAsString();
    return text.empty() ? original_.folder().filename().string() + "\n" : text;
  }

  void edit() {
    if (manifest_.tensors.empty()) return;
    if (input_.ConsumeBool()) {
      edit_slice(pick(manifest_.tensors));
    } else {
      edit_tensor(pick(manifest_.tensors));
    }
  }
  void edit_slice(TensorEntry& tensor) {
    if (tensor.slices.empty()) return;
    store::SliceEntry& slice = pick(tensor.slices);
    std::array const bounds{&slice.part.row_begin, &slice.part.row_end, &slice.part.column_begin,
                            &slice.part.column_end};
    switch (input_.ConsumeIntegralInRange(0, 3)) {
      case 0:
        *bounds[input_.ConsumeIntegralInRange<std::size_t>(0, 3)] = number();
        break;
      case 1:
        slice.file = pick(manifest_.files).name;
        break;
      case 2:
        tensor.slices.push_back(slice);
        break;
      default:
        std::swap(slice, tensor.slices.back());
        tensor.slices.pop_back();
    }
  }
  void edit_tensor(TensorEntry& tensor) {
    switch (input_.ConsumeIntegralInRange(0, 8)) {
      case 0:
        tensor.shape.rows = number();
        break;
      case 1:
        tensor.shape.columns = number();
        break;
      case 2:
        tensor.shape.vector = !tensor.shape.vector;
        break;
      case 3:
        tensor.dtype = input_.PickValueInArray({DType::f32, DType::bf16, DType::f64, DType::i64});
        break;
      case 4:
        tensor.name = input_.ConsumeBool() ? pick(manifest_.tensors).name : input_.ConsumeRandomLengthString(16);
        break;
      case 5:
        std::swap(tensor, manifest_.tensors.back());
        manifest_.tensors.pop_back();
        break;
      case 6:
        std::swap(pick(manifest_.files).hash, pick(manifest_.files).hash);
        break;
      case 7:
        manifest_.state.layers = number();
        manifest_.state.jump_gates.clear();
        break;
      default:
        manifest_.state.step = number();
    }
  }
  void damage() {
    damaged_ = pick(manifest_.files).name;
    std::string content = original_.content(damaged_);
    auto const at = input_.ConsumeIntegralInRange<std::size_t>(0, content.size() - 1);
    if (input_.ConsumeBool()) {
      content[at] = static_cast<char>(content[at] ^ (1 << input_.ConsumeIntegralInRange(0, 7)));
    } else {
      content.resize(at);
    }
    write_file(original_.folder() / damaged_, content);
  }

  void read() {
    store::CheckpointReader reader{original_.folder()};
    accepts([&] { store::describe(original_.folder(), store::FileKind::checkpoint_folder); });
    bool const whole = store::verify(original_.folder(), store::FileKind::checkpoint_folder).faults.empty();
    must_hold(!whole || damaged_.empty(), "a damaged file is named");
    for (TensorEntry const& tensor : reader.manifest().tensors) {
      accepts([&] { read_part(reader, tensor, Rectangle::whole(tensor.shape)); });
      accepts([&] { read_part(reader, tensor, {number(), number(), number(), number()}); });
    }
    accepts([&] {
      store::Trajectory const trajectory = reader.trajectory();
      must_hold(damaged_ != "index.h5", "a damaged index is not read");
      must_hold(test::same_trajectory(trajectory, original_.trajectory), "the trajectory is that of the checkpoint");
    });
  }
  void read_part(store::CheckpointReader& reader, TensorEntry const& tensor, Rectangle const& part) {
    constexpr std::int64_t most = 64;  // rows and columns; tensors are smaller
    bool const small =
        part.row_begin >= -most && part.row_end <= most && part.column_begin >= -most && part.column_end <= most;
    if (!small) return;
    std::vector<float> values(part.empty() ? 0 : static_cast<std::size_t>(part.rows() * part.columns()));
    reader.read_slice(tensor.kind, tensor.name, part, DType::f32, values.data());
    if (part.empty()) return;
    std::vector<test::Tensor> const saved = test::tensors(ranks);
    auto const found = std::ranges::find_if(
        saved, [&](test::Tensor const& one) { return one.kind == tensor.kind && one.name == tensor.name; });
    must_hold(found != saved.end(), "a tensor that was never saved is not read");
    auto const index = static_cast<std::size_t>(found - saved.begin());
    auto value = values.begin();
    for (std::int64_t row = part.row_begin; row < part.row_end; ++row) {
      for (std::int64_t column = part.column_begin; column < part.column_end; ++column) {
        must_hold(*value++ == test::element(index, row, column), "each element is the one that was saved");
      }
    }
  }

  Original const& original_;
  FuzzedDataProvider& input_;
  Manifest manifest_;
  std::string damaged_;
};

Original const& original() {
  static Original const checkpoint;
  return checkpoint;
}

}  // namespace
}  // namespace jreg::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  // Every refused checkpoint is worth a warning, here thousands a second; sanitizers write past this stream.
  stderr = std::fopen("/dev/null", "w");
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  FuzzedDataProvider input{data, size};
  jreg::fuzz::Trial{jreg::fuzz::original(), input}.run();
  return 0;
}
