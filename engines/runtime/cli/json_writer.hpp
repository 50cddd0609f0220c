// One JSON document, indented by two, as Python's json.dumps writes it.
#pragma once

#include <cstdint>
#include <string>

namespace levit_run {

class JsonWriter {
 public:
  void begin_object() { begin('{'); }
  void end_object() { end('}'); }
  void begin_list() { begin('['); }
  void end_list() { end(']'); }
  void key(const std::string& name);
  void value(const std::string& text);
  void value(double number);
  void value(std::uint64_t number);

  const std::string& text() const { return text_; }

 private:
  void begin(char bracket);
  void end(char bracket);
  void separate();
  void line();

  std::string text_;
  std::size_t depth_ = 0;
  bool empty_ = true;  // nothing was written yet in the innermost brackets
  bool after_key_ = false;
};

}  // namespace levit_run
