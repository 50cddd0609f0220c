#include "preprocess_contract.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "error.hpp"
#include "text.hpp"

namespace levit {
namespace {

struct Choice {
  std::string_view field;
  std::string_view first;
  std::string_view second;  // empty where there is no choice
};

constexpr std::array<Choice, 9> choices = {{
    {"colour", "RGB", ""},
    {"interpolation", "bicubic, antialiased", ""},
    {"resize_pass_order", "horizontal, vertical", ""},
    {"resize_longer_side", "truncated", ""},
    {"crop", "centre", ""},
    {"scale", "1/255", ""},
    {"layout", "NCHW", ""},
    {"exif_orientation", "ignored", "applied"},
    {"crop_rounding", "half_even", "floor"},
}};
constexpr std::array<std::string_view, 4> values = {"image_size", "resize_shorter_side", "mean",
                                                    "std"};

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(Status::input, "preprocessing: " + reason);
}

void require_known_fields(const JsonValue& document) {
  const auto require = [&](std::string_view field) {
    if (document.find(field) == nullptr) refuse("field " + quoted(field) + " is missing");
  };
  for (const Choice& choice : choices) require(choice.field);
  for (const std::string_view field : values) require(field);
  for (const JsonMember& member : *document.object()) {
    const auto named = [&](const Choice& choice) { return choice.field == member.key; };
    const bool known = std::any_of(choices.begin(), choices.end(), named) ||
                       std::find(values.begin(), values.end(), member.key) != values.end();
    // A field that we do not know could change the pixels.
    if (!known) refuse("field " + quoted(member.key) + " is unknown");
  }
}

const std::string& chosen(const JsonValue& document, const Choice& choice) {
  const std::string* const value = document.find(choice.field)->string();
  if (value == nullptr ||
      (*value != choice.first && (choice.second.empty() || *value != choice.second))) {
    std::string wanted = quoted(choice.first);
    if (!choice.second.empty()) wanted += " or " + quoted(choice.second);
    refuse(std::string(choice.field) + " is " + (value == nullptr ? "no text" : quoted(*value)) +
           "; implemented is " + wanted);
  }
  return *value;
}

// Sizes beyond the largest are cut to one above it, which is refused as well.
int size_field(const JsonValue& document, std::string_view field) {
  const JsonInteger* const number = document.find(field)->integer();
  if (number == nullptr) refuse(std::string(field) + " is not an integer");
  const std::int64_t value = number->fits ? number->value : max_resize_side + 1;
  return static_cast<int>(std::clamp<std::int64_t>(value, 0, max_resize_side + 1));
}

void three_numbers(const JsonValue& document, std::string_view field, double smallest,
                   float (&numbers)[3]) {
  const JsonValue::Array* const items = document.find(field)->array();
  bool valid = items != nullptr && items->size() == 3;
  for (std::size_t channel = 0; valid && channel < 3; ++channel) {
    const JsonValue& item = (*items)[channel];
    double number = -1.0;
    if (item.integer() != nullptr) number = item.integer()->nearest;
    if (item.floating() != nullptr) number = *item.floating();
    valid = number >= smallest && number <= 1.0;
    // Rounded once, as numpy.float32() does.
    numbers[channel] = static_cast<float>(number);
  }
  if (!valid)
    refuse(std::string(field) + " is not three numbers in " +
           (smallest > 0.0 ? "[1/255, 1]" : "[0, 1]"));
}

std::string size_problem(const Preprocessing& contract) {
  const bool valid = 1 <= contract.image_size && contract.image_size <= contract.resize_size &&
                     contract.resize_size <= max_resize_side;
  if (valid) return "";
  return "the crop is never padded, so 1 <= image_size <= resize_shorter_side <= " +
         std::to_string(max_resize_side) + " must hold";
}

}  // namespace

Preprocessing read_preprocessing(const JsonValue& document) {
  if (document.object() == nullptr) refuse(std::string("a ") + document.kind() + ", not an object");
  require_known_fields(document);
  Preprocessing contract;
  for (const Choice& choice : choices) {
    const std::string& value = chosen(document, choice);
    if (choice.field == "exif_orientation") contract.apply_exif_orientation = value == "applied";
    if (choice.field == "crop_rounding") contract.crop_rounding = value;
  }
  contract.image_size = size_field(document, "image_size");
  contract.resize_size = size_field(document, "resize_shorter_side");
  three_numbers(document, "mean", 0.0, contract.mean);
  three_numbers(document, "std", 1.0 / 255.0, contract.std);
  if (const std::string problem = size_problem(contract); !problem.empty()) refuse(problem);
  return contract;
}

void require_valid(const Preprocessing& contract) {
  if (const std::string problem = size_problem(contract); !problem.empty())
    throw Error(Status::argument, problem);
  for (int channel = 0; channel < 3; ++channel) {
    const float mean = contract.mean[channel];
    const float deviation = contract.std[channel];
    if (!(mean >= 0.0F && mean <= 1.0F)) throw Error(Status::argument, "mean must be in [0, 1]");
    // 1/255 rounded to float32 may be just below the double.
    if (!(deviation >= 1.0F / 255.0F && deviation <= 1.0F))
      throw Error(Status::argument, "std must be in [1/255, 1]");
  }
  if (contract.crop_rounding != "half_even" && contract.crop_rounding != "floor") {
    throw Error(Status::argument, "crop_rounding must be half_even or floor");
  }
}

}  // namespace levit
