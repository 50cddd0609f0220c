// What an action refuses, as its message; empty when it refuses nothing.
#pragma once

#include <string>

#include "error.hpp"

namespace levit_test {

template <typename Action>
std::string refusal(const Action& action) {
  try {
    action();
  } catch (const levit::Error& error) {
    return error.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace levit_test
