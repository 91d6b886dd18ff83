#include "plan/timeline.h"

#include <algorithm>

#include "base/error.h"

namespace jreg::plan {
namespace {

using backend::CollectiveKind;
using backend::rehearsal::Finish;
using backend::rehearsal::Group;
using backend::rehearsal::Operation;
using backend::rehearsal::Transfer;
using backend::rehearsal::Work;

/// The term of that name and kind, or the end.
template <class Terms> auto find_term(Terms& terms, std::string const& name, CollectiveKind kind) {
  return std::ranges::find_if(terms, [&](TransferTerm const& term) { return term.name == name && term.kind == kind; });
}

enum class Phase { forward, classifier, backward };

class Player {
public:
  Player(Machine const& machine, mesh::Mesh const& mesh) : machine_{machine}, at_{mesh.at()} {}

  void operator()(Operation const& operation) {
    advance(operation.work);
    double const seconds = seconds_of(machine_, operation);
    clock_ += seconds;
    line_.work.at(static_cast<std::size_t>(operation.work)) += seconds;
    line_.flop += operation.flop;
    line_.bytes += operation.bytes;
  }

  void operator()(Transfer const& transfer) {
    Layout const layout = layout_of(transfer.ranks, stride(transfer.group), machine_.ranks_per_node);
    std::int64_t const world = std::int64_t{at_.data_size} * at_.tensor_size;
    double const seconds = seconds_of(machine_, transfer, layout, std::min(machine_.ranks_per_node, world));
    note(transfer, layout, seconds);
    line_.transferring += seconds;
    if (transfer.waits) {
      wait_until(clock_ + seconds);
      return;
    }
    link_free_ = std::max(link_free_, clock_) + seconds;
    done_.push_back(link_free_);
    wait_until(clock_ + (1 - machine_.overlap) * seconds);
  }

  void operator()(Finish const& finish) { wait_until(done_.at(finish.begun)); }

  Timeline end() {
    line_.seconds = clock_;
    return std::move(line_);
  }

private:
  void wait_until(double time) {
    line_.waiting += std::max(0.0, time - clock_);
    clock_ = std::max(clock_, time);
  }

  /// World ranks from one member of a group to the next.
  int stride(Group group) const { return group == Group::data ? at_.tensor_size : 1; }

  void advance(Work work) {
    if (work == Work::embedding) phase_ = Phase::forward;
    if (work == Work::classifier) phase_ = Phase::classifier;
    if (work == Work::norm && phase_ == Phase::classifier) phase_ = Phase::backward;
  }

  std::string purpose(Transfer const& transfer) const {
    switch (transfer.group) {
      case Group::data:
        return transfer.kind == CollectiveKind::all_gather ? "new weights (ZeRO-1)" : "gradients";
      case Group::kv_replica:
        return "gradients of repeated key/value heads";
      case Group::all:
        return transfer.waits ? "gradient norm" : "JREG's sums and losses";
      case Group::tensor:
        break;
    }
    if (transfer.dtype == DType::f64) return "gradient norm";
    bool const few_rows = transfer.kind == CollectiveKind::all_reduce && transfer.rows <= 2;
    if (few_rows && phase_ == Phase::backward) return "gradients of norm gains";
    if (few_rows && phase_ != Phase::backward && transfer.dtype == DType::f32) return "cross entropy";
    switch (phase_) {
      case Phase::forward:
        return "tokens, forward";
      case Phase::classifier:
        return "tokens, classifier";
      case Phase::backward:
        break;
    }
    return "tokens, backward";
  }

  void note(Transfer const& transfer, Layout const& layout, double seconds) {
    std::string const name = purpose(transfer);
    auto found = find_term(line_.transfers, name, transfer.kind);
    if (found == line_.transfers.end()) {
      line_.transfers.push_back({name, layout.nodes > 1 ? "network" : "node", transfer.kind, {}, 0});
      found = std::prev(line_.transfers.end());
    }
    found->traffic += transfer.traffic;
    found->seconds += seconds;
  }

  Machine const& machine_;
  mesh::Coordinates at_;
  Timeline line_;
  Phase phase_ = Phase::forward;
  double clock_ = 0;
  double link_free_ = 0;      // when what has been begun so far is through
  std::vector<double> done_;  // by the number of a begun transfer
};

}  // namespace

Timeline extrapolate(Timeline const& one, Timeline const& two, std::int64_t micro_batches) {
  std::int64_t const more = micro_batches - 1;
  auto const along = [more](double first, double second) {
    return first + static_cast<double>(more) * (second - first);
  };
  Timeline line = two;
  line.seconds = along(one.seconds, two.seconds);
  for (std::size_t i = 0; i < line.work.size(); ++i) line.work.at(i) = along(one.work.at(i), two.work.at(i));
  line.flop = along(one.flop, two.flop);
  line.bytes = along(one.bytes, two.bytes);
  line.transferring = along(one.transferring, two.transferring);
  line.waiting = along(one.waiting, two.waiting);
  expect_equal(one.transfers.size(), two.transfers.size(), "purposes of transfers in one and in two micro-batches");
  for (TransferTerm& term : line.transfers) {
    TransferTerm const& first = *find_term(one.transfers, term.name, term.kind);
    backend::Traffic const grown = term.traffic - first.traffic;
    term.traffic = {first.traffic.calls + more * grown.calls, first.traffic.handed_in + more * grown.handed_in,
                    first.traffic.wire + more * grown.wire};
    term.seconds = along(first.seconds, term.seconds);
  }
  return line;
}

Timeline play(backend::rehearsal::Trace const& trace, Machine const& machine, mesh::Mesh const& mesh) {
  Player player{machine, mesh};
  for (auto const& event : trace.events) std::visit(player, event);
  return player.end();
}

}  // namespace jreg::plan
