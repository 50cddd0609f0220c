// Tables for people, drawn as levit-classify draws them.
#pragma once

#include <string>
#include <vector>

namespace levit_run {

struct Column {
  std::string title;
  bool right = true;
};

// A title, a head and rows of printable texts, with lines around them.
std::string draw_table(const std::string& title, const std::vector<Column>& columns,
                       const std::vector<std::vector<std::string>>& rows);

// "12.34" with so many places behind the point.
std::string fixed(double value, int places);

}  // namespace levit_run
