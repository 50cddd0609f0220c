// Plays libcudart.so for tests: memory of the host as memory of the GPU, copies that wait until the
// stream is synchronised. DOUBLE_GPUS says how many GPUs there are, DOUBLE_FAILS which function
// fails. What is wrong in its use ends the process with a message.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

struct CUstream_st {
  std::vector<std::function<void()>> work;
};

namespace {

thread_local int current_device = 0;
std::mutex mutex;
std::map<char*, std::size_t> reserved;
int streams = 0;

[[noreturn]] void misuse(const char* what) {
  std::fprintf(stderr, "cudart double: %s\n", what);
  std::_Exit(86);
}

bool fails(const char* function) {
  const char* const named = std::getenv("DOUBLE_FAILS");
  return named != nullptr && std::strcmp(named, function) == 0;
}

int gpus() {
  const char* const count = std::getenv("DOUBLE_GPUS");
  return count == nullptr ? 1 : std::atoi(count);
}

void require_reserved(const void* memory, std::size_t size) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = reserved.find(const_cast<char*>(static_cast<const char*>(memory)));
  if (found == reserved.end() || found->second < size) misuse("a copy beyond reserved memory");
}

// What is left when the process ends normally was forgotten.
struct Accounts {
  ~Accounts() {
    if (!reserved.empty() || streams != 0) misuse("memory or streams were not given back");
  }
} accounts;

}  // namespace

extern "C" {

// For nvinfer.cpp: does `work` when `stream` is synchronised.
__attribute__((visibility("default"))) void double_enqueue(cudaStream_t stream,
                                                           std::function<void()> work) {
  stream->work.push_back(std::move(work));
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    default:
      return "cudaErrorLaunchFailure";
  }
}

cudaError_t cudaGetDeviceCount(int* count) {
  if (fails("driver")) return cudaErrorInsufficientDriver;
  *count = gpus();
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaDeviceGetAttribute(int* value, enum cudaDeviceAttr attribute, int device) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 8 : 6;
  return device < gpus() ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device >= gpus()) return cudaErrorInvalidValue;
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t size) {
  if (fails("cudaMalloc")) return cudaErrorMemoryAllocation;
  char* const bytes = static_cast<char*>(std::malloc(size));
  const std::lock_guard<std::mutex> lock(mutex);
  reserved[bytes] = size;
  *memory = bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (reserved.erase(static_cast<char*>(memory)) == 0) misuse("freed what was not reserved");
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t size, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (fails("cudaMemcpyAsync")) return cudaErrorLaunchFailure;
  require_reserved(kind == cudaMemcpyHostToDevice ? target : source, size);
  double_enqueue(stream, [=] { std::memcpy(target, source, size); });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  if (flags != cudaStreamNonBlocking) misuse("a stream that waits for others");
  *stream = new CUstream_st;
  ++streams;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (!stream->work.empty()) misuse("a stream was destroyed with work on it");
  delete stream;
  --streams;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  for (const std::function<void()>& step : stream->work) step();
  stream->work.clear();
  return fails("cudaStreamSynchronize") ? cudaErrorLaunchFailure : cudaSuccess;
}

}  // extern "C"
