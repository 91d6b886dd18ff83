#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace jreg::config {

/// Runs `action`, which must throw UserError, and returns its text.
template <class Action> std::string refusal(Action&& action) {
  try {
    action();
  } catch (UserError const& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

}  // namespace jreg::config
