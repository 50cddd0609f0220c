// Which other files a graph makes ONNX Runtime open: tensors may lie outside of the model, at any
// path that it names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>

namespace levit {

// The places of external tensors as the model spells them, in every graph, function and attribute
// of it. Throws Error(input) when the bytes are no ONNX model, or when it has nodes that name files
// in ways of their own.
std::set<std::string> external_files(const std::uint8_t* model, std::size_t size);

}  // namespace levit
