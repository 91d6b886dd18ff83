#include "settings.h"

#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>

namespace emulation {
namespace {

template <class Choice> struct Named {
  char const* name;
  Choice value;
};

[[noreturn]] void refuse(char const* variable, char const* text) {
  std::fprintf(stderr, "%s = %s: not a value of this variable, see tests/emulation/settings.h\n", variable, text);
  std::exit(2);
}

template <class Choice>
void choose(char const* variable, Choice& setting, std::initializer_list<Named<Choice>> choices) {
  char const* const text = std::getenv(variable);
  if (text == nullptr) return;
  for (auto const& choice : choices) {
    if (std::string{text} == choice.name) {
      setting = choice.value;
      return;
    }
  }
  refuse(variable, text);
}

template <class Number> void read(char const* variable, Number& setting) {
  char const* const text = std::getenv(variable);
  if (text == nullptr) return;
  char* end = nullptr;
  auto const value = std::strtoull(text, &end, 10);
  if (end == text || *end != '\0') refuse(variable, text);
  setting = static_cast<Number>(value);
}

Settings from_environment() {
  Settings all;
  choose<Order>("JREG_EMULATED_ORDER", all.order,
                {{"ascending", Order::ascending}, {"descending", Order::descending}, {"shuffled", Order::shuffled}});
  choose<Copies>("JREG_EMULATED_COPIES", all.copies, {{"early", Copies::early}, {"late", Copies::late}});
  choose<Streams>("JREG_EMULATED_STREAMS", all.streams, {{"eager", Streams::eager}, {"lazy", Streams::lazy}});
  read("JREG_EMULATED_SEED", all.seed);
  read("JREG_EMULATED_GPUS", all.devices);
  read("JREG_EMULATED_MULTIPROCESSORS", all.multiprocessors);
  read("JREG_EMULATED_MEMORY", all.memory);
  read("JREG_EMULATED_SHARED", all.shared_per_block);
  return all;
}

}  // namespace

Settings& settings() {
  static Settings all = from_environment();
  return all;
}

}  // namespace emulation
