// Typed access to the fields of manifest.json; every refusal names the field.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "json.hpp"

namespace levit {

[[noreturn]] void refuse_manifest(const std::string& reason);

// The value of a field that must be there, of any kind. `place` begins the message, as in "engine
// 'x': ".
const JsonValue& any_field(const JsonValue& document, std::string_view name,
                           const std::string& place = "");

const JsonValue& object_field(const JsonValue& document, std::string_view name,
                              const std::string& place = "");
const JsonValue::Array& list_field(const JsonValue& document, std::string_view name,
                                   const std::string& place = "");
const std::string& text_field(const JsonValue& document, std::string_view name,
                              const std::string& place = "");

// A whole number; one that 64 bits cannot hold is refused with the field's name.
std::int64_t integer_field(const JsonValue& document, std::string_view name,
                           const std::string& place = "");

// An object whose values are texts.
std::map<std::string, std::string> texts_field(const JsonValue& document, std::string_view name,
                                               const std::string& place = "");

// The value of a whole or floating-point number; false for any other kind.
bool is_number(const JsonValue& value, double& number);

}  // namespace levit
