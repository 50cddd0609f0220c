// TensorRT and CUDA behind tensorrt.hpp: the only file that sees NVIDIA's headers. Neither library
// is linked; both are opened when a plan is asked for.
#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "error.hpp"
#include "gpu_choice.hpp"
#include "nvidia_library.hpp"
#include "one_line.hpp"
#include "tensorrt.hpp"

#if NV_TENSORRT_MAJOR < 10
#error \
    "These headers are of TensorRT-RTX, or older than TensorRT 10: name others with -DTENSORRT_ROOT"
#endif

namespace levit {
namespace {

constexpr std::size_t longest_log = 4096;

// The functions of the CUDA runtime that are called.
struct Cuda {
  explicit Cuda(const NvidiaLibrary& library) {
    library.find("cudaGetErrorName", error_name);
    library.find("cudaGetDeviceCount", get_device_count);
    library.find("cudaDeviceGetAttribute", device_get_attribute);
    library.find("cudaGetDevice", get_device);
    library.find("cudaSetDevice", set_device);
    library.find("cudaMalloc", allocate);
    library.find("cudaFree", release);
    library.find("cudaMemcpyAsync", copy);
    library.find("cudaStreamCreateWithFlags", create_stream);
    library.find("cudaStreamDestroy", destroy_stream);
    library.find("cudaStreamSynchronize", synchronize);
  }

  void require(cudaError_t outcome, const std::string& action,
               Status status = Status::failed) const {
    if (outcome == cudaSuccess) return;
    throw Error(status, action + " failed: " + one_line(error_name(outcome)));
  }

  decltype(&::cudaGetErrorName) error_name = nullptr;
  decltype(&::cudaGetDeviceCount) get_device_count = nullptr;
  decltype(&::cudaDeviceGetAttribute) device_get_attribute = nullptr;
  decltype(&::cudaGetDevice) get_device = nullptr;
  decltype(&::cudaSetDevice) set_device = nullptr;
  decltype(&::cudaMalloc) allocate = nullptr;
  decltype(&::cudaFree) release = nullptr;
  decltype(&::cudaMemcpyAsync) copy = nullptr;
  decltype(&::cudaStreamCreateWithFlags) create_stream = nullptr;
  decltype(&::cudaStreamDestroy) destroy_stream = nullptr;
  decltype(&::cudaStreamSynchronize) synchronize = nullptr;
};

// Makes a GPU the one of this thread, and then gives the caller back its own.
class CurrentGpu {
 public:
  CurrentGpu(const Cuda& cuda, int device) : cuda_(cuda), before_(device), device_(device) {
    if (cuda_.get_device(&before_) != cudaSuccess) before_ = device;
    outcome_ = before_ == device ? cudaSuccess : cuda_.set_device(device);
  }
  ~CurrentGpu() {
    if (before_ != device_) cuda_.set_device(before_);
  }
  CurrentGpu(const CurrentGpu&) = delete;
  CurrentGpu& operator=(const CurrentGpu&) = delete;

  void require() const { cuda_.require(outcome_, "choosing the GPU"); }

 private:
  const Cuda& cuda_;
  int before_;
  int device_;
  cudaError_t outcome_ = cudaSuccess;
};

// The errors that TensorRT tells, from any thread.
class Log final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const nvinfer1::AsciiChar* message) noexcept override {
    if (severity > Severity::kERROR || message == nullptr) return;
    try {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (text_.size() < longest_log) text_ += (text_.empty() ? "" : "; ") + std::string(message);
    } catch (...) {  // no memory for a message: the failure itself is told all the same
    }
  }

  // What was told since the last call.
  std::string take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::string said = one_line(std::exchange(text_, {}));
    return said.empty() ? "no reason was given" : said;
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

std::string name_of(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
      return "float32";
    case nvinfer1::DataType::kHALF:
      return "float16";
    case nvinfer1::DataType::kBF16:
      return "bfloat16";
    case nvinfer1::DataType::kUINT8:
      return "uint8";
    case nvinfer1::DataType::kINT32:
      return "int32";
    case nvinfer1::DataType::kINT64:
      return "int64";
    default:
      return "type " + std::to_string(static_cast<int>(type));
  }
}

class LoadedPlan final : public Plan {
 public:
  LoadedPlan(std::shared_ptr<const Cuda> cuda, std::shared_ptr<Log> log, int device,
             std::unique_ptr<nvinfer1::IRuntime> runtime)
      : cuda_(std::move(cuda)),
        log_(std::move(log)),
        device_(device),
        runtime_(std::move(runtime)) {}

  ~LoadedPlan() override {
    const CurrentGpu current(*cuda_, device_);
    // In the one order that TensorRT allows.
    context_.reset();
    engine_.reset();
    runtime_.reset();
    if (stream_ != nullptr) cuda_->destroy_stream(stream_);
  }

  // False when TensorRT refuses the bytes.
  bool load(const std::vector<std::uint8_t>& content) {
    const CurrentGpu current(*cuda_, device_);
    current.require();
    engine_.reset(runtime_->deserializeCudaEngine(content.data(), content.size()));
    if (engine_ == nullptr) return false;
    context_.reset(engine_->createExecutionContext());
    if (context_ == nullptr) {
      throw Error(Status::memory, "TensorRT can make no execution context (" + log_->take() +
                                      "): free memory of the GPU");
    }
    // It waits for no other stream.
    cuda_->require(cuda_->create_stream(&stream_, cudaStreamNonBlocking), "making a CUDA stream");
    return true;
  }

  std::vector<PlanTensor> tensors() const override {
    std::vector<PlanTensor> found;
    for (std::int32_t index = 0; index < engine_->getNbIOTensors(); ++index) {
      const char* const name = engine_->getIOTensorName(index);
      PlanTensor item;
      item.tensor.name = name;
      item.tensor.dtype = name_of(engine_->getTensorDataType(name));
      // Images and logits are copied as plain rows.
      if (engine_->getTensorFormat(name) != nvinfer1::TensorFormat::kLINEAR) {
        item.tensor.dtype += " in a format of its own";
      }
      const nvinfer1::Dims shape = engine_->getTensorShape(name);
      for (std::int32_t axis = 0; axis < shape.nbDims; ++axis) {
        item.tensor.shape.push_back(shape.d[axis]);
      }
      item.is_input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
      found.push_back(std::move(item));
    }
    return found;
  }

  void* reserve(std::size_t size_bytes) override {
    const CurrentGpu current(*cuda_, device_);
    current.require();
    void* memory = nullptr;
    cuda_->require(cuda_->allocate(&memory, size_bytes),
                   "reserving " + std::to_string(size_bytes) + " bytes on the GPU", Status::memory);
    return memory;
  }

  void release(void* memory) noexcept override {
    const CurrentGpu current(*cuda_, device_);
    cuda_->release(memory);
  }

  void bind(const std::string& tensor, void* memory) override {
    if (context_->setTensorAddress(tensor.c_str(), memory)) return;
    throw Error(Status::failed, "TensorRT refuses the memory of " + tensor + ": " + log_->take());
  }

  void set_shape(const std::string& input, const std::vector<std::int64_t>& shape) override {
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<std::int32_t>(shape.size());
    if (dims.nbDims > nvinfer1::Dims::MAX_DIMS) {
      throw Error(Status::failed, "TensorRT takes no shape of so many sides");
    }
    for (std::size_t axis = 0; axis < shape.size(); ++axis) dims.d[axis] = shape[axis];
    const CurrentGpu current(*cuda_, device_);
    current.require();
    if (context_->setInputShape(input.c_str(), dims)) return;
    throw Error(Status::failed, "TensorRT refuses a batch of " + std::to_string(shape.front()) +
                                    " images: " + log_->take());
  }

  void run(const PlanRun& work) override {
    const CurrentGpu current(*cuda_, device_);
    current.require();
    try {
      enqueue(work);
    } catch (...) {
      cuda_->synchronize(stream_);  // or a copy would go on reading memory of the caller
      throw;
    }
    cuda_->require(cuda_->synchronize(stream_), "running the network");
  }

 private:
  void enqueue(const PlanRun& work) {
    cuda_->require(cuda_->copy(work.device_images, work.images, work.images_bytes,
                               cudaMemcpyHostToDevice, stream_),
                   "copying images to the GPU");
    if (!context_->enqueueV3(stream_)) {
      throw Error(Status::failed, "TensorRT failed: " + log_->take());
    }
    cuda_->require(cuda_->copy(work.logits, work.device_logits, work.logits_bytes,
                               cudaMemcpyDeviceToHost, stream_),
                   "copying logits from the GPU");
  }

  std::shared_ptr<const Cuda> cuda_;
  std::shared_ptr<Log> log_;
  int device_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

class Library final : public TensorRt {
 public:
  Library()
      : library_(nvinfer_file().c_str(), "LEVIT_TENSORRT_LIBRARY",
                 "install TensorRT (pip install tensorrt has it)") {
    decltype(&::getInferLibVersion) get_version = nullptr;
    std::int32_t (*get_build)() = nullptr;
    library_.find("getInferLibVersion", get_version);
    library_.find_optional("getInferLibBuildVersion", get_build);
    path_ = library_.path_of(get_version);
    version_ = version_from_number(get_version());
    if (get_build != nullptr) version_.build = get_build();
    require_same_interface(path_, version_, NV_TENSORRT_MAJOR);
    library_.find("createInferRuntime_INTERNAL", create_runtime_);
  }

  TensorRtVersion version() const override { return version_; }
  std::string path() const override { return path_; }

  Capability use_gpu(std::uint32_t device) override {
    const NvidiaLibrary library(cudart_file().c_str(), "LEVIT_CUDA_LIBRARY",
                                "install the CUDA runtime (pip install nvidia-cuda-runtime has "
                                "it)");
    const auto cuda = std::make_shared<const Cuda>(library);
    int count = 0;
    const cudaError_t outcome = cuda->get_device_count(&count);
    require_gpu(outcome == cudaSuccess ? "" : one_line(cuda->error_name(outcome)),
                outcome == cudaErrorInsufficientDriver, count, device);
    device_ = static_cast<int>(device);
    Capability capability;
    const auto ask = [&](cudaDeviceAttr attribute, int& value) {
      cuda->require(cuda->device_get_attribute(&value, attribute, device_),
                    "asking for the compute capability", Status::environment);
    };
    ask(cudaDevAttrComputeCapabilityMajor, capability.major);
    ask(cudaDevAttrComputeCapabilityMinor, capability.minor);
    cuda_ = cuda;
    return capability;
  }

  std::unique_ptr<Plan> load(const std::vector<std::uint8_t>& content, std::string& said) override {
    const auto log = std::make_shared<Log>();
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    {
      const CurrentGpu current(*cuda_, device_);
      current.require();
      runtime.reset(
          static_cast<nvinfer1::IRuntime*>(create_runtime_(log.get(), NV_TENSORRT_VERSION)));
    }
    if (runtime == nullptr) {
      throw Error(Status::environment, path_ + ": TensorRT cannot start (" + log->take() + ")");
    }
    auto plan = std::make_unique<LoadedPlan>(cuda_, log, device_, std::move(runtime));
    if (plan->load(content)) return plan;
    said = log->take();
    return nullptr;
  }

 private:
  static std::string nvinfer_file() { return "libnvinfer.so." + std::to_string(NV_TENSORRT_MAJOR); }
  static std::string cudart_file() {
    return "libcudart.so." + std::to_string(CUDART_VERSION / 1000);
  }

  NvidiaLibrary library_;
  std::string path_;
  TensorRtVersion version_;
  decltype(&::createInferRuntime_INTERNAL) create_runtime_ = nullptr;
  std::shared_ptr<const Cuda> cuda_;
  int device_ = 0;
};

}  // namespace

std::unique_ptr<TensorRt> open_tensorrt() { return std::make_unique<Library>(); }

}  // namespace levit
