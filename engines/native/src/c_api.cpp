#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "fused_network.hpp"
#include "levit/native.h"

using levit::native::ConfigurationError;
using levit::native::Kernels;
using levit::native::Network;

struct levit_native_network {
  levit_native_network(const Kernels& kernels, const levit_native_options& options,
                       levit::native::Parameters& parameters)
      : network(kernels, options, parameters) {}

  Network network;
};

namespace {

// Runs `work` and lets no exception out; 0, or another value with what went wrong in `message`.
template <class Work>
std::int32_t guarded(char* message, std::size_t size, const Work& work) {
  std::string problem;
  std::int32_t status = 1;
  try {
    work();
    return 0;
  } catch (const std::bad_alloc&) {
    problem = "not enough memory";
  } catch (const levit::native::NotFiniteError& error) {
    problem = error.what();
    status = LEVIT_NATIVE_NOT_FINITE;
  } catch (const std::exception& error) {
    problem = error.what();
  }
  if (message != nullptr && size > 0) {
    const std::size_t length = std::min(problem.size(), size - 1);
    std::memcpy(message, problem.data(), length);
    message[length] = '\0';
  }
  return status;
}

}  // namespace

extern "C" {

std::int32_t levit_native_version() { return LEVIT_NATIVE_VERSION; }

std::int32_t levit_native_create(const levit_native_options* options,
                                 const levit_native_parameter* parameters,
                                 std::size_t parameter_count, levit_native_network** network,
                                 char* message, std::size_t message_size) {
  return guarded(message, message_size, [&] {
    const Kernels* kernels = levit::native::find_kernels(options->instruction_set);
    if (kernels == nullptr) {
      throw ConfigurationError(std::string("this CPU has not the instruction set ") +
                               options->instruction_set);
    }
    levit::native::Parameters given([&](std::size_t index) { return parameters[index]; },
                                    parameter_count);
    *network = std::make_unique<levit_native_network>(*kernels, *options, given).release();
  });
}

std::int32_t levit_native_supports(const char* instruction_set) {
  return levit::native::find_kernels(instruction_set) == nullptr ? 0 : 1;
}

void levit_native_destroy(levit_native_network* network) { delete network; }

const char* levit_native_instruction_set(const levit_native_network* network) {
  return network->network.kernels().name;
}

std::int32_t levit_native_run(levit_native_network* network, const float* images, std::size_t batch,
                              float* logits, char* message, std::size_t message_size) {
  return guarded(message, message_size, [&] { network->network.run(images, batch, logits); });
}

std::int32_t levit_native_run_pixels(levit_native_network* network, const std::uint8_t* pixels,
                                     const float* normalized, std::size_t batch, float* logits,
                                     char* message, std::size_t message_size) {
  return guarded(message, message_size, [&] {
    network->network.run(levit::native::Pixels{pixels, normalized}, batch, logits);
  });
}

}  // extern "C"
