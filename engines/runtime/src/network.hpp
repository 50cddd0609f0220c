// The network of a bundle, whichever library runs it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace levit {

// How many images one run may hold, and the sizes that are to be tested.
struct BatchSizes {
  int minimum = 1;
  int maximum = 1;
  std::vector<int> verified;
};

// Takes and gives what the manifest says. `run` may be called from several threads at once.
class Network {
 public:
  Network() = default;
  virtual ~Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // Logits (count, classes) of `count` images in the manifest's layout. `count` is one that the
  // network takes. Throws Error(failed).
  virtual void run(const void* images, std::size_t count, float* logits) const = 0;
};

// A network with what is to be told of it.
struct OpenedNetwork {
  std::unique_ptr<Network> network;
  BatchSizes batches;
  std::string provider;  // "CPUExecutionProvider", "TensorRT", "native"
  std::string graph;     // the member that was loaded
  std::string note;      // what a user should know of how it was opened, or ""
  // Of what runs it; those of the others are empty.
  std::string onnxruntime_version;
  std::string onnxruntime_library;
  std::string tensorrt_version;
  std::string tensorrt_library;
  std::string instruction_set;
};

}  // namespace levit
