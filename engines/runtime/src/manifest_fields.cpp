#include "manifest_fields.hpp"

#include "error.hpp"
#include "text.hpp"

namespace levit {
namespace {

[[noreturn]] void refuse_kind(std::string_view name, const char* wanted, const JsonValue& value,
                              const std::string& place) {
  refuse_manifest(place + "field " + quoted(name) + " must be " + wanted + ", got " + value.kind());
}

}  // namespace

void refuse_manifest(const std::string& reason) {
  throw Error(Status::input, "manifest.json: " + reason);
}

const JsonValue& any_field(const JsonValue& document, std::string_view name,
                           const std::string& place) {
  const JsonValue* const value = document.find(name);
  if (value == nullptr) refuse_manifest(place + "field " + quoted(name) + " is missing");
  return *value;
}

const JsonValue& object_field(const JsonValue& document, std::string_view name,
                              const std::string& place) {
  const JsonValue& value = any_field(document, name, place);
  if (value.object() == nullptr) refuse_kind(name, "dict", value, place);
  return value;
}

const JsonValue::Array& list_field(const JsonValue& document, std::string_view name,
                                   const std::string& place) {
  const JsonValue& value = any_field(document, name, place);
  if (value.array() == nullptr) refuse_kind(name, "list", value, place);
  return *value.array();
}

const std::string& text_field(const JsonValue& document, std::string_view name,
                              const std::string& place) {
  const JsonValue& value = any_field(document, name, place);
  if (value.string() == nullptr) refuse_kind(name, "str", value, place);
  return *value.string();
}

std::int64_t integer_field(const JsonValue& document, std::string_view name,
                           const std::string& place) {
  const JsonValue& value = any_field(document, name, place);
  const JsonInteger* const number = value.integer();
  if (number == nullptr) refuse_kind(name, "int", value, place);
  if (!number->fits) refuse_manifest(place + "field " + quoted(name) + " is out of range");
  return number->value;
}

std::map<std::string, std::string> texts_field(const JsonValue& document, std::string_view name,
                                               const std::string& place) {
  std::map<std::string, std::string> table;
  for (const JsonMember& member : *object_field(document, name, place).object()) {
    if (member.value.string() == nullptr)
      refuse_manifest(place + "every value of " + quoted(name) + " must be a string");
    table.emplace(member.key, *member.value.string());
  }
  return table;
}

bool is_number(const JsonValue& value, double& number) {
  if (value.integer() != nullptr) {
    number = value.integer()->nearest;
  } else if (value.floating() != nullptr) {
    number = *value.floating();
  } else {
    return false;
  }
  return true;
}

}  // namespace levit
