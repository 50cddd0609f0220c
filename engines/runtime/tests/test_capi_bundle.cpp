// The C++ interface on a real bundle, from several threads: what ThreadSanitizer and
// AddressSanitizer look at.
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <levit/levit.hpp>
#include <thread>
#include <vector>

namespace {

// Cases below are only run where a test names a bundle: nothing here can write one.
const char* bundle() { return std::getenv("LEVIT_TEST_BUNDLE"); }

std::vector<std::uint8_t> gradient(std::size_t width, std::size_t height, std::size_t stride) {
  std::vector<std::uint8_t> pixels(height * stride);
  for (std::size_t row = 0; row < height; ++row) {
    for (std::size_t place = 0; place < 3 * width; ++place) {
      pixels[row * stride + place] = static_cast<std::uint8_t>(3 * row + 7 * place);
    }
  }
  return pixels;
}

levit_pixels view(const std::vector<std::uint8_t>& pixels, std::uint32_t width,
                  std::uint32_t height, std::ptrdiff_t stride) {
  return {pixels.data(), width, height, stride, 0};
}

// Whether eight threads at once get the logits that one gets.
void check_threads(const levit::Classifier& classifier) {
  const auto pixels = gradient(90, 70, 270);
  const auto image = view(pixels, 90, 70, 270);
  const auto expected =
      classifier.classify(std::vector<levit_pixels>{image, image, image}, 5, true);
  std::vector<int> wrong(8, 0);
  std::vector<std::thread> threads;
  for (std::size_t index = 0; index < wrong.size(); ++index) {
    threads.emplace_back([&, index] {
      for (int round = 0; round < 5; ++round) {
        const auto found =
            classifier.classify(std::vector<levit_pixels>{image, image, image}, 5, true);
        if (found.logits != expected.logits) ++wrong[index];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(8, 0));
}

}  // namespace

TEST_CASE("eight threads get what one gets") {
  if (bundle() == nullptr) {
    MESSAGE("not run: LEVIT_TEST_BUNDLE names no bundle");
    return;
  }
  levit::Options options;
  options.threads = 2;
  for (const levit_provider provider : {LEVIT_PROVIDER_CPU, LEVIT_PROVIDER_NATIVE}) {
    CAPTURE(provider);
    options.provider = provider;
    check_threads(levit::Classifier(bundle(), options));
  }
}

TEST_CASE("rows may lie apart, backwards, and hold blue first") {
  if (bundle() == nullptr) return;
  const levit::Classifier classifier(bundle());
  const auto tight = gradient(50, 60, 150);
  const auto expected =
      classifier.classify(std::vector<levit_pixels>{view(tight, 50, 60, 150)}, 1, true).logits;

  const auto apart = gradient(50, 60, 160);
  CHECK(classifier.classify(std::vector<levit_pixels>{view(apart, 50, 60, 160)}, 1, true).logits ==
        expected);

  std::vector<std::uint8_t> backwards(tight.size());
  for (std::size_t row = 0; row < 60; ++row)
    std::memcpy(&backwards[(59 - row) * 150], &tight[row * 150], 150);
  auto image = view(backwards, 50, 60, -150);
  image.data += 59 * 150;
  CHECK(classifier.classify(std::vector<levit_pixels>{image}, 1, true).logits == expected);

  auto swapped = tight;
  for (std::size_t place = 0; place < swapped.size(); place += 3)
    std::swap(swapped[place], swapped[place + 2]);
  image = view(swapped, 50, 60, 150);
  image.bgr = 1;
  CHECK(classifier.classify(std::vector<levit_pixels>{image}, 1, true).logits == expected);
}

TEST_CASE("a bad image is named by its place") {
  if (bundle() == nullptr) return;
  const levit::Classifier classifier(bundle());
  const auto pixels = gradient(40, 40, 120);
  auto bad = view(pixels, 40, 40, 10);
  try {
    classifier.classify(std::vector<levit_pixels>{view(pixels, 40, 40, 120), bad});
    FAIL("a stride of less than a row was taken");
  } catch (const levit::Exception& error) {
    CHECK(error.status() == LEVIT_ARGUMENT);
    CHECK(error.image() == 1);
  }
  const std::uint8_t text[] = "not an image";
  try {
    classifier.classify(std::vector<levit_encoded>{{text, sizeof text}});
    FAIL("a text was taken for an image");
  } catch (const levit::Exception& error) {
    CHECK(error.status() == LEVIT_INPUT);
    CHECK(error.image() == 0);
  }
}
