#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "store/checkpoint.h"
#include "store/tensors.h"
#include "support/temporary_folder.h"

namespace jreg::test {

/// Reads everything; throws what loading throws.
inline void load_all(std::filesystem::path const& folder) {
  store::CheckpointReader reader{folder};
  reader.trajectory();
  for (store::TensorEntry const& tensor : reader.manifest().tensors) {
    std::vector<float> values(static_cast<std::size_t>(tensor.shape.rows * tensor.shape.columns));
    reader.read_slice(tensor.kind, tensor.name, Rectangle::whole(tensor.shape), DType::f32, values.data());
  }
}

/// Tests of all ranks on one run folder.
class CheckpointTest : public ::testing::Test {
protected:
  CheckpointTest() {
    std::string path;
    if (comm_.rank() == 0) {
      folder_ = std::make_unique<TemporaryFolder>();
      path = folder_->path().string();
    }
    comm_.broadcast(path, 0);
    run_ = path;
  }
  // The first rank removes the folder, when all are done with it.
  ~CheckpointTest() override { comm_.barrier(); }

  store::SaveReport save_step(std::int64_t step, store::Retention const& retention = {}, bool weights_only = false) {
    RankSlices mine = slices_of(comm_.rank(), comm_.size());
    if (weights_only) {
      std::erase_if(mine.slices, [](store::SavedSlice const& slice) { return slice.kind != TensorKind::weight; });
    }
    store::State state = make_state(step);
    state.weights_only = weights_only;
    store::Trajectory const trajectory = make_trajectory(step, 3);
    return store::save(comm_, run_, state, comm_.rank() == 0 ? &trajectory : nullptr, mine.slices, retention);
  }

  std::filesystem::path step_folder(std::int64_t step) const { return store::checkpoint_folder(run_, step); }

  std::vector<std::string> names_in_checkpoints() const {
    std::vector<std::string> names;
    for (auto const& entry : std::filesystem::directory_iterator{run_ / "checkpoints"})
      names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }

  mpi::Communicator comm_ = mpi::Communicator::duplicate(MPI_COMM_WORLD);
  std::unique_ptr<TemporaryFolder> folder_;
  std::filesystem::path run_;
};

}  // namespace jreg::test
