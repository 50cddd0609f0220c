// Whether the network that was opened reproduces the golden logits of its bundle on this very
// machine.
#pragma once

#include <string>

#include "bundle.hpp"
#include "network.hpp"

namespace levit {

struct SelfTestReport {
  int images = 0;
  double share = 0;  // the largest error, as a share of the tolerance
};

// Replays the golden images in batches of `batch`, a size that the network takes, of which the last
// is filled up. Throws Error(failed) that names the image and the class where a logit is further
// from float64 than the manifest allows, or is not a number; Error(input) when there is nothing to
// replay.
SelfTestReport self_test(const Bundle& bundle, const Network& network, int batch);

}  // namespace levit
