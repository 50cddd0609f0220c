#include "plan_tensors.hpp"

#include <algorithm>
#include <iterator>

#include "error.hpp"
#include "text.hpp"

namespace levit {
namespace {

struct ElementSize {
  const char* name;
  std::size_t bytes;
};

constexpr ElementSize element_sizes[] = {{"float32", 4}, {"float16", 2}, {"bfloat16", 2},
                                         {"uint8", 1},   {"int64", 8},   {"int32", 4}};

constexpr std::size_t most_bytes_of_image = std::size_t{1} << 30;

std::string line_of(const PlanTensor& item) {
  std::string text =
      (item.is_input ? "input " : "output ") + item.tensor.name + " " + item.tensor.dtype + " (";
  for (std::size_t axis = 0; axis < item.tensor.shape.size(); ++axis) {
    const std::int64_t side = item.tensor.shape[axis];
    text += (axis == 0 ? "" : ", ") + (side < 0 ? std::string("any") : std::to_string(side));
  }
  return text + ")";
}

// In one order, so that two lists with the same tensors are the same text.
std::string text_of(const std::vector<PlanTensor>& tensors) {
  std::vector<std::string> lines;
  for (const PlanTensor& item : tensors) lines.push_back(line_of(item));
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : ", ") + line;
  return text.empty() ? "nothing" : text;
}

}  // namespace

void require_promised(const std::vector<PlanTensor>& found, const Manifest& manifest,
                      const std::string& name, const std::string& remedy) {
  std::vector<PlanTensor> wanted{{manifest.input, true}};
  for (const Tensor& output : manifest.outputs) wanted.push_back({output, false});
  const std::string has = text_of(found);
  const std::string promised = text_of(wanted);
  if (has == promised) return;
  throw Error(Status::input, name + ": has " + printable(has) + ", manifest.json promises " +
                                 printable(promised) + ": run " + remedy);
}

std::size_t bytes_of_image(const Tensor& tensor, std::int64_t batch) {
  const auto* const size =
      std::find_if(std::begin(element_sizes), std::end(element_sizes),
                   [&](const ElementSize& one) { return tensor.dtype == one.name; });
  bool known =
      size != std::end(element_sizes) && !tensor.shape.empty() && tensor.shape.front() == batch;
  std::size_t bytes = known ? size->bytes : 0;
  for (std::size_t axis = 1; known && axis < tensor.shape.size(); ++axis) {
    const std::int64_t side = tensor.shape[axis];
    known = side > 0 && static_cast<std::uint64_t>(side) <= most_bytes_of_image / bytes;
    if (known) bytes *= static_cast<std::size_t>(side);
  }
  if (known) return bytes;
  throw Error(Status::input, "manifest.json: " + quoted(tensor.name) + " of type " +
                                 quoted(tensor.dtype) +
                                 " is no tensor of a batch that a plan can give; export the bundle "
                                 "again");
}

}  // namespace levit
