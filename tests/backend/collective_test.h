#pragma once

#include <mpi.h>

#include <set>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "mpi/communicator.h"

namespace jreg::backend {

/// Values in a backend's memory.
template <class T> class Values {
public:
  Values(Backend& backend, std::vector<T> const& values)
      : backend_{&backend}, buffer_{backend, values.size() * sizeof(T)}, size_{values.size()} {
    backend.copy_from_host(buffer_.data(), values.data(), buffer_.bytes());
  }
  Tensor tensor(std::int64_t rows = 1) const {
    return {buffer_.data(), dtype_of<T>(), rows, static_cast<std::int64_t>(size_) / rows};
  }
  std::vector<T> get() const {
    std::vector<T> values(size_);
    backend_->copy_to_host(values.data(), buffer_.data(), buffer_.bytes());
    return values;
  }

private:
  Backend* backend_;
  Buffer buffer_;
  std::size_t size_;
};

inline int world_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

/// Whether two ranks have a device that each must have for itself.
inline bool devices_are_shared(Backend const& backend) {
  auto const devices = mpi::Communicator::duplicate(MPI_COMM_WORLD).all_gather(backend.exclusive_device());
  std::set<std::string> const distinct{devices.begin(), devices.end()};
  return !devices.front().empty() && distinct.size() < devices.size();
}

}  // namespace jreg::backend
