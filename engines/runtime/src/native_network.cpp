#include "native_network.hpp"

#include <levit/native.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "error.hpp"

namespace levit {
namespace {

levit_native_options options_of(const Manifest& manifest, std::uint32_t threads) {
  const Architecture& sizes = manifest.architecture;
  levit_native_options options{};
  options.image_size = manifest.preprocessing.image_size;
  options.classes = manifest.num_classes;
  options.key_width = sizes.key_dim;
  std::copy(sizes.embed_dims.begin(), sizes.embed_dims.end(), options.widths);
  std::copy(sizes.heads.begin(), sizes.heads.end(), options.heads);
  std::copy(sizes.depths.begin(), sizes.depths.end(), options.depths);
  options.threads = static_cast<std::int32_t>(threads);
  options.instruction_set = "";
  return options;
}

native::Network make_network(const Manifest& manifest, NativeWeights& weights,
                             std::uint32_t threads) {
  native::Parameters parameters([&](std::size_t index) { return weights.unpack(index); },
                                weights.count());
  try {
    return native::Network(*native::find_kernels(""), options_of(manifest, threads), parameters);
  } catch (const native::ConfigurationError& error) {
    throw Error(Status::environment,
                std::string("the native kernels refuse the network: ") + error.what());
  } catch (const std::system_error& error) {
    throw Error(Status::environment,
                std::to_string(threads) + " threads cannot be started: " + error.what());
  }
}

}  // namespace

NativeNetwork::NativeNetwork(const Manifest& manifest, NativeWeights& weights,
                             std::vector<float> normalized, std::uint32_t threads)
    : normalized_(std::move(normalized)), network_(make_network(manifest, weights, threads)) {}

void NativeNetwork::run(const void* images, std::size_t count, float* logits) const {
  try {
    if (normalized_.empty()) {
      network_.run(static_cast<const float*>(images), count, logits);
    } else {
      network_.run(native::Pixels{static_cast<const std::uint8_t*>(images), normalized_.data()},
                   count, logits);
    }
  } catch (const native::NotFiniteError& error) {
    throw Error(Status::input, error.what());
  }
}

}  // namespace levit
