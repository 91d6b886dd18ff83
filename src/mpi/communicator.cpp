#include "mpi/communicator.h"

#include <numeric>

#include "base/error.h"
#include "mpi/check.h"

namespace jreg::mpi {

Communicator::Communicator(MPI_Comm raw) : handle_{raw} {
  check(MPI_Comm_set_errhandler(raw, MPI_ERRORS_RETURN));
  check(MPI_Comm_rank(raw, &rank_));
  check(MPI_Comm_size(raw, &size_));
}

Communicator Communicator::duplicate(MPI_Comm from) {
  MPI_Comm raw = MPI_COMM_NULL;
  check(MPI_Comm_dup(from, &raw));
  return Communicator{raw};
}

Communicator Communicator::split(int color, int key) const {
  MPI_Comm raw = MPI_COMM_NULL;
  check(MPI_Comm_split(get(), color, key, &raw));
  return Communicator{raw};
}

Communicator Communicator::split_node() const {
  MPI_Comm raw = MPI_COMM_NULL;
  check(MPI_Comm_split_type(get(), MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &raw));
  return Communicator{raw};
}

void Communicator::barrier() const {
  check(MPI_Barrier(get()));
}

namespace {

template <class T> void reduce_in_place(std::span<T> values, MPI_Datatype type, MPI_Op op, MPI_Comm comm) {
  expect(values.size() < (std::size_t{1} << 31), "reduction fits MPI's int counts");
  check(MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), type, op, comm));
}

}  // namespace

void Communicator::sum(std::span<double> values) const {
  reduce_in_place(values, MPI_DOUBLE, MPI_SUM, get());
}
void Communicator::sum(std::span<std::int64_t> values) const {
  reduce_in_place(values, MPI_INT64_T, MPI_SUM, get());
}
void Communicator::max(std::span<double> values) const {
  reduce_in_place(values, MPI_DOUBLE, MPI_MAX, get());
}
void Communicator::max(std::span<std::int64_t> values) const {
  reduce_in_place(values, MPI_INT64_T, MPI_MAX, get());
}

void Communicator::broadcast(std::span<std::byte> bytes, int root) const {
  constexpr std::size_t piece = std::size_t{1} << 30;
  for (std::size_t begin = 0; begin < bytes.size(); begin += piece) {
    auto const count = static_cast<int>(std::min(piece, bytes.size() - begin));
    check(MPI_Bcast(bytes.data() + begin, count, MPI_BYTE, root, get()));
  }
}

void Communicator::broadcast(std::string& text, int root) const {
  std::uint64_t size = text.size();
  check(MPI_Bcast(&size, 1, MPI_UINT64_T, root, get()));
  text.resize(size);
  broadcast(std::as_writable_bytes(std::span{text}), root);
}

std::vector<std::string> Communicator::all_gather(std::string const& text) const {
  auto const ranks = static_cast<std::size_t>(size_);
  std::vector<int> sizes(ranks);
  int const mine = static_cast<int>(text.size());
  check(MPI_Allgather(&mine, 1, MPI_INT, sizes.data(), 1, MPI_INT, get()));
  std::vector<int> offsets(ranks + 1, 0);
  std::partial_sum(sizes.begin(), sizes.end(), offsets.begin() + 1);
  std::string all(static_cast<std::size_t>(offsets.back()), '\0');
  check(MPI_Allgatherv(text.data(), mine, MPI_CHAR, all.data(), sizes.data(), offsets.data(), MPI_CHAR, get()));
  std::vector<std::string> texts;
  for (std::size_t r = 0; r < ranks; ++r) {
    texts.push_back(all.substr(static_cast<std::size_t>(offsets[r]), static_cast<std::size_t>(sizes[r])));
  }
  return texts;
}

}  // namespace jreg::mpi
