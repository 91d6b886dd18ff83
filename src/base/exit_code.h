#pragma once

namespace jreg {

/// What the process returns; scripts rely on these numbers.
enum class ExitCode : int {
  done = 0,
  usage = 2,       // wrong option, config or path; a folder in use
  data = 65,       // an input is there, but wrong inside
  internal = 70,   // a broken invariant, or training went to NaN
  io = 74,         // the system refuses to read or write
  retry = 75,      // a rank, a link or a GPU failed; starting again may help
  signalled = 85,  // checkpointed on a signal; start again
};

}  // namespace jreg
