// What levit-run writes: numbers, texts, tables, percentiles.
#include <doctest/doctest.h>

#include "cli/json_writer.hpp"
#include "cli/percentiles.hpp"
#include "cli/table.hpp"
#include "cli/text.hpp"

using namespace levit_run;

TEST_CASE("numbers are written as Python writes them") {
  CHECK(json_number(0.0) == "0.0");
  CHECK(json_number(1.0) == "1.0");
  CHECK(json_number(0.1) == "0.1");
  CHECK(json_number(1e-4) == "0.0001");
  CHECK(json_number(1.5e-5) == "1.5e-05");
  CHECK(json_number(1e16) == "1e+16");
  CHECK(json_number(123456789012345680.0) == "1.2345678901234568e+17");
  CHECK(json_number(0.0070167450669119825) == "0.0070167450669119825");
  CHECK(json_number(5e-324) == "5e-324");
}

TEST_CASE("texts are written in ASCII, whatever bytes they hold") {
  CHECK(json_string("a\"b\\c\n\x01") == "\"a\\\"b\\\\c\\n\\u0001\"");
  CHECK(json_string("\xC3\xA9\xF0\x9F\x90\xB1") == "\"\\u00e9\\ud83d\\udc31\"");
  CHECK(json_string("\xFF\xC3") == "\"\\udcff\\udcc3\"");
  CHECK(json_string("\xED\xA0\x80") == "\"\\udced\\udca0\\udc80\"");  // a surrogate is no UTF-8
}

TEST_CASE("no terminal code is printed") {
  CHECK(printable("\x1b[2Ja\n\xC3\xA9\xFF") == "\\x1b[2Ja\\x0a\xC3\xA9\\xff");
  CHECK(printable("\xE2\x80\xAE") == "\\u202e");
  CHECK(width_of("\xC3\xA9"
                 "a") == 2);
}

TEST_CASE("documents are indented as Python indents them") {
  JsonWriter json;
  json.begin_object();
  json.key("a");
  json.begin_list();
  json.value(1.5);
  json.value(std::string("x"));
  json.end_list();
  json.key("empty");
  json.begin_list();
  json.end_list();
  json.key("n");
  json.value(std::uint64_t{3});
  json.end_object();
  CHECK(json.text() == "{\n  \"a\": [\n    1.5,\n    \"x\"\n  ],\n  \"empty\": [],\n  \"n\": 3\n}");
}

TEST_CASE("percentiles are printed where the count carries them") {
  const auto names = [](std::size_t count) {
    std::string text;
    for (const auto& [name, value] : percentiles_of(std::vector<double>(count, 1.0)))
      text += name + " ";
    return text;
  };
  CHECK(names(10).empty());
  CHECK(names(11) == "p50 ");
  CHECK(names(63) == "p50 ");
  CHECK(names(64) == "p50 p90 ");
  CHECK(names(661) == "p50 p90 ");
  CHECK(names(662) == "p50 p90 p99 ");
  CHECK(names(6635) == "p50 p90 p99 ");
  CHECK(names(6636) == "p50 p90 p99 p99.9 ");
}

TEST_CASE("a percentile is one of the samples") {
  std::vector<double> samples;
  for (int index = 100; index > 0; --index) samples.push_back(index);
  const auto found = percentiles_of(samples);
  CHECK(found[0].second == 50);
  CHECK(found[1].second == 90);
}

TEST_CASE("a table is as wide as what it holds") {
  CHECK(draw_table("t", {{"n"}, {"name", false}}, {{"1", "\xC3\xA9"}}) ==
        "t\n┏━━━┳━━━━━━┓\n┃ n ┃ name ┃\n┡━━━╇━━━━━━┩\n│ 1 │ \xC3\xA9    │\n└───┴──────┘\n");
}
