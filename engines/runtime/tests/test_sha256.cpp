#include <doctest/doctest.h>

#include <string>

#include "sha256.hpp"

namespace {

std::string digest(const std::string& text) {
  return levit::sha256_of(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

}  // namespace

TEST_CASE("sha256: the examples of FIPS 180-4") {
  CHECK(digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(digest(std::string(1'000'000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("sha256: the pieces in which the bytes come change nothing") {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  for (std::size_t size = 0; size <= text.size(); ++size) {
    const std::string part = text.substr(0, size);
    const std::string whole = digest(part);
    for (const std::size_t step :
         {std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65}}) {
      levit::Sha256 hash;
      for (std::size_t begin = 0; begin < size; begin += step) {
        const std::string piece = part.substr(begin, step);
        hash.update(reinterpret_cast<const std::uint8_t*>(piece.data()), piece.size());
      }
      REQUIRE(hash.hexadecimal() == whole);
    }
  }
}
