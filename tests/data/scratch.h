#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace jreg::data {

/// A folder of this test alone, removed with the object.
class Scratch {
public:
  Scratch() {
    auto const* const test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() /
            (std::string{"jreg-"} + test->test_suite_name() + "-" + test->name() + "-" + std::to_string(::getpid()));
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  Scratch(Scratch const&) = delete;
  Scratch& operator=(Scratch const&) = delete;
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string operator/(std::string const& name) const { return (path_ / name).string(); }
  std::filesystem::path const& path() const noexcept { return path_; }
  /// Writes a file below the folder and returns its path.
  std::string write(std::string const& name, std::string const& content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream{path_ / name, std::ios::binary} << content;
    return *this / name;
  }
  /// Number of entries in the folder.
  std::ptrdiff_t entries() const { return std::distance(std::filesystem::directory_iterator{path_}, {}); }

private:
  std::filesystem::path path_;
};

inline std::string read_text(std::string const& path) {
  std::ifstream stream{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{stream}, {}};
}

/// Runs `action`, which must throw `Expected`, and returns the text of the error.
template <class Expected, class Action> std::string message_of(Action&& action) {
  try {
    action();
  } catch (Expected const& error) {
    return error.what();
  }
  ADD_FAILURE() << "no such error was thrown";
  return {};
}

}  // namespace jreg::data
