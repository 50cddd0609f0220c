// Reads JSON that came from a stranger (RFC 8259), in bounded memory and depth.
//
// Our own, because the manifest needs what common readers blur: whole numbers apart from
// floating-point ones, duplicate keys refused (two readers would take different values), and a
// limit on depth and count before anything is built. Stricter than Python's json otherwise only in
// that lone surrogates are refused, and UTF-16 text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace levit {

struct JsonMember;

// A number that was written without fraction and exponent.
struct JsonInteger {
  std::int64_t value = 0;
  bool fits = true;      // whether `value` holds it
  double nearest = 0.0;  // the double next to it, which always exists
};

class JsonValue {
 public:
  using Array = std::vector<JsonValue>;
  using Object = std::vector<JsonMember>;  // sorted by key, keys differ

  JsonValue() = default;
  explicit JsonValue(bool value) : value_(value) {}
  explicit JsonValue(JsonInteger value) : value_(value) {}
  explicit JsonValue(double value) : value_(value) {}
  explicit JsonValue(std::string value) : value_(std::move(value)) {}
  explicit JsonValue(Array value) : value_(std::move(value)) {}
  explicit JsonValue(Object value) : value_(std::move(value)) {}

  // Null when the value is of another kind.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const JsonInteger* integer() const { return std::get_if<JsonInteger>(&value_); }
  const double* floating() const { return std::get_if<double>(&value_); }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }

  // Of an object: the value under `key`. Null when there is none, or this is no object.
  const JsonValue* find(std::string_view key) const;

  // "null", "bool", "int", "float", "str", "list", "dict": as the Python package names the kinds in
  // its messages.
  const char* kind() const;

 private:
  std::variant<std::monostate, bool, JsonInteger, double, std::string, Array, Object> value_;
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

constexpr int max_json_depth = 200;
constexpr std::size_t max_json_values = 1'000'000;

// Throws Error(input) that says where `text` is no JSON, or too large.
JsonValue parse_json(std::string_view text);

}  // namespace levit
