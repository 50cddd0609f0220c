// In place of tensorrt_adapter.cpp where the headers of TensorRT and CUDA were not found.
#include "error.hpp"
#include "tensorrt.hpp"

namespace levit {

std::unique_ptr<TensorRt> open_tensorrt() {
  throw Error(Status::environment,
              "this program was built without TensorRT and runs no plans: compile it with "
              "-DLEVIT_TENSORRT=ON -DTENSORRT_ROOT=FOLDER, where the headers of TensorRT are");
}

}  // namespace levit
