#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "json.hpp"
#include "refusal.hpp"

using levit::JsonValue;
using levit::parse_json;
using levit_test::contains;
using levit_test::refusal;

namespace {

std::string refused(const std::string& text) {
  return refusal([&] { parse_json(text); });
}

}  // namespace

TEST_CASE("json: every kind of value") {
  const JsonValue value = parse_json(
      R"( {"n": null, "t": true, "i": -12, "d": 1.5e2, "s": "\u00e9\n\ud83d\ude00", "a": [1, []], "o": {}} )");
  CHECK(std::string(value.find("n")->kind()) == "null");
  CHECK(*value.find("t")->boolean());
  CHECK(value.find("i")->integer()->value == -12);
  CHECK(*value.find("d")->floating() == 150.0);
  CHECK(*value.find("s")->string() == "\xC3\xA9\n\xF0\x9F\x98\x80");
  CHECK(value.find("a")->array()->size() == 2);
  CHECK(value.find("o")->object()->empty());
  CHECK(value.find("absent") == nullptr);
  CHECK(value.find("a")->find("x") == nullptr);
  CHECK(parse_json("\xEF\xBB\xBF[]").array() != nullptr);
}

TEST_CASE(
    "json: whole numbers stay apart from floating-point ones, and huge ones are known to be huge") {
  CHECK(parse_json("1.0").integer() == nullptr);
  CHECK(parse_json("1").floating() == nullptr);
  CHECK(parse_json("9223372036854775807").integer()->value ==
        std::numeric_limits<std::int64_t>::max());
  const JsonValue huge = parse_json("92233720368547758080");
  CHECK_FALSE(huge.integer()->fits);
  CHECK(huge.integer()->nearest == 92233720368547758080.0);
  CHECK(*parse_json("1e-400").floating() == 0.0);
  CHECK(*parse_json("0." + std::string(400, '0') + "1").floating() == 0.0);
  CHECK(contains(refused("1e400"), "too large"));
  CHECK(contains(refused("0.1e99999999999999999999"), "too large"));
  CHECK(contains(refused("1" + std::string(400, '0') + "e-5"), "too large"));
  CHECK(contains(refused(std::string(400, '9')), "too large"));
}

TEST_CASE("json: what is no JSON is refused") {
  for (const char* const text : {"",
                                 " ",
                                 "{",
                                 "[",
                                 "[1",
                                 "[1,",
                                 "[1,]",
                                 "{\"a\"",
                                 "{\"a\":",
                                 "{\"a\":1,}",
                                 "{a:1}",
                                 "nul",
                                 "NaN",
                                 "Infinity",
                                 "-",
                                 "01",
                                 "1.",
                                 ".5",
                                 "1e",
                                 "+1",
                                 "\"",
                                 "\"\\x\"",
                                 "\"\\u12\"",
                                 "\"\\ud800\"",
                                 "\"\\udc00\\ud800\"",
                                 "\"\\u+123\"",
                                 "[1] 2",
                                 "'a'",
                                 "// x"}) {
    CAPTURE(text);
    CHECK(contains(refused(text), "not JSON"));
  }
  CHECK(contains(refused(std::string("\"a\nb\"")), "control character"));
  CHECK(contains(refused("\"\xC0\xAF\""), "not UTF-8"));
  CHECK(contains(refused("\"\xED\xA0\x80\""), "not UTF-8"));
  CHECK(contains(refused(std::string("\"a\0b\"", 5)), "control character"));
}

TEST_CASE("json: a key twice is refused, as two readers would take different values") {
  CHECK(contains(refused(R"({"b": 1, "a": 1, "b": 2})"), "'b' twice"));
  CHECK(contains(refused(R"({"a": 1, "\u0061": 2})"), "'a' twice"));
}

TEST_CASE("json: depth and count are bounded") {
  const auto nested = [](int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']');
  };
  CHECK(refused(nested(levit::max_json_depth)).empty());
  CHECK(contains(refused(nested(levit::max_json_depth + 2)), "nested deeper"));
  CHECK(contains(refused(std::string(3'000'000, '[')), "nested deeper"));
  std::string many = "[";
  for (std::size_t i = 0; i < levit::max_json_values; ++i) many += "1,";
  CHECK(contains(refused(many + "1]"), "values"));
}

TEST_CASE("json: truncated at every length is refused") {
  const std::string text = R"({"a": [1, -2.5e3, "\u00e9", true, false, null], "b": {"c": {}}})";
  CHECK(refused(text).empty());
  for (std::size_t size = 0; size < text.size(); ++size)
    CHECK_FALSE(refused(text.substr(0, size)).empty());
}
