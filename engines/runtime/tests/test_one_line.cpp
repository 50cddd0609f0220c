#include <doctest/doctest.h>

#include "one_line.hpp"

TEST_CASE("what libraries say fits on one line") {
  CHECK(levit::one_line("a\nb\t c\r\n") == "a b c");
  CHECK(levit::one_line("\x1b[2Ja") == "[2Ja");
  CHECK(levit::one_line("").empty());
}

TEST_CASE("a long message is cut between characters") {
  std::string text(299, 'a');
  for (int index = 0; index < 10; ++index) text += "é";
  const std::string line = levit::one_line(text);
  CHECK(line == std::string(299, 'a') + "…");
}
