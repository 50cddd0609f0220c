// As levit_engines.parameters does it in Python.
#include "onnx_parameters.hpp"

#include <algorithm>
#include <functional>

#include "error.hpp"

namespace levit {
namespace {

[[noreturn]] void refuse(const std::string& reason) { throw Error(Status::input, reason); }

// A constant and whether it is the second factor of a product.
struct Found {
  const OnnxConstant* constant;
  bool is_factor;
};

using FoundByPath = std::map<std::string, Found, std::less<>>;

bool cut(std::string_view& name, std::string_view ending) {
  if (name.size() < ending.size() || name.substr(name.size() - ending.size()) != ending)
    return false;
  name.remove_suffix(ending.size());
  return true;
}

bool cut_digits(std::string_view& name) {
  const std::size_t end = name.find_last_not_of("0123456789") + 1;  // 0 where there are only digits
  const bool has_digits = end < name.size();
  name = name.substr(0, end);
  return has_digits;
}

// Whether `name` is that of a second factor, PATH/MatMul:constant1 or PATH/MatMul_2:constant1: then
// it becomes the path. levit_export.passes.names names it so.
bool cut_factor(std::string_view& name) {
  std::string_view rest = name;
  if (!cut_digits(rest) || !cut(rest, ":constant")) return false;
  std::string_view numbered = rest;
  if (cut_digits(numbered) && cut(numbered, "_")) rest = numbered;
  if (!cut(rest, "/MatMul") || rest.empty()) return false;
  name = rest;
  return true;
}

bool is_whole_number(OnnxType type) {
  return type == OnnxType::int64 || type == OnnxType::int32 || type == OnnxType::boolean;
}

void require_known(const ParameterShapes& shapes, std::string_view path) {
  if (shapes.count(path) == 0) refuse("the network has no parameter " + shown(path));
}

FoundByPath find_constants(const OnnxGraph& graph, const ParameterShapes& shapes,
                           const std::set<std::string_view>& others) {
  FoundByPath found;
  for (const OnnxConstant& constant : graph.constants) {
    if (is_whole_number(constant.type) || others.count(constant.name) != 0) continue;
    if (constant.is_elsewhere) refuse(shown(constant.name) + " is in another file");
    if (constant.type != OnnxType::float32)
      refuse(shown(constant.name) + " is " + name_of(constant.type) + ", wanted is FLOAT");
    std::string_view name = constant.name;
    const bool is_factor = cut_factor(name);
    std::string path(name);
    if (is_factor) path += ".weight";
    require_known(shapes, path);
    if (!found.emplace(path, Found{&constant, is_factor}).second)
      refuse("two constants are " + path);
  }
  return found;
}

std::string_view after_last(std::string_view text, char separator) {
  return text.substr(text.rfind(separator) + 1);  // all of it where there is none
}

// Adds the parameters that are equal to another module's of the same kind: a graph has such a
// constant once.
void add_shared(const OnnxGraph& graph, const ParameterShapes& shapes, FoundByPath& found) {
  FoundByPath shared;
  for (const OnnxNode& node : graph.nodes) {
    const std::string_view reader = node.name.substr(0, node.name.rfind('/'));
    for (const std::string_view used : node.inputs) {
      const auto constant = found.find(used);
      const std::size_t dot = used.rfind('.');
      if (constant == found.end() || dot == std::string_view::npos || dot == 0) continue;
      if (after_last(used.substr(0, dot), '.') != after_last(reader, '.')) continue;
      const std::string path = std::string(reader) + std::string(used.substr(dot));
      require_known(shapes, path);
      shared.insert_or_assign(path, constant->second);
    }
  }
  found.merge(shared);  // what a module has of its own comes first
}

std::string text_of(const OnnxShape& shape) {
  std::string text;
  for (const std::int64_t side : shape) text += (text.empty() ? "" : ", ") + std::to_string(side);
  return "(" + text + (shape.size() == 1 ? ",)" : ")");
}

// Whether `shape` is `wanted`, but for two dimensions of one before or behind it.
bool fits(const OnnxShape& shape, const OnnxShape& wanted) {
  OnnxShape before = wanted;
  OnnxShape behind = wanted;
  before.insert(before.begin(), 2, 1);
  behind.insert(behind.end(), 2, 1);
  return shape == wanted || shape == before || shape == behind;
}

// A softmax over one value is 1, so onnxsim leaves out what goes into it.
bool is_for_one_key(std::string_view path, const OnnxShape& wanted) {
  return cut(path, ".attention.bias") && wanted.back() == 1;
}

OnnxParameter fitted(const std::string& path, const OnnxShape& wanted, const Found& found) {
  OnnxShape shape = found.constant->shape;
  if (found.is_factor) std::reverse(shape.begin(), shape.end());
  if (!(found.is_factor ? shape == wanted && shape.size() == 2 : fits(shape, wanted))) {
    refuse(path + " has shape " + text_of(shape) + ", the network's has " + text_of(wanted));
  }
  std::size_t bytes = sizeof(float);
  for (const std::int64_t side : wanted) bytes *= static_cast<std::size_t>(side);
  if (found.constant->content.size() != bytes) refuse(shown(found.constant->name) + " is damaged");
  return {found.constant->content, found.is_factor ? wanted.back() : 0};
}

}  // namespace

std::map<std::string, OnnxParameter> read_parameters(const OnnxGraph& graph,
                                                     const ParameterShapes& shapes,
                                                     const std::set<std::string_view>& others) {
  FoundByPath found = find_constants(graph, shapes, others);
  add_shared(graph, shapes, found);
  std::map<std::string, OnnxParameter> parameters;
  for (const auto& [path, wanted] : shapes) {
    const auto constant = found.find(path);
    if (constant != found.end()) {
      parameters.emplace(path, fitted(path, wanted, constant->second));
    } else if (is_for_one_key(path, wanted)) {
      parameters.emplace(path, OnnxParameter{});
    } else {
      refuse("no constant is the network's parameter " + path);
    }
  }
  return parameters;
}

}  // namespace levit
