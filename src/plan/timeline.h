#pragma once

#include <array>
#include <string>
#include <vector>

#include "backend/rehearsal/trace.h"
#include "mesh/mesh.h"
#include "plan/machine.h"

namespace jreg::plan {

/// All transfers of an update that have one purpose, on one rank.
struct TransferTerm {
  std::string name;
  std::string link;  // "node", "network"
  backend::CollectiveKind kind = backend::CollectiveKind::all_reduce;
  backend::Traffic traffic;
  double seconds = 0;  // that they take, hidden or not
};

/// One update as a rank of a machine would spend it.
struct Timeline {
  double seconds = 0;
  std::array<double, backend::rehearsal::work_names.size()> work{};  // seconds of each kind of operation
  double flop = 0;                                                   // of matrix products and attention
  double bytes = 0;                                                  // of all operations
  std::vector<TransferTerm> transfers;
  double transferring = 0;  // seconds of all transfers
  double waiting = 0;       // of them, those in which the rank computes nothing
};

/// Of an update of `micro_batches`, from those of one and of two: all but the last are alike.
Timeline extrapolate(Timeline const& one, Timeline const& two, std::int64_t micro_batches);

/// Plays a trace: operations one after another; transfers that wait add their time; those that are begun queue on the
/// link behind one another while operations go on (as far as the machine's overlap goes), and are waited for where the
/// trace finishes them.
Timeline play(backend::rehearsal::Trace const& trace, Machine const& machine, mesh::Mesh const& mesh);

}  // namespace jreg::plan
