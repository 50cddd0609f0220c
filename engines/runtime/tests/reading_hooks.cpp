// What the Python tests call through ctypes, to compare with levit_deploy byte for byte. For tests
// only: no part of liblevit. Every function returns 0, or a status with the reason in `message`.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "bundle.hpp"
#include "decode.hpp"
#include "error.hpp"
#include "preprocess.hpp"
#include "resample.hpp"

namespace {

constexpr std::size_t message_bytes = 1024;

// Runs `action`; what it throws becomes the status that is returned.
template <typename Action>
int guarded(char* message, const Action& action) {
  message[0] = '\0';
  try {
    action();
    return 0;
  } catch (const levit::Error& error) {
    std::snprintf(message, message_bytes, "%s", error.what());
    return static_cast<int>(error.status());
  } catch (const std::exception& error) {
    std::snprintf(message, message_bytes, "unexpected: %s", error.what());
    return 99;
  }
}

}  // namespace

extern "C" {

struct HookImage {
  levit::Image image;
};

HookImage* hook_image_new() { return new HookImage; }
void hook_image_free(HookImage* image) { delete image; }
int hook_image_width(const HookImage* image) { return image->image.width; }
int hook_image_height(const HookImage* image) { return image->image.height; }
const std::uint8_t* hook_image_pixels(const HookImage* image) { return image->image.rgb.data(); }

int hook_decode(HookImage* image, const std::uint8_t* data, std::size_t size, int apply_orientation,
                char* message) {
  return guarded(message,
                 [&] { levit::decode_image(data, size, image->image, apply_orientation != 0); });
}

struct HookPreprocessor {
  levit::Preprocessor preprocessor;
};

int hook_preprocessor_new(int side, int resize, int floor, const double* mean,
                          const double* deviation, HookPreprocessor** result, char* message) {
  return guarded(message, [&] {
    levit::Preprocessing contract;
    contract.image_size = side;
    contract.resize_size = resize;
    contract.crop_rounding = floor != 0 ? "floor" : "half_even";
    for (int channel = 0; channel < 3; ++channel) {
      contract.mean[channel] = static_cast<float>(mean[channel]);
      contract.std[channel] = static_cast<float>(deviation[channel]);
    }
    *result = new HookPreprocessor{levit::Preprocessor(contract)};
  });
}

void hook_preprocessor_free(HookPreprocessor* preprocessor) { delete preprocessor; }

int hook_resize(HookPreprocessor* preprocessor, const std::uint8_t* pixels, int width, int height,
                std::ptrdiff_t stride, int bgr, std::uint8_t* rgb, char* message) {
  return guarded(message, [&] {
    const levit::PixelView view{pixels, width, height, stride, bgr != 0};
    preprocessor->preprocessor.resize(view, rgb);
  });
}

// One RGB row of `width` pixels resized to `resized`.
void hook_resample_row(const std::uint8_t* pixels, int width, int resized, int portable,
                       std::uint8_t* rgb) {
  levit::ResampleAxis axis;
  axis.prepare(width, resized, 0, resized);
  levit::PlanarRow row;
  row.load(pixels, axis.input_begin(), axis.input_end(), false, axis.padded_taps());
  (portable != 0 ? levit::resample_row_portable : levit::resample_row)(axis, row, rgb);
}

void hook_normalize(const HookPreprocessor* preprocessor, const std::uint8_t* rgb, float* planes) {
  preprocessor->preprocessor.normalize(rgb, planes);
}

// Opens a bundle; with `everything` also verifies every member and reads labels and golden set,
// whose images and logits are copied where pointers are given.
int hook_bundle(const char* path, int everything, std::uint8_t* images, double* logits,
                char* message) {
  return guarded(message, [&] {
    const levit::Bundle bundle(path);
    if (everything == 0) return;
    for (const auto& [name, member] : bundle.manifest().members) bundle.read(name);
    bundle.labels();
    const levit::Golden golden = bundle.golden();
    if (images != nullptr) std::memcpy(images, golden.images.data(), golden.images.size());
    if (logits != nullptr)
      std::memcpy(logits, golden.logits.data(), golden.logits.size() * sizeof(double));
  });
}

// The names of a bundle, one a line: its classes, then its golden images.
int hook_bundle_names(const char* path, char* names, std::size_t capacity, char* message) {
  return guarded(message, [&] {
    const levit::Bundle bundle(path);
    std::string text;
    for (const std::string& label : bundle.labels()) text += label + "\n";
    for (const std::string& name : bundle.golden().names) text += name + "\n";
    if (text.size() >= capacity)
      throw levit::Error(levit::Status::argument, "the buffer is too small");
    std::memcpy(names, text.c_str(), text.size() + 1);
  });
}

}  // extern "C"
