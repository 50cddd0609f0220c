#include <doctest/doctest.h>

#include "c_api_support.hpp"
#include "utf8.hpp"

TEST_CASE("utf8: no terminal code and no line end is printed") {
  CHECK(levit::printable("\x1b[2Ja\n\xC3\xA9\xFF") == "\\x1b[2Ja\\x0a\xC3\xA9\\xff");
  CHECK(levit::printable("\xC2\x9B") == "\\x9b");
  CHECK(levit::printable("\xE2\x80\xA8\xE2\x80\xAE") == "\\u2028\\u202e");
  CHECK(levit::printable("").empty());
}

TEST_CASE("utf8: what Unicode forbids is not valid") {
  for (const char* const bytes : {"\x80", "\xC0\xAF", "\xC3", "\xE0\x80\xAF", "\xED\xA0\x80",
                                  "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80"}) {
    CHECK_FALSE(levit::first_character(bytes).valid);
    CHECK(levit::first_character(bytes).length == 1);
  }
  CHECK(levit::first_character("\xF4\x8F\xBF\xBF").code == 0x10FFFF);
}

TEST_CASE("the last error is one line, whatever was in its parts") {
  levit::remember_error("two\nlines\x1b[2J \xC3\xA9 \xFF \xE2\x80\xA8");
  CHECK(levit_last_error() == std::string("two?lines?[2J \xC3\xA9 ? ?"));
}

TEST_CASE("a long last error is cut between characters") {
  std::string text(1022, 'a');
  levit::remember_error((text + "\xC3\xA9").c_str());
  CHECK(levit_last_error() == text);
}
