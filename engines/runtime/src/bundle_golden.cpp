#include "bundle_golden.hpp"

#include <cstdint>
#include <cstring>

#include "error.hpp"
#include "json.hpp"
#include "safetensors.hpp"
#include "text.hpp"

namespace levit {
namespace {

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(Status::input, "not a golden set (" + reason + ")");
}

const StoredTensor& tensor_named(const Safetensors& file, const char* name, const char* dtype,
                                 const std::vector<std::int64_t>& shape) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end()) refuse(std::string("it has no ") + name);
  if (found->second.dtype != dtype)
    throw Error(Status::input, "images must be uint8 and logits float64");
  if (found->second.shape != shape) {
    throw Error(Status::input, "tensors do not have the shapes that manifest.json promises");
  }
  return found->second;
}

std::vector<std::string> names_of(const Safetensors& file) {
  const auto entry = file.metadata.find("names");
  if (entry == file.metadata.end()) refuse("it has no names");
  const JsonValue document = parse_json(entry->second);
  if (document.array() == nullptr) refuse("names is no list");
  std::vector<std::string> names;
  for (const JsonValue& name : *document.array()) {
    if (name.string() == nullptr) refuse("names holds something else than texts");
    names.push_back(*name.string());
  }
  return names;
}

double little_endian_double(const std::uint8_t* bytes) {
  std::uint64_t word = 0;
  for (int i = 8; i-- > 0;) word = word << 8 | bytes[i];
  double value = 0.0;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

}  // namespace

std::vector<std::string> parse_labels(std::string_view content) {
  static constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (content.substr(0, byte_order_mark.size()) == byte_order_mark)
    content.remove_prefix(byte_order_mark.size());
  if (!is_utf8(content))
    throw Error(Status::input, "not UTF-8 text; expected one class name a line");
  if (!content.empty() && content.back() == '\n') content.remove_suffix(1);
  std::vector<std::string> labels;
  for (bool more = true; more;) {
    const std::size_t end = content.find('\n');
    labels.emplace_back(strip(content.substr(0, end)));
    if (labels.back().empty()) {
      throw Error(Status::input, "empty line " + std::to_string(labels.size()) +
                                     "; expected one class name a line");
    }
    more = end != std::string_view::npos;
    if (more) content.remove_prefix(end + 1);
  }
  return labels;
}

Golden parse_golden(const std::vector<std::uint8_t>& content, int count, int side, int classes) {
  const Safetensors file = read_safetensors(content.data(), content.size());
  const StoredTensor& images = tensor_named(file, "images", "U8", {count, side, side, 3});
  const StoredTensor& logits = tensor_named(file, "logits", "F64", {count, classes});
  Golden golden;
  golden.count = count;
  golden.side = side;
  golden.names = names_of(file);
  if (golden.names.size() != static_cast<std::size_t>(count))
    refuse("as many names as images are needed");
  golden.images.assign(images.data, images.data + images.size_bytes);
  golden.logits.resize(logits.size_bytes / sizeof(double));
  for (std::size_t i = 0; i < golden.logits.size(); ++i) {
    golden.logits[i] = little_endian_double(logits.data + i * sizeof(double));
  }
  return golden;
}

}  // namespace levit
