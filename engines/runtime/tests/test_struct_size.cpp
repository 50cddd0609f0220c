// Structs of the C interface from programs that are older or newer than the library.
#include <doctest/doctest.h>

#include <cstring>

#include "c_api_support.hpp"
#include "refusal.hpp"

using levit_test::contains;
using levit_test::refusal;

namespace {

struct Known {
  std::size_t struct_size;
  int first;
  int second;
};

}  // namespace

TEST_CASE("a newer caller finds zeros in what this library does not know") {
  struct {
    Known known;
    int added[4];
  } larger;
  std::memset(&larger, 0xFF, sizeof larger);
  larger.known.struct_size = sizeof larger;
  levit::struct_to(&larger.known, Known{0, 1, 2});
  CHECK(larger.known.struct_size == sizeof larger);
  CHECK(larger.known.second == 2);
  for (const int value : larger.added) CHECK(value == 0);
}

TEST_CASE("an older caller is written what it has") {
  Known older{offsetof(Known, second), 9, 9};
  levit::struct_to(&older, Known{0, 1, 2});
  CHECK(older.struct_size == offsetof(Known, second));
  CHECK(older.first == 1);
  CHECK(older.second == 9);
}

TEST_CASE("a size that was never set is refused before anything is read or written") {
  for (const std::size_t size : {std::size_t{3}, SIZE_MAX, std::size_t{1} << 20}) {
    CHECK(contains(refusal([&] { levit::require_size(size, 8, "levit_info"); }), "struct_size"));
  }
  CHECK(refusal([] { levit::require_size(4096, 8, "levit_info"); }).empty());
}
