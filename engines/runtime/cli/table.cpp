#include "table.hpp"

#include <algorithm>
#include <cstdio>

#include "text.hpp"

namespace levit_run {
namespace {

using Widths = std::vector<std::size_t>;

std::string repeated(const std::string& piece, std::size_t count) {
  std::string text;
  for (std::size_t index = 0; index < count; ++index) text += piece;
  return text;
}

std::string rule(const Widths& widths, const char* left, const char* dash, const char* cross,
                 const char* right) {
  std::string line = left;
  for (std::size_t index = 0; index < widths.size(); ++index) {
    line += (index == 0 ? "" : cross) + repeated(dash, widths[index] + 2);
  }
  return line + right + "\n";
}

std::string row(const Widths& widths, const std::vector<Column>& columns,
                const std::vector<std::string>& cells, const char* bar) {
  std::string line;
  for (std::size_t index = 0; index < widths.size(); ++index) {
    const std::string gap(widths[index] - width_of(cells[index]), ' ');
    line += bar + std::string(" ") +
            (columns[index].right ? gap + cells[index] : cells[index] + gap) + " ";
  }
  return line + bar + "\n";
}

}  // namespace

std::string draw_table(const std::string& title, const std::vector<Column>& columns,
                       const std::vector<std::vector<std::string>>& rows) {
  Widths widths;
  std::vector<std::string> titles;
  for (std::size_t index = 0; index < columns.size(); ++index) {
    titles.push_back(columns[index].title);
    widths.push_back(width_of(titles.back()));
    for (const auto& cells : rows) widths.back() = std::max(widths.back(), width_of(cells[index]));
  }
  std::string table = title + "\n" + rule(widths, "┏", "━", "┳", "┓") +
                      row(widths, columns, titles, "┃") + rule(widths, "┡", "━", "╇", "┩");
  for (const auto& cells : rows) table += row(widths, columns, cells, "│");
  return table + rule(widths, "└", "─", "┴", "┘");
}

std::string fixed(double value, int places) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", places, value);
  return text;
}

}  // namespace levit_run
