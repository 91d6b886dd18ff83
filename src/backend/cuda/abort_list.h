#pragma once

#include <algorithm>
#include <mutex>
#include <vector>

namespace jreg::backend::cuda {

/// Something that may hang with other ranks and can be broken off by another thread.
class Abortable {
public:
  virtual ~Abortable() = default;
  virtual void abort() noexcept = 0;
};

/// What is alive of that kind, so that a watchdog can end all of it.
class AbortList {
public:
  /// In the list as long as it lives.
  class Entry {
  public:
    Entry(AbortList& list, Abortable& one) : list_{list}, one_{one} {
      std::scoped_lock const lock{list_.mutex_};
      list_.all_.push_back(&one_);
    }
    Entry(Entry const&) = delete;
    Entry& operator=(Entry const&) = delete;
    ~Entry() {
      std::scoped_lock const lock{list_.mutex_};
      std::erase(list_.all_, &one_);
    }

  private:
    AbortList& list_;
    Abortable& one_;
  };

  /// Any thread may call it.
  void abort_all() noexcept {
    std::scoped_lock const lock{mutex_};
    for (Abortable* const one : all_) one->abort();
  }

private:
  std::mutex mutex_;
  std::vector<Abortable*> all_;
};

}  // namespace jreg::backend::cuda
