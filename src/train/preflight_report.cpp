#include "train/preflight_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace jreg::train::preflight {
namespace {

std::int64_t count(std::span<Check const> checks, Severity severity) {
  std::int64_t number = 0;
  for (Check const& check : checks) number += std::ranges::count(check.findings, severity, &Finding::severity);
  return number;
}

}  // namespace

ExitCode code_of(std::span<Check const> checks) {
  if (count(checks, Severity::change) > 0) return ExitCode::usage;
  return count(checks, Severity::retry) > 0 ? ExitCode::retry : ExitCode::done;
}

void Report::add(Check check) {
  checks_.push_back(std::move(check));
  if (!prints_) return;
  Check const& added = checks_.back();
  if (added.findings.empty()) log::info("ok: {}: {}", added.name, added.good);
  for (Finding const& finding : added.findings) {
    std::string const line = fmt::format("{}: {}", added.name, finding.text);
    if (finding.severity == Severity::warning) {
      log::warning("{}", line);
    } else {
      log::error(Error{code_of(checks_), line});
    }
  }
}

void Report::conclude() const {
  if (!prints_) return;
  std::int64_t const warnings = count(checks_, Severity::warning);
  switch (code()) {
    case ExitCode::done:
      log::info("preflight passed: {} checks, {} warning(s)", checks_.size(), warnings);
      break;
    case ExitCode::retry:
      log::info("preflight failed: a rank, host or link is bad; leave it out, or try again (exit code 75)");
      break;
    default:
      log::info("preflight failed: {} thing(s) to change (exit code 2)", count(checks_, Severity::change));
  }
}

std::string ranks_text(std::span<int const> ranks, std::span<std::string const> hosts) {
  constexpr std::size_t most_hosts = 8;
  std::vector<std::pair<std::string, std::vector<int>>> by_host;
  for (int const rank : ranks) {
    std::string const& host = hosts[static_cast<std::size_t>(rank)];
    auto at = std::ranges::find(by_host, host, [](auto const& entry) { return entry.first; });
    if (at == by_host.end()) at = by_host.insert(at, {host, {}});
    at->second.push_back(rank);
  }
  std::vector<std::string> parts;
  for (auto const& [host, own] : by_host) {
    if (parts.size() == most_hosts) {
      parts.push_back(fmt::format("and on {} more hosts", by_host.size() - most_hosts));
      break;
    }
    parts.push_back(fmt::format("rank{} {} on host {}", own.size() > 1 ? "s" : "", fmt::join(own, ", "), host));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::vector<int> odd_ranks(std::span<std::string const> values) {
  std::map<std::string, std::int64_t> votes;
  for (std::string const& value : values) ++votes[value];
  std::string const* usual = nullptr;
  for (std::string const& value : values) {
    if (usual == nullptr || votes[value] > votes[*usual]) usual = &value;
  }
  std::vector<int> odd;
  for (std::size_t rank = 0; rank < values.size(); ++rank) {
    if (values[rank] != *usual) odd.push_back(static_cast<int>(rank));
  }
  return odd;
}

std::string bytes_text(double bytes) {
  constexpr double giga = 1e9;
  constexpr double mega = 1e6;
  return bytes >= giga ? fmt::format("{:.3g} GB", bytes / giga) : fmt::format("{:.3g} MB", bytes / mega);
}

}  // namespace jreg::train::preflight
