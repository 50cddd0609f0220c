// The parameters of a network as the native kernels take them, made one by one of what lies in the
// model: there is never a second copy of all of them.
#pragma once

#include <levit/native.h>

#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "onnx_graph.hpp"
#include "onnx_parameters.hpp"
#include "onnx_quantized.hpp"

namespace levit {

// The model that they lie in must outlive it.
class NativeWeights {
 public:
  // `order` names all parameters; each is one of `floats` or of `quantized`.
  NativeWeights(const std::vector<std::pair<std::string, OnnxShape>>& order,
                const std::map<std::string, OnnxParameter>& floats,
                std::map<std::string, QuantizedLayer> quantized);

  std::size_t count() const { return parameters_.size(); }

  // Parameter `index`, whose numbers last until the next but one is asked for: a layer is made of
  // two, its weights and its biases.
  levit_native_parameter unpack(std::size_t index);

 private:
  // Either a float parameter or a quantised layer, of so many numbers.
  struct Parameter {
    OnnxParameter floats;
    const QuantizedLayer* layer;
    std::size_t count;
  };

  std::map<std::string, QuantizedLayer> quantized_;
  std::vector<Parameter> parameters_;
  std::array<std::vector<float>, 2> unpacked_;
};

// Float32 from the bytes of the model.
std::vector<float> floats_of(const OnnxParameter& parameter);

}  // namespace levit
