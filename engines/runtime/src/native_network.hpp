// The network of a bundle on the kernels of engines/native.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fused_network.hpp"
#include "manifest.hpp"
#include "native_weights.hpp"
#include "network.hpp"

namespace levit {

// Calls take turns where they have several threads. The memory of each that ever ran at the same
// time grows to its largest batch and is kept.
class NativeNetwork final : public Network {
 public:
  // On the best instruction set of this CPU. `weights` are those of the manifest's network, and not
  // needed afterwards; `normalized` (3, 256) is what each byte of a channel becomes where the
  // bundle takes pixels, else empty. Throws Error(environment).
  NativeNetwork(const Manifest& manifest, NativeWeights& weights, std::vector<float> normalized,
                std::uint32_t threads);

  std::string instruction_set() const { return network_.kernels().name; }

  void run(const void* images, std::size_t count, float* logits) const override;

 private:
  std::vector<float> normalized_;
  native::Network network_;
};

}  // namespace levit
