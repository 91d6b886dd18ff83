#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "store/checkpoint.h"
#include "store/checkpoint_fixture.h"
#include "store/describe.h"
#include "store/tensors.h"

// Under mpirun with 1, 2 and 4 ranks.
namespace jreg::store {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;

using Checkpoint = test::CheckpointTest;

void write_file(fs::path const& file, std::string const& text) {
  std::ofstream{file, std::ios::binary} << text;
}

std::string read_file(fs::path const& file) {
  std::ifstream stream{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{stream}, {}};
}

/// Flips one bit in the middle of a file.
void damage(fs::path const& file) {
  std::string text = read_file(file);
  text[text.size() / 2] ^= 4;
  write_file(file, text);
}

TEST_F(Checkpoint, GivesBackAnyRectangleOfAnyTensor) {
  SaveReport const report = save_step(12);
  EXPECT_EQ(report.folder, step_folder(12));
  EXPECT_GT(report.bytes, 1000);
  CheckpointReader reader{report.folder};
  std::vector<test::Tensor> const all = test::tensors(comm_.size());
  for (std::size_t t = 0; t < all.size(); ++t) {
    TensorEntry const* const entry = reader.find(all[t].kind, all[t].name);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->shape, all[t].shape);
    EXPECT_EQ(entry->dtype, all[t].dtype);
    for (std::int64_t row = 0; row < all[t].shape.rows; ++row) {
      // From each row to the end, without the first column where there are several.
      std::int64_t const first = all[t].shape.columns > 1 ? 1 : 0;
      Rectangle const part{row, all[t].shape.rows, first, all[t].shape.columns};
      std::vector<float> values(static_cast<std::size_t>(part.rows() * part.columns()), -1);
      reader.read_slice(all[t].kind, all[t].name, part, DType::f32, values.data());
      for (std::size_t i = 0; i < values.size(); ++i) {
        auto const at = static_cast<std::int64_t>(i);
        ASSERT_EQ(values[i], test::element(t, row + at / part.columns(), first + at % part.columns()))
            << all[t].name << " row " << row << " element " << i;
      }
    }
  }
}

TEST_F(Checkpoint, ConvertsElementsWhileReading) {
  save_step(12);
  CheckpointReader reader{step_folder(12)};
  std::vector<bfloat16> narrow(5);
  reader.read_slice(TensorKind::weight, "model.norm.weight", {0, 5, 0, 1}, DType::bf16, narrow.data());
  for (std::int64_t i = 0; i < 5; ++i) EXPECT_EQ(to_float(narrow[static_cast<std::size_t>(i)]), test::element(2, i, 0));
}

TEST_F(Checkpoint, KeepsStateAndTrajectory) {
  save_step(12);
  CheckpointReader reader{step_folder(12)};
  State const expected = test::make_state(12);
  State const& found = reader.state();
  EXPECT_EQ(found.step, 12);
  EXPECT_EQ(found.tokens, expected.tokens);
  EXPECT_EQ(found.sampler_position, expected.sampler_position);
  EXPECT_EQ(found.adamw_steps, expected.adamw_steps);
  EXPECT_EQ(found.skipped_updates, expected.skipped_updates);
  EXPECT_EQ(found.jump_gates, expected.jump_gates);
  EXPECT_EQ(found.layers, expected.layers);
  EXPECT_EQ(found.data_ranks, expected.data_ranks);
  EXPECT_EQ(found.tensor_ranks, expected.tensor_ranks);
  EXPECT_EQ(found.zero1, expected.zero1);
  EXPECT_EQ(found.run_id, expected.run_id);
  EXPECT_EQ(found.config, expected.config);
  EXPECT_TRUE(test::same_trajectory(reader.trajectory(), test::make_trajectory(12, 3)));
}

TEST_F(Checkpoint, RefusesTensorsAndPartsThatAreNotThere) {
  save_step(12);
  CheckpointReader reader{step_folder(12)};
  std::vector<float> values(100);
  EXPECT_THROW(reader.read_slice(TensorKind::weight, "absent", {0, 1, 0, 1}, DType::f32, values.data()), DataError);
  EXPECT_THROW(reader.read_slice(TensorKind::moment1, "lm_head.weight", {0, 1, 0, 1}, DType::f32, values.data()),
               DataError);
  EXPECT_THROW(reader.read_slice(TensorKind::weight, "model.norm.weight", {0, 6, 0, 1}, DType::f32, values.data()),
               DataError);
  EXPECT_THROW(CheckpointReader{step_folder(13)}, UserError);
}

TEST_F(Checkpoint, KeepsTheNewestAndThePointer) {
  for (std::int64_t const step : {10, 20, 30, 40}) save_step(step, 2);
  if (comm_.rank() == 0) {
    EXPECT_EQ(names_in_checkpoints(), (std::vector<std::string>{"latest", "step_00000030", "step_00000040"}));
    EXPECT_EQ(find_latest(run_), step_folder(40));
    EXPECT_EQ(read_file(run_ / "checkpoints" / "latest"), "step_00000040\n");
  }
}

TEST_F(Checkpoint, ADamagedFolderDoesNotCountAsKept) {
  for (std::int64_t const step : {10, 20, 30}) save_step(step);
  if (comm_.rank() == 0) fs::resize_file(step_folder(20) / "index.h5", 100);
  save_step(40, 3);
  if (comm_.rank() == 0) {
    EXPECT_EQ(list_checkpoints(run_).size(), 4U);
    EXPECT_NO_THROW(test::load_all(step_folder(10)));
  }
}

TEST_F(Checkpoint, StepsThatTheRunWentBackBehindAreLeftAlone) {
  for (std::int64_t const step : {10, 50, 20, 30}) save_step(step, 1);
  if (comm_.rank() == 0) {
    EXPECT_EQ(names_in_checkpoints(), (std::vector<std::string>{"latest", "step_00000030", "step_00000050"}));
    EXPECT_EQ(find_latest(run_), step_folder(30));
  }
}

TEST_F(Checkpoint, SavingAStepAgainReplacesIt) {
  save_step(10);
  save_step(10);
  if (comm_.rank() == 0) {
    EXPECT_EQ(names_in_checkpoints(), (std::vector<std::string>{"latest", "step_00000010"}));
    EXPECT_NO_THROW(test::load_all(step_folder(10)));
  }
}

TEST_F(Checkpoint, WhatAKilledSaveLeftIsNeitherTakenNorKept) {
  save_step(10);
  if (comm_.rank() == 0) {
    for (char const* const name : {"step_00000020.tmp-77", ".trash-step_00000005"}) {
      fs::copy(step_folder(10), run_ / "checkpoints" / name);
    }
    fs::remove(run_ / "checkpoints" / "latest");
    EXPECT_EQ(find_latest(run_), step_folder(10));
  }
  comm_.barrier();
  save_step(30);
  if (comm_.rank() == 0) {
    EXPECT_EQ(names_in_checkpoints(), (std::vector<std::string>{"latest", "step_00000010", "step_00000030"}));
  }
}

TEST_F(Checkpoint, HolesAndOverlapsAreFaultsOfTheProgramOnAllRanks) {
  Trajectory const trajectory{3};
  std::vector<float> const values(16);
  auto const attempt = [&](std::vector<Rectangle> const& parts) {
    std::vector<SavedSlice> slices;
    for (Rectangle const& part : parts) {
      if (comm_.rank() == 0) {
        slices.push_back({"x", TensorKind::weight, DType::f32, Shape::of_matrix(2, 4), part, values.data()});
      }
    }
    try {
      save(comm_, run_, test::make_state(10), &trajectory, slices, 0);
      return ExitCode::done;
    } catch (Error const& error) {
      return error.code();
    }
  };
  EXPECT_EQ(attempt({{0, 1, 0, 4}}), ExitCode::internal);
  EXPECT_EQ(attempt({{0, 2, 0, 4}, {1, 2, 0, 1}}), ExitCode::internal);
  EXPECT_EQ(attempt({{0, 2, 0, 3}, {0, 1, 2, 4}}), ExitCode::internal);
  EXPECT_EQ(attempt({{0, 2, 0, 5}}), ExitCode::internal);
  EXPECT_EQ(attempt({{0, 2, 0, 4}, {1, 1, 0, 4}}), ExitCode::done);
}

TEST_F(Checkpoint, DamageIsNamedBeforeHdf5SeesTheFile) {
  save_step(10);
  save_step(20);
  if (comm_.rank() != 0) return;
  fs::path const folder = step_folder(20);
  auto const expect_named = [&](std::string const& name, auto const& change, std::string const& what) {
    fs::path const kept = run_ / "kept";
    fs::copy_file(folder / name, kept);
    change(folder / name);
    EXPECT_THAT([&] { test::load_all(folder); },
                ThrowsMessage<DataError>(testing::AllOf(HasSubstr(name), HasSubstr(what))));
    fs::remove(folder / name);
    fs::rename(kept, folder / name);
  };
  for (std::string const name : {"rank_00000.h5", "index.h5", "manifest.json"}) {
    expect_named(
        name, [](fs::path const& file) { damage(file); }, name == "manifest.json" ? "hash" : "hash of");
    expect_named(
        name, [](fs::path const& file) { fs::resize_file(file, fs::file_size(file) - 1); }, name);
    expect_named(
        name, [](fs::path const& file) { fs::resize_file(file, 0); }, name);
    expect_named(
        name, [](fs::path const& file) { fs::remove(file); }, "is missing");
    expect_named(
        name,
        [&](fs::path const& file) {
          fs::copy_file(step_folder(10) / file.filename(), file, fs::copy_options::overwrite_existing);
        },
        name);
  }
  EXPECT_NO_THROW(test::load_all(folder));
}

TEST_F(Checkpoint, InfoTellsWhatItIsAndVerifyNamesEachDamagedFile) {
  save_step(10);
  save_step(20);
  if (comm_.rank() != 0) return;
  fs::path const folder = step_folder(20);
  EXPECT_EQ(kind_of(folder), FileKind::checkpoint_folder);
  EXPECT_EQ(kind_of(run_), FileKind::run_folder);
  EXPECT_EQ(kind_of(folder / "rank_00000.h5"), FileKind::checkpoint_file);
  EXPECT_THAT(describe(folder, FileKind::checkpoint_folder),
              testing::AllOf(HasSubstr("20\n"), HasSubstr("40960"), HasSubstr("2 data x 1 tensor ranks"),
                             HasSubstr("114 in 4 tensors; 6 tensors"), HasSubstr("rank_00000.h5")));
  std::size_t const files = static_cast<std::size_t>(comm_.size()) + 2;
  EXPECT_THAT(verify(folder, FileKind::checkpoint_folder).good, testing::SizeIs(files));
  EXPECT_THAT(verify(run_, FileKind::run_folder).good, testing::SizeIs(2 * files));
  damage(folder / "rank_00000.h5");
  fs::remove(folder / "index.h5");
  EXPECT_THAT(
      verify(run_, FileKind::run_folder).faults,
      testing::UnorderedElementsAre(HasSubstr("step_00000020/rank_00000.h5"), HasSubstr("step_00000020/index.h5")));
  EXPECT_THAT(verify(folder / "rank_00000.h5", FileKind::checkpoint_file).faults, testing::SizeIs(1));
  EXPECT_THAT(verify(folder / "manifest.json", FileKind::checkpoint_file).faults, testing::IsEmpty());
}

TEST_F(Checkpoint, APointerThatHelpsNotIsPassedOver) {
  save_step(10);
  save_step(20);
  if (comm_.rank() != 0) return;
  fs::path const pointer = run_ / "checkpoints" / "latest";
  for (std::string const text : {"", "garbage", "../step_00000010", "step_00000099\n", "step_000000x0",
                                 "\xff\xfe\n\n\n", "step_99999999999999999999999"}) {
    write_file(pointer, text);
    EXPECT_EQ(find_latest(run_), step_folder(20)) << text;
  }
  write_file(pointer, "step_00000010\n");
  EXPECT_EQ(find_latest(run_), step_folder(10));
  fs::remove(pointer);
  EXPECT_EQ(find_latest(run_), step_folder(20));
  write_file(step_folder(20) / "manifest.json", "{}");
  EXPECT_EQ(find_latest(run_), step_folder(10));
  fs::remove_all(step_folder(10));
  EXPECT_EQ(find_latest(run_), std::nullopt);
  EXPECT_EQ(find_latest(run_ / "absent"), std::nullopt);
}

}  // namespace
}  // namespace jreg::store
