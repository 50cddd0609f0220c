#include "json.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>
#include <utility>

#include "error.hpp"
#include "text.hpp"

namespace levit {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  JsonValue document() {
    JsonValue value = parse_value(0);
    skip_space();
    if (position_ != text_.size()) fail("something follows the document");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(Status::input,
                "not JSON (" + reason + " at byte " + std::to_string(position_) + ")");
  }

  void skip_space() {
    while (position_ < text_.size() &&
           std::string_view(" \t\n\r").find(text_[position_]) != std::string_view::npos) {
      ++position_;
    }
  }

  // The next character, or 0 at the end, which no token begins with.
  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  bool take(char expected) {
    if (peek() != expected || position_ == text_.size()) return false;
    ++position_;
    return true;
  }

  void take_word(std::string_view word) {
    if (text_.substr(position_, word.size()) != word) fail("unknown word");
    position_ += word.size();
  }

  JsonValue parse_value(int depth) {
    if (depth > max_json_depth) fail("nested deeper than " + std::to_string(max_json_depth));
    if (++count_ > max_json_values)
      fail("more than " + std::to_string(max_json_values) + " values");
    skip_space();
    switch (peek()) {
      case '{':
        return JsonValue(parse_object(depth));
      case '[':
        return JsonValue(parse_array(depth));
      case '"':
        return JsonValue(parse_string());
      case 't':
        take_word("true");
        return JsonValue(true);
      case 'f':
        take_word("false");
        return JsonValue(false);
      case 'n':
        take_word("null");
        return JsonValue();
      default:
        return parse_number();
    }
  }

  JsonValue::Object parse_object(int depth) {
    JsonValue::Object members;
    take('{');
    skip_space();
    if (take('}')) return members;
    do {
      skip_space();
      if (peek() != '"') fail("a key was expected");
      std::string key = parse_string();
      skip_space();
      if (!take(':')) fail("a colon was expected");
      members.push_back({std::move(key), parse_value(depth + 1)});
      skip_space();
    } while (take(','));
    if (!take('}')) fail("a comma or the end of the object was expected");
    const auto less = [](const JsonMember& left, const JsonMember& right) {
      return left.key < right.key;
    };
    const auto equal = [](const JsonMember& left, const JsonMember& right) {
      return left.key == right.key;
    };
    std::sort(members.begin(), members.end(), less);
    const auto twice = std::adjacent_find(members.begin(), members.end(), equal);
    if (twice != members.end())
      fail("key " + quoted(twice->key) + " twice in the object that ends");
    return members;
  }

  JsonValue::Array parse_array(int depth) {
    JsonValue::Array items;
    take('[');
    skip_space();
    if (take(']')) return items;
    do {
      items.push_back(parse_value(depth + 1));
      skip_space();
    } while (take(','));
    if (!take(']')) fail("a comma or the end of the list was expected");
    return items;
  }

  // Bytes that are no UTF-8 never arrive here: parse_json has looked.
  std::string parse_string() {
    std::string content;
    take('"');
    while (true) {
      if (position_ == text_.size()) fail("a text has no end");
      const char character = text_[position_++];
      if (character == '"') return content;
      if (static_cast<unsigned char>(character) < 0x20) fail("a control character in a text");
      if (character == '\\') {
        append_escape(content);
      } else {
        content += character;
      }
    }
  }

  void append_escape(std::string& content) {
    static constexpr std::string_view names = "\"\\/bfnrt";
    static constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
    if (take('u')) {
      append_code(content, escaped_code());
      return;
    }
    const std::size_t index =
        position_ == text_.size() ? std::string_view::npos : names.find(text_[position_]);
    if (index == std::string_view::npos) fail("unknown escape");
    content += meanings[index];
    ++position_;
  }

  std::uint32_t escaped_code() {
    const std::uint32_t first = four_digits();
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first > 0xDBFF || !take('\\') || !take('u')) fail("half of a surrogate pair");
    const std::uint32_t second = four_digits();
    if (second < 0xDC00 || second > 0xDFFF) fail("half of a surrogate pair");
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  std::uint32_t four_digits() {
    const std::string_view digits = text_.substr(position_, 4);
    std::uint32_t code = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() != 4 || error != std::errc() || end != digits.data() + 4)
      fail("\\u needs four digits");
    position_ += 4;
    return code;
  }

  static void append_code(std::string& content, std::uint32_t code) {
    const auto append = [&content](std::uint32_t byte) { content += static_cast<char>(byte); };
    if (code < 0x80) {
      append(code);
      return;
    }
    if (code < 0x800) {
      append(0xC0 | code >> 6);
    } else {
      if (code < 0x10000) {
        append(0xE0 | code >> 12);
      } else {
        append(0xF0 | code >> 18);
        append(0x80 | (code >> 12 & 0x3F));
      }
      append(0x80 | (code >> 6 & 0x3F));
    }
    append(0x80 | (code & 0x3F));
  }

  void take_digits() {
    const std::size_t begin = position_;
    while (peek() >= '0' && peek() <= '9') ++position_;
    if (position_ == begin) fail("a value was expected");
  }

  JsonValue parse_number() {
    const std::size_t begin = position_;
    take('-');
    if (!take('0')) take_digits();
    bool whole = true;
    if (take('.')) {
      whole = false;
      take_digits();
    }
    if (take('e') || take('E')) {
      whole = false;
      if (!take('+')) take('-');
      take_digits();
    }
    const char* const first = text_.data() + begin;
    const char* const last = text_.data() + position_;
    const double nearest = nearest_double(first, last);
    if (!whole) return JsonValue(nearest);
    JsonInteger integer;
    integer.nearest = nearest;
    integer.fits = std::from_chars(first, last, integer.value).ec == std::errc();
    return JsonValue(integer);
  }

  // Correctly rounded, as Python's float(). What is too small for a double is zero; what is too
  // large is refused.
  double nearest_double(const char* first, const char* last) const {
    double value = 0.0;
    if (std::from_chars(first, last, value).ec != std::errc::result_out_of_range) return value;
    if (is_above_one(std::string_view(first, static_cast<std::size_t>(last - first))))
      fail("a number that is too large");
    return 0.0;
  }

  // Of a number out of range, which from_chars does not tell: whether it is too large rather than
  // too small.
  static bool is_above_one(std::string_view number) {
    const std::size_t mark = std::min(number.find_first_of("eE"), number.size());
    std::int64_t magnitude = 0;  // digits before the point, less zeros behind it
    bool after_point = false;
    bool significant = false;
    for (const char character : number.substr(0, mark)) {
      if (character == '.') after_point = true;
      if (character < '0' || character > '9') continue;
      significant = significant || character != '0';
      if (significant && !after_point) ++magnitude;
      if (!significant && after_point) --magnitude;
    }
    std::int64_t exponent = 0;
    if (mark < number.size()) {
      std::string_view digits = number.substr(mark + 1);
      const bool negative = digits.front() == '-';
      if (negative || digits.front() == '+') digits.remove_prefix(1);
      const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
      if (result.ec != std::errc()) return !negative;
      if (negative) exponent = -exponent;
    }
    return magnitude > -exponent;
  }

  std::string_view text_;
  std::size_t position_ = 0;
  std::size_t count_ = 0;
};

}  // namespace

const JsonValue* JsonValue::find(std::string_view key) const {
  const Object* const members = object();
  if (members == nullptr) return nullptr;
  const auto found = std::lower_bound(
      members->begin(), members->end(), key,
      [](const JsonMember& member, std::string_view wanted) { return member.key < wanted; });
  return found != members->end() && found->key == key ? &found->value : nullptr;
}

const char* JsonValue::kind() const {
  static constexpr const char* names[] = {"null", "bool", "int", "float", "str", "list", "dict"};
  return names[value_.index()];
}

JsonValue parse_json(std::string_view text) {
  static constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (text.substr(0, byte_order_mark.size()) == byte_order_mark)
    text.remove_prefix(byte_order_mark.size());
  if (!is_utf8(text)) throw Error(Status::input, "not JSON (not UTF-8 text)");
  return Parser(text).document();
}

}  // namespace levit
