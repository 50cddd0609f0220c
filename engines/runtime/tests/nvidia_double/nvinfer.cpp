// Plays libnvinfer.so for tests. Its plan is "double plan\n", then as int32 the side of an image,
// the number of classes, the smallest and the largest batch, then 3 * classes weights as float32:
// logits are the mean of each channel of a float32 NCHW image times the weights. DOUBLE_VERSION is
// what it says of itself, DOUBLE_FAILS which function fails.
#include <NvInferRuntime.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

extern "C" void double_enqueue(cudaStream_t stream, std::function<void()> work);

namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::ILogger;

bool fails(const char* function) {
  const char* const named = std::getenv("DOUBLE_FAILS");
  return named != nullptr && std::strcmp(named, function) == 0;
}

struct Content {
  std::int32_t side = 0;
  std::int32_t classes = 0;
  std::int32_t smallest = 0;
  std::int32_t largest = 0;
  std::vector<float> weights;
};

bool read(const std::string& bytes, Content& content) {
  const std::string magic = "double plan\n";
  std::int32_t numbers[4];
  const std::size_t begin = magic.size() + sizeof numbers;
  if (bytes.size() < begin || bytes.compare(0, magic.size(), magic) != 0) return false;
  std::memcpy(numbers, bytes.data() + magic.size(), sizeof numbers);
  content = {numbers[0], numbers[1], numbers[2], numbers[3], {}};
  content.weights.resize(3 * static_cast<std::size_t>(content.classes));
  const std::size_t size = content.weights.size() * sizeof(float);
  if (bytes.size() != begin + size) return false;
  std::memcpy(content.weights.data(), bytes.data() + begin, size);
  return true;
}

class Context final : public nvinfer1::IExecutionContext {
 public:
  Context(const Content& content, ILogger& logger) : content_(content), logger_(logger) {}

  bool setInputShape(const char* name, const Dims& shape) noexcept override {
    const bool fits = std::strcmp(name, "images") == 0 && shape.nbDims == 4 &&
                      shape.d[0] >= content_.smallest && shape.d[0] <= content_.largest &&
                      shape.d[1] == 3 && shape.d[2] == content_.side && shape.d[3] == content_.side;
    if (fits && !fails("setInputShape")) {
      batch_ = static_cast<std::size_t>(shape.d[0]);
      return true;
    }
    logger_.log(ILogger::Severity::kWARNING, "a warning that nobody is told");
    logger_.log(ILogger::Severity::kERROR, "the shape is\nnot in the profile");
    return false;
  }

  bool setTensorAddress(const char* name, void* memory) noexcept override {
    addresses_[name] = memory;
    return !fails("setTensorAddress");
  }

  bool enqueueV3(cudaStream_t stream) noexcept override {
    if (fails("enqueueV3") || batch_ == 0 || addresses_.size() != 2) {
      logger_.log(ILogger::Severity::kINTERNAL_ERROR, "a kernel failed");
      return false;
    }
    const auto* const images = static_cast<const float*>(addresses_["images"]);
    auto* const logits = static_cast<float*>(addresses_["logits"]);
    double_enqueue(stream, [this, images, logits, batch = batch_] {
      for (std::size_t image = 0; image < batch; ++image) compute(images, logits, image);
    });
    return true;
  }

 private:
  void compute(const float* images, float* logits, std::size_t image) const {
    const std::size_t pixels = static_cast<std::size_t>(content_.side * content_.side);
    const auto classes = static_cast<std::size_t>(content_.classes);
    std::vector<double> sums(classes);
    for (std::size_t channel = 0; channel < 3; ++channel) {
      const float* const plane = images + (image * 3 + channel) * pixels;
      double mean = 0;
      for (std::size_t place = 0; place < pixels; ++place)
        mean += static_cast<double>(plane[place]) / static_cast<double>(pixels);
      for (std::size_t place = 0; place < classes; ++place)
        sums[place] += mean * static_cast<double>(content_.weights[channel * classes + place]);
    }
    for (std::size_t place = 0; place < classes; ++place)
      logits[image * classes + place] = static_cast<float>(sums[place]);
  }

  Content content_;
  ILogger& logger_;
  std::size_t batch_ = 0;
  std::map<std::string, void*> addresses_;
};

class Engine final : public nvinfer1::ICudaEngine {
 public:
  Engine(const Content& content, ILogger& logger) : content_(content), logger_(logger) {}

  std::int32_t getNbIOTensors() const noexcept override { return 2; }
  const char* getIOTensorName(std::int32_t index) const noexcept override {
    return index == 0 ? "images" : "logits";
  }
  Dims getTensorShape(const char* name) const noexcept override {
    const bool dynamic = content_.smallest != content_.largest;
    const std::int64_t batch = dynamic ? -1 : content_.smallest;
    if (is_input(name)) return {4, {batch, 3, content_.side, content_.side}};
    return {2, {batch, content_.classes}};
  }
  DataType getTensorDataType(const char* name) const noexcept override {
    return is_input(name) && fails("getTensorDataType") ? DataType::kHALF : DataType::kFLOAT;
  }
  nvinfer1::TensorIOMode getTensorIOMode(const char* name) const noexcept override {
    return is_input(name) ? nvinfer1::TensorIOMode::kINPUT : nvinfer1::TensorIOMode::kOUTPUT;
  }
  nvinfer1::TensorFormat getTensorFormat(const char* name) const noexcept override {
    return is_input(name) && fails("getTensorFormat") ? nvinfer1::TensorFormat::kCHW2
                                                      : nvinfer1::TensorFormat::kLINEAR;
  }
  nvinfer1::IExecutionContext* createExecutionContext(
      nvinfer1::ExecutionContextAllocationStrategy) noexcept override {
    return fails("createExecutionContext") ? nullptr : new Context(content_, logger_);
  }

 private:
  static bool is_input(const char* name) { return std::strcmp(name, "images") == 0; }

  Content content_;
  ILogger& logger_;
};

class Runtime final : public nvinfer1::IRuntime {
 public:
  explicit Runtime(ILogger& logger) : logger_(logger) {}

  nvinfer1::ICudaEngine* deserializeCudaEngine(const void* blob,
                                               std::size_t size) noexcept override {
    Content content;
    if (fails("deserializeCudaEngine")) {
      logger_.log(ILogger::Severity::kERROR, "the plan is for another GPU");
    } else if (read({static_cast<const char*>(blob), size}, content)) {
      return new Engine(content, logger_);
    } else {
      logger_.log(ILogger::Severity::kERROR, "assertion header.magicTag == kEXPECTED failed");
    }
    return nullptr;
  }

 private:
  ILogger& logger_;
};

}  // namespace

extern "C" {

std::int32_t getInferLibVersion() noexcept {
  const char* const version = std::getenv("DOUBLE_VERSION");
  return version == nullptr ? 101303 : std::atoi(version);
}

std::int32_t getInferLibBuildVersion() noexcept { return 9; }

void* createInferRuntime_INTERNAL(void* logger, std::int32_t) noexcept {
  if (fails("createInferRuntime_INTERNAL")) return nullptr;
  return static_cast<nvinfer1::IRuntime*>(new Runtime(*static_cast<ILogger*>(logger)));
}

}  // extern "C"
