#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "preprocess.hpp"
#include "refusal.hpp"

using levit_test::contains;
using levit_test::refusal;

namespace {

levit::Preprocessing contract_of(int side, int shorter, const std::string& rounding = "half_even") {
  levit::Preprocessing contract;
  contract.image_size = side;
  contract.resize_size = shorter;
  contract.crop_rounding = rounding;
  for (int channel = 0; channel < 3; ++channel) {
    contract.mean[channel] = 0.5F;
    contract.std[channel] = 0.25F;
  }
  return contract;
}

std::vector<std::uint8_t> ramp(int width, int height) {
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width) *
                                   static_cast<std::size_t>(height) * 3);
  for (std::size_t i = 0; i < pixels.size(); ++i)
    pixels[i] = static_cast<std::uint8_t>(i * 31 % 251);
  return pixels;
}

std::vector<std::uint8_t> resized(levit::Preprocessor& preprocessor, const levit::PixelView& view) {
  std::vector<std::uint8_t> rgb(
      static_cast<std::size_t>(preprocessor.side() * preprocessor.side()) * 3);
  preprocessor.resize(view, rgb.data());
  return rgb;
}

}  // namespace

TEST_CASE("preprocess: stride, order of channels and upside-down rows") {
  const int width = 37;
  const int height = 29;
  const std::vector<std::uint8_t> pixels = ramp(width, height);
  levit::Preprocessor preprocessor(contract_of(8, 11));
  const std::vector<std::uint8_t> expected =
      resized(preprocessor, {pixels.data(), width, height, width * 3, false});

  const std::ptrdiff_t stride = width * 3 + 5;
  std::vector<std::uint8_t> wide(static_cast<std::size_t>(stride * height), 77);
  std::vector<std::uint8_t> turned(wide.size(), 77);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const std::uint8_t value = pixels[static_cast<std::size_t>((y * width + x) * 3 + c)];
        wide[static_cast<std::size_t>(y * stride + x * 3 + 2 - c)] = value;
        turned[static_cast<std::size_t>((height - 1 - y) * stride + x * 3 + c)] = value;
      }
    }
  }
  CHECK(resized(preprocessor, {wide.data(), width, height, stride, true}) == expected);
  CHECK(resized(preprocessor, {turned.data() + (height - 1) * stride, width, height, -stride,
                               false}) == expected);
}

TEST_CASE(
    "preprocess: an image of the right size is only cut, and the roundings part on an odd excess") {
  const std::vector<std::uint8_t> pixels = ramp(11, 8);
  levit::Preprocessor even(contract_of(8, 8));
  levit::Preprocessor floor(contract_of(8, 8, "floor"));
  const auto first_of = [&](levit::Preprocessor& preprocessor) {
    return resized(preprocessor, {pixels.data(), 11, 8, 33, false})[0];
  };
  CHECK(first_of(even) == pixels[2 * 3]);  // 1.5 to the even 2
  CHECK(first_of(floor) == pixels[1 * 3]);
}

TEST_CASE("preprocess: the memory of another image changes nothing") {
  levit::Preprocessor fresh(contract_of(16, 20));
  levit::Preprocessor used(contract_of(16, 20));
  const std::vector<std::uint8_t> large = ramp(400, 300);
  resized(used, {large.data(), 400, 300, 1200, false});
  for (const auto& [width, height] : {std::pair{21, 20}, {20, 33}, {5, 7}, {90, 40}}) {
    const std::vector<std::uint8_t> pixels = ramp(width, height);
    const levit::PixelView view{pixels.data(), width, height, width * 3, false};
    CHECK(resized(fresh, view) == resized(used, view));
  }
}

TEST_CASE("preprocess: normalised planes") {
  levit::Preprocessor preprocessor(contract_of(1, 1));
  const std::uint8_t pixel[] = {0, 255, 51};
  float planes[3];
  preprocessor.normalize(pixel, planes);
  CHECK(planes[0] == -2.0F);
  CHECK(planes[1] == 2.0F);
  CHECK(planes[2] == (51.0F / 255.0F - 0.5F) / 0.25F);
}

TEST_CASE("preprocess: views and contracts that make no sense are refused") {
  const std::vector<std::uint8_t> pixels = ramp(4, 4);
  levit::Preprocessor preprocessor(contract_of(2, 1000));
  const auto refused = [&](const levit::PixelView& view) {
    return refusal([&] { resized(preprocessor, view); });
  };
  levit::PixelView view{pixels.data(), 4, 4, 12, false};
  CHECK(refused(view).empty());
  view.stride = 11;
  CHECK(contains(refused(view), "stride"));
  CHECK(contains(refused({nullptr, 4, 4, 12, false}), "no pixels"));
  CHECK(contains(refused({pixels.data(), 0, 4, 12, false}), "no pixels"));
  CHECK(contains(refused({pixels.data(), 4, -1, 12, false}), "no pixels"));
  CHECK(contains(refused({pixels.data(), 100'000, 100'000, 300'000, false}), "exceed the limit"));
  CHECK(contains(refused({pixels.data(), 2147483647, 2147483647, 1, false}), "stride"));
  CHECK(contains(refused({pixels.data(), 1, 1'000'000, 3, false}), "too elongated"));
  const auto refused_contract = [](const levit::Preprocessing& contract) {
    return refusal([&] { levit::Preprocessor{contract}; });
  };
  CHECK_FALSE(refused_contract(contract_of(0, 5)).empty());
  CHECK_FALSE(refused_contract(contract_of(6, 5)).empty());
  CHECK_FALSE(refused_contract(contract_of(6, 8193)).empty());
  CHECK_FALSE(refused_contract(contract_of(6, 8, "up")).empty());
  levit::Preprocessing contract = contract_of(6, 8);
  contract.std[1] = 0.0F;
  CHECK_FALSE(refused_contract(contract).empty());
}
