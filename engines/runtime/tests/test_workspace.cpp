#include <doctest/doctest.h>

#include "workspace.hpp"

namespace {

levit::Preprocessing contract() {
  levit::Preprocessing contract;
  contract.image_size = 8;
  contract.resize_size = 8;
  contract.crop_rounding = "half_even";
  return contract;
}

// The bytes that the next call finds after one that took `size` for its image.
std::size_t kept_after(levit::WorkspacePool& pool, std::size_t size) {
  {
    const levit::WorkspacePool::Lease lease(pool);
    (*lease).image.rgb.resize(size);
  }
  const levit::WorkspacePool::Lease lease(pool);
  return (*lease).image_bytes();
}

}  // namespace

TEST_CASE("workspace: memory is kept from call to call, but not that of a huge image") {
  levit::WorkspacePool pool(contract());
  CHECK(kept_after(pool, 1000) >= 1000);
  CHECK(kept_after(pool, levit::most_kept_bytes) == levit::most_kept_bytes);
  for (int time = 0; time < 3; ++time) {
    CHECK(kept_after(pool, levit::most_kept_bytes + 1) == 0);
    CHECK(kept_after(pool, 500) >= 500);
  }
}

TEST_CASE("workspace: rows between the two passes count as well") {
  levit::Workspace workspace(contract());
  const std::vector<std::uint8_t> pixels(std::size_t{3} * 4 * 1000);
  std::vector<std::uint8_t> window(std::size_t{8} * 8 * 3);
  workspace.preprocessor.resize({pixels.data(), 4, 1000, 12, false}, window.data());
  CHECK(workspace.image_bytes() >= 8 * 3);
}
