#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace jreg::jump {

/// The depth weights w_1..w_L of the penalty (index 0 is layer 1), normalised to sum 1. `shape` is a value of
/// jreg.weights:
///   linear       w_l ~ l              uniform       w_l ~ 1              final    w_L = 1, the others 0
///   power:P      w_l ~ (l/L)^P        geometric:G   w_l ~ G^(L-l)        or L numbers with commas between them
/// `penalty` is a value of jreg.penalty; jump weighs the differences between layers, so w_1 = 0 there.
/// Throws UserError naming the key and its value: an unknown shape, a number that cannot be read, another count of
/// numbers than `layers`, a weight that is negative or not finite, a sum that is zero or overflows, one layer only.
std::vector<double> depth_weights(std::string const& shape, std::string const& penalty, std::int64_t layers);

}  // namespace jreg::jump
