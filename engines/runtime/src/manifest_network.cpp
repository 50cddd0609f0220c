#include "manifest_network.hpp"

#include <array>
#include <cstdint>
#include <limits>

#include "manifest_fields.hpp"
#include "text.hpp"

namespace levit {
namespace {

constexpr int patch_size = 16;
constexpr int max_image_size = 768;  // levit_deploy.architectures.MAX_IMAGE_SIZE

struct Variant {
  const char* arch;
  Architecture sizes;
};

// levit_deploy.architectures.VARIANTS
constexpr std::array<Variant, 5> variants = {{
    {"128S", {{128, 256, 384}, {4, 6, 8}, {2, 3, 4}, 16}},
    {"128", {{128, 256, 384}, {4, 8, 12}, {4, 4, 4}, 16}},
    {"192", {{192, 288, 384}, {3, 5, 6}, {4, 4, 4}, 32}},
    {"256", {{256, 384, 512}, {4, 6, 8}, {4, 4, 4}, 32}},
    {"384", {{384, 512, 768}, {6, 9, 12}, {4, 4, 4}, 32}},
}};

const Variant& variant_named(const std::string& arch) {
  for (const Variant& variant : variants) {
    if (arch == variant.arch) return variant;
  }
  refuse_manifest("unknown architecture " + quoted(arch) +
                  ": choose from 128S, 128, 192, 256, 384");
}

bool equals(const JsonValue& value, int expected) {
  double number = 0.0;
  return is_number(value, number) && number == expected;
}

void require_dimensions(const JsonValue& document, const char* name,
                        const std::array<int, 3>& expected, const char* arch) {
  const JsonValue::Array& values = list_field(document, name);
  bool same = values.size() == expected.size();
  for (std::size_t stage = 0; same && stage < expected.size(); ++stage)
    same = equals(values[stage], expected[stage]);
  if (!same) refuse_manifest(std::string(name) + " is not that of " + arch);
}

}  // namespace

NetworkFields read_network(const JsonValue& document) {
  const Variant& variant = variant_named(text_field(document, "arch"));
  const std::int64_t classes = integer_field(document, "num_classes");
  const std::int64_t side = integer_field(document, "image_size");
  const JsonValue& distillation = any_field(document, "distillation");
  if (distillation.boolean() == nullptr) refuse_manifest("field 'distillation' must be bool");
  if (side < patch_size || side > max_image_size || side % patch_size != 0) {
    refuse_manifest("image size " + std::to_string(side) +
                    " is not a multiple of 16 from 16 to 768");
  }
  if (classes < 1 || classes > std::numeric_limits<std::int32_t>::max()) {
    refuse_manifest("class count " + std::to_string(classes) + " is out of range");
  }
  require_dimensions(document, "embed_dims", variant.sizes.embed_dims, variant.arch);
  require_dimensions(document, "heads", variant.sizes.heads, variant.arch);
  require_dimensions(document, "depths", variant.sizes.depths, variant.arch);
  if (!equals(any_field(document, "key_dim"), variant.sizes.key_dim)) {
    refuse_manifest(std::string("key_dim is not that of ") + variant.arch);
  }
  return {variant.arch, variant.sizes, static_cast<int>(classes), static_cast<int>(side)};
}

}  // namespace levit
