#pragma once

#include <functional>
#include <string>

namespace jreg {

/// Runs `work` in a child process and returns its text: for a library that may crash or loop for ever on damaged input.
/// `subject` is the file that errors name. An Error that work throws is thrown here with the same code (DataError where
/// that is 65); a child that crashes or takes more than `cpu_seconds` of processor time is a DataError. To be called
/// while this process has one thread; SystemError where no process can be made.
std::string in_child_process(std::string const& subject, std::function<std::string()> const& work,
                             int cpu_seconds = 120);

}  // namespace jreg
