#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "backend/cuda/kernels/ptx.cuh"
#include "settings.h"

// The software device itself: what it computes must be what the instruction set says, and it must show the faults it is
// there to show.

namespace {

using emulation::Copies;
using emulation::Order;
using emulation::settings;
using emulation::Streams;

class Device : public testing::Test {
protected:
  Device() { cudaStreamCreateWithFlags(&stream_, 0); }
  ~Device() override {
    cudaStreamDestroy(stream_);
    settings() = before_;
  }

  template <class... Parameters, class... Arguments>
  cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, Arguments... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream_;
    return cudaLaunchKernelEx(&config, kernel, arguments...);
  }
  template <class T> T* device(std::vector<T> const& values) {
    void* memory = nullptr;
    cudaMalloc(&memory, values.size() * sizeof(T));
    cudaMemcpyAsync(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice, stream_);
    allocations_.push_back(memory);
    return static_cast<T*>(memory);
  }
  template <class T> std::vector<T> host(T const* memory, std::size_t count) {
    std::vector<T> values(count);
    cudaMemcpyAsync(values.data(), memory, count * sizeof(T), cudaMemcpyDeviceToHost, stream_);
    return values;
  }
  void TearDown() override {
    for (void* const memory : allocations_) cudaFree(memory);
  }

  emulation::Settings before_ = settings();
  cudaStream_t stream_ = nullptr;
  std::vector<void*> allocations_;
};

void reverse_block(int* values) {
  __shared__ int kept[100];
  int const i = static_cast<int>(threadIdx.x);
  kept[i] = values[blockIdx.x * 100U + threadIdx.x];
  __syncthreads();
  values[blockIdx.x * 100U + threadIdx.x] = kept[99 - i];
}

TEST_F(Device, BarrierMakesStoresSeenInEveryOrder) {
  for (Order const order : {Order::ascending, Order::descending, Order::shuffled}) {
    settings().order = order;
    std::vector<int> values(300);
    std::iota(values.begin(), values.end(), 0);
    int* const memory = device(values);
    ASSERT_EQ(launch(reverse_block, 3, 100, 0, memory), cudaSuccess);
    std::vector<int> const result = host(memory, 300);
    for (int i = 0; i < 300; ++i) EXPECT_EQ(result[i], i / 100 * 100 + 99 - i % 100);
  }
}

void neighbour_without_barrier(int* out) {
  __shared__ int kept[64];
  kept[threadIdx.x] = 0;
  __syncthreads();
  kept[threadIdx.x] = static_cast<int>(threadIdx.x) + 1;
  out[threadIdx.x] = kept[(threadIdx.x + 1) % 64];
}

TEST_F(Device, MissingBarrierShowsInAnotherOrder) {
  auto const run = [&](Order order) {
    settings().order = order;
    int* const memory = device(std::vector<int>(64));
    launch(neighbour_without_barrier, 1, 64, 0, memory);
    return host(memory, 64);
  };
  EXPECT_NE(run(Order::ascending), run(Order::descending));
}

void exchanges(float* out) {
  int const lane = static_cast<int>(threadIdx.x) % 32;
  auto const value = static_cast<float>(threadIdx.x);
  float sum = value;
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, offset);
  unsigned const odd = __ballot_sync(0xffffffffU, lane % 2);
  float const above = __shfl_down_sync(0xffffffffU, value, 1);
  float const third = __shfl_sync(0xffffffffU, value, 3, 8);
  out[threadIdx.x * 4] = sum;
  out[threadIdx.x * 4 + 1] = static_cast<float>(odd >> 24U);
  out[threadIdx.x * 4 + 2] = above;
  out[threadIdx.x * 4 + 3] = third;
}

TEST_F(Device, ExchangesOfAWarp) {
  for (Order const order : {Order::ascending, Order::shuffled}) {
    settings().order = order;
    float* const memory = device(std::vector<float>(256));
    launch(exchanges, 1, 64, 0, memory);
    std::vector<float> const result = host(memory, 256);
    for (int t = 0; t < 64; ++t) {
      int const base = t / 32 * 32;
      EXPECT_EQ(result[t * 4], static_cast<float>(32 * base + 31 * 16));
      EXPECT_EQ(result[t * 4 + 1], 0xaa);
      EXPECT_EQ(result[t * 4 + 2], static_cast<float>(t % 32 == 31 ? t : t + 1));
      EXPECT_EQ(result[t * 4 + 3], static_cast<float>(t / 8 * 8 + 3));
    }
  }
}

/// One 16 x 8 product by one warp: a (16, 16) and b (8, 16), the latter as rows of b's columns, as kernels hold keys.
void product(__nv_bfloat16 const* a, __nv_bfloat16 const* b, float* d) {
  namespace cuda = jreg::backend::cuda;
  auto* const shared = cuda::dynamic_shared();
  int const lane = static_cast<int>(threadIdx.x);
  cuda::copy_async_16(shared + lane * 16, a + lane * 8);
  if (lane < 16) cuda::copy_async_16(shared + 512 + lane * 16, b + lane * 8);
  cuda::copy_async_commit();
  cuda::copy_async_wait<0>();
  __syncthreads();
  std::uint32_t fa[4];
  std::uint32_t fb[4];
  cuda::load_matrix_x4(fa, shared + (lane % 16) * 32 + lane / 16 * 16);
  cuda::load_matrix_x4(fb, shared + 512 + lane % 8 * 32 + lane / 8 % 2 * 16);
  float sums[4] = {1, 1, 1, 1};
  std::uint32_t const pair[2] = {fb[0], fb[1]};
  cuda::mma_bf16(sums, fa, pair);
  int const row = lane / 4;
  int const column = lane % 4 * 2;
  d[row * 8 + column] = sums[0];
  d[row * 8 + column + 1] = sums[1];
  d[(row + 8) * 8 + column] = sums[2];
  d[(row + 8) * 8 + column + 1] = sums[3];
}

TEST_F(Device, FragmentsMakeTheProduct) {
  std::vector<__nv_bfloat16> a(256);
  std::vector<__nv_bfloat16> b(128);
  for (int i = 0; i < 256; ++i) a[i] = __float2bfloat16_rn(static_cast<float>(i % 23 - 11));
  for (int i = 0; i < 128; ++i) b[i] = __float2bfloat16_rn(static_cast<float>(i % 19 - 9));
  for (Copies const copies : {Copies::early, Copies::late}) {
    settings().copies = copies;
    float* const d = device(std::vector<float>(128));
    launch(product, 1, 32, 1024, device(a), device(b), d);
    std::vector<float> const result = host(d, 128);
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 8; ++j) {
        float expected = 1;
        for (int k = 0; k < 16; ++k) expected += __bfloat162float(a[i * 16 + k]) * __bfloat162float(b[j * 16 + k]);
        EXPECT_EQ(result[i * 8 + j], expected) << i << ' ' << j;
      }
    }
  }
}

void transposed_rows(std::uint16_t const* in, std::uint32_t* out) {
  namespace cuda = jreg::backend::cuda;
  auto* const shared = reinterpret_cast<std::uint16_t*>(cuda::dynamic_shared());
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32) shared[i] = in[i];
  __syncthreads();
  std::uint32_t r[4];
  cuda::load_matrix_x4_transposed(r, shared + threadIdx.x * 8);
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + static_cast<unsigned>(i)] = r[i];
}

TEST_F(Device, TransposedLoads) {
  std::vector<std::uint16_t> values(256);
  std::iota(values.begin(), values.end(), std::uint16_t{0});
  std::uint32_t* const memory = device(std::vector<std::uint32_t>(128));
  launch(transposed_rows, 1, 32, 512, device(values), memory);
  std::vector<std::uint32_t> const result = host(memory, 128);
  for (unsigned lane = 0; lane < 32; ++lane) {
    for (unsigned m = 0; m < 4; ++m) {
      unsigned const row = lane % 4 * 2;
      unsigned const column = lane / 4;
      EXPECT_EQ(result[lane * 4 + m], (m * 64 + row * 8 + column) | (m * 64 + (row + 1) * 8 + column) << 16U);
    }
  }
}

void add_one(int* value) {
  *value += 1;
}

TEST_F(Device, LazyStreamsShowAMissingOrder) {
  settings().streams = Streams::lazy;
  cudaStream_t other = nullptr;
  cudaStreamCreateWithFlags(&other, 0);
  int* const value = device(std::vector<int>{0});
  cudaStreamSynchronize(stream_);
  auto const read = [&] {
    int result = 0;
    cudaMemcpyAsync(&result, value, sizeof(int), cudaMemcpyDeviceToHost, other);
    return result;
  };
  launch(add_one, 1, 1, 0, value);
  EXPECT_EQ(read(), 0);  // nothing says that `other` waits
  launch(add_one, 1, 1, 0, value);
  cudaEvent_t event = nullptr;
  cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  cudaEventRecord(event, stream_);
  launch(add_one, 1, 1, 0, value);
  cudaStreamWaitEvent(other, event, 0);
  EXPECT_EQ(read(), 2);
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
  cudaEventDestroy(event);
  cudaStreamDestroy(other);
}

TEST_F(Device, PinnedMemoryIsReadWhenItsTurnComes) {
  settings().streams = Streams::lazy;
  void* pinned = nullptr;
  cudaMallocHost(&pinned, sizeof(int));
  int* const value = device(std::vector<int>{0});
  *static_cast<int*>(pinned) = 1;
  cudaMemcpyAsync(value, pinned, sizeof(int), cudaMemcpyHostToDevice, stream_);
  *static_cast<int*>(pinned) = 2;
  EXPECT_EQ(host(value, 1)[0], 2);
  cudaFreeHost(pinned);
}

TEST_F(Device, LimitsAreKept) {
  int* const value = device(std::vector<int>{0});
  EXPECT_EQ(launch(add_one, 1, 1025, 0, value), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(add_one, dim3{1, 65536, 1}, 1, 0, value), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(add_one, 1, 1, 48 * 1024 + 1, value), cudaErrorInvalidValue);
  void const* const kernel = reinterpret_cast<void const*>(add_one);
  EXPECT_EQ(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 300 * 1024),
            cudaErrorInvalidValue);
  settings().memory = 1000;
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 2000), cudaErrorMemoryAllocation);
}

void half_a_barrier(int) {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __shfl_sync(0xffffffffU, 1, 0);
  }
}

TEST_F(Device, ThreadsThatWaitForEachOtherForEverEndTheProcess) {
  EXPECT_DEATH(
      {
        launch(half_a_barrier, 1, 32, 0, 0);
        cudaStreamSynchronize(stream_);
      },
      "no thread of the block can go on");
}

template <int size> void listed_kernel(int*) {}

TEST_F(Device, LaunchesAreListedOnceASizeWhereTheEnvironmentNamesAFile) {
  std::string const path = testing::TempDir() + "jreg_launches";
  std::remove(path.c_str());
  setenv("JREG_EMULATED_LAUNCHES", path.c_str(), 1);
  for (unsigned const threads : {64U, 64U, 32U}) launch(listed_kernel<5>, 2, threads, 128, nullptr);
  unsetenv("JREG_EMULATED_LAUNCHES");
  launch(listed_kernel<5>, 2, 96, 128, nullptr);
  cudaStreamSynchronize(stream_);
  std::stringstream text;
  text << std::ifstream{path}.rdbuf();
  std::remove(path.c_str());
#if defined(__SANITIZE_ADDRESS__)
  EXPECT_NE(text.str().find("listed_kernel<5>\n32 128 "), std::string::npos) << text.str();
#endif
  EXPECT_EQ(text.str().find("64 128 "), 0U) << text.str();
  EXPECT_EQ(text.str().find("96 "), std::string::npos) << text.str();
}

void beyond_shared_memory(int) {
  jreg::backend::cuda::dynamic_shared()[64] = 1;
}

#if defined(__SANITIZE_ADDRESS__)
TEST_F(Device, AccessesOutsideOfSharedMemoryEndTheProcess) {
  EXPECT_DEATH(
      {
        launch(beyond_shared_memory, 1, 1, 64, 0);
        cudaStreamSynchronize(stream_);
      },
      "heap-buffer-overflow");
}

TEST_F(Device, HostCodeCannotReadDeviceMemory) {
  int const* const value = device(std::vector<int>{1});
  EXPECT_DEATH(std::printf("%d", *value), "use-after-poison");
}
#endif

}  // namespace
