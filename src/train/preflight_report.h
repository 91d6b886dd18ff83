#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/exit_code.h"

// jreg train --preflight: what can be found out about a launch before a long job runs under it.
namespace jreg::train::preflight {

/// What a finding asks for: nothing; something that the user changes; another start, or another host.
enum class Severity { warning, change, retry };

struct Finding {
  Severity severity = Severity::warning;
  std::string text;  // names rank and host, and what to change
};

/// One check: what was found wrong, or what to say where nothing was.
struct Check {
  std::string name;
  std::string good;
  std::vector<Finding> findings;

  void warn(std::string text) { findings.push_back({Severity::warning, std::move(text)}); }
  void change(std::string text) { findings.push_back({Severity::change, std::move(text)}); }
  void retry(std::string text) { findings.push_back({Severity::retry, std::move(text)}); }
};

/// 2 where something is to be changed, else 75 where another start may help, else 0: warnings alone are good.
ExitCode code_of(std::span<Check const> checks);

/// The checks so far; the first rank prints each as it is added.
class Report {
public:
  explicit Report(bool prints) : prints_{prints} {}

  void add(Check check);
  ExitCode code() const { return code_of(checks_); }
  /// The last line: whether the job can run.
  void conclude() const;

private:
  bool prints_;
  std::vector<Check> checks_;
};

/// "rank 2 on host n1", "ranks 2, 3 on host n1, rank 5 on host n2". `hosts` by rank. Of many hosts the first ones.
std::string ranks_text(std::span<int const> ranks, std::span<std::string const> hosts);

/// Ranks whose value is not the one that most ranks have; of values equally frequent the one of the lowest rank counts.
std::vector<int> odd_ranks(std::span<std::string const> values);

/// 1536000000 -> "1.54 GB"
std::string bytes_text(double bytes);

}  // namespace jreg::train::preflight
