#include "json_writer.hpp"

#include "text.hpp"

namespace levit_run {

void JsonWriter::key(const std::string& name) {
  separate();
  text_ += json_string(name) + ": ";
  after_key_ = true;
}

void JsonWriter::value(const std::string& text) {
  separate();
  text_ += json_string(text);
}

void JsonWriter::value(double number) {
  separate();
  text_ += json_number(number);
}

void JsonWriter::value(std::uint64_t number) {
  separate();
  text_ += std::to_string(number);
}

void JsonWriter::begin(char bracket) {
  separate();
  text_ += bracket;
  ++depth_;
  empty_ = true;
}

void JsonWriter::end(char bracket) {
  --depth_;
  if (!empty_) line();
  text_ += bracket;
  empty_ = false;
}

void JsonWriter::separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (depth_ == 0) return;
  if (!empty_) text_ += ',';
  line();
  empty_ = false;
}

void JsonWriter::line() { text_ += '\n' + std::string(2 * depth_, ' '); }

}  // namespace levit_run
