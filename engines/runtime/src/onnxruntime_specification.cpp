#include "onnxruntime_specification.hpp"

#include <algorithm>
#include <iterator>
#include <vector>

#include "error.hpp"
#include "onnxruntime_handles.hpp"

namespace levit {
namespace {

struct ElementType {
  const char* name;
  ONNXTensorElementDataType number;
};

constexpr ElementType element_types[] = {
    {"float32", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {"float16", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
    {"uint8", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
    {"int64", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
    {"int32", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
};

std::string name_of(ONNXTensorElementDataType number) {
  for (const ElementType& type : element_types) {
    if (type.number == number) return type.name;
  }
  return "type " + std::to_string(static_cast<int>(number));
}

std::string text_of(const std::vector<Tensor>& tensors) {
  std::string text;
  for (const Tensor& tensor : tensors) {
    text += (text.empty() ? "" : ", ") + tensor.name + " " + tensor.dtype + " (";
    for (std::size_t axis = 0; axis < tensor.shape.size(); ++axis) {
      const std::int64_t side = tensor.shape[axis];
      text += (axis == 0 ? "" : ", ") + (side < 0 ? std::string("any") : std::to_string(side));
    }
    text += ")";
  }
  return text.empty() ? "none" : text;
}

bool same(const Tensor& one, const Tensor& other) {
  return one.name == other.name && one.dtype == other.dtype && one.shape == other.shape;
}

// Reads inputs or outputs of a session, one at a time.
class Reader {
 public:
  Reader(const OnnxRuntime& runtime, const OrtSession& session)
      : runtime_(runtime), session_(session) {
    require(runtime.api->GetAllocatorWithDefaultOptions(&allocator_));
  }

  std::vector<Tensor> inputs() {
    const OrtApi& api = *runtime_.api;
    return read(api.SessionGetInputCount, api.SessionGetInputName, api.SessionGetInputTypeInfo);
  }

  std::vector<Tensor> outputs() {
    const OrtApi& api = *runtime_.api;
    return read(api.SessionGetOutputCount, api.SessionGetOutputName, api.SessionGetOutputTypeInfo);
  }

 private:
  void require(OrtStatus* outcome) const {
    runtime_.require(outcome, Status::failed, "ONNX Runtime failed");
  }

  template <typename Count, typename Name, typename Type>
  std::vector<Tensor> read(Count count, Name name, Type type) {
    std::size_t number = 0;
    require(count(&session_, &number));
    std::vector<Tensor> tensors(number);
    for (std::size_t index = 0; index < number; ++index) {
      char* text = nullptr;
      require(name(&session_, index, allocator_, &text));
      tensors[index].name = text;
      require(runtime_.api->AllocatorFree(allocator_, text));
      OrtTypeInfo* info = nullptr;
      require(type(&session_, index, &info));
      fill(tensors[index], TypeInfoOwner(info, {runtime_.api}));
    }
    return tensors;
  }

  void fill(Tensor& tensor, const TypeInfoOwner& info) {
    const OrtTensorTypeAndShapeInfo* shape = nullptr;
    require(runtime_.api->CastTypeInfoToTensorInfo(info.get(), &shape));
    if (shape == nullptr) {
      tensor.dtype = "no tensor";
      return;
    }
    ONNXTensorElementDataType number{};
    require(runtime_.api->GetTensorElementType(shape, &number));
    tensor.dtype = name_of(number);
    std::size_t rank = 0;
    require(runtime_.api->GetDimensionsCount(shape, &rank));
    tensor.shape.resize(rank);
    require(runtime_.api->GetDimensions(shape, tensor.shape.data(), rank));
  }

  const OnnxRuntime& runtime_;
  const OrtSession& session_;
  OrtAllocator* allocator_ = nullptr;
};

void require_equal(const std::string& name, const char* role, const std::vector<Tensor>& found,
                   const std::vector<Tensor>& wanted) {
  if (std::equal(found.begin(), found.end(), wanted.begin(), wanted.end(), same)) return;
  throw Error(Status::input, name + ": " + role + " are " + text_of(found) +
                                 ", manifest.json says " + text_of(wanted) + "; export it again");
}

}  // namespace

ONNXTensorElementDataType element_type(const std::string& dtype) {
  const auto* const found =
      std::find_if(std::begin(element_types), std::end(element_types),
                   [&](const ElementType& type) { return dtype == type.name; });
  return found == std::end(element_types) ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED : found->number;
}

void require_specification(const OnnxRuntime& runtime, const OrtSession& session,
                           const Manifest& manifest, const std::string& name) {
  Reader reader(runtime, session);
  require_equal(name, "inputs", reader.inputs(), {manifest.input});
  require_equal(name, "outputs", reader.outputs(), manifest.outputs);
}

}  // namespace levit
