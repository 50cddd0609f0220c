// The field `preprocessing` of manifest.json.
#pragma once

#include "json.hpp"
#include "manifest.hpp"

namespace levit {

// levit_deploy.preprocessing.MAX_RESIZE_SIDE: its square is max_pixels.
constexpr int max_resize_side = 8192;

// Throws Error(input): a field is missing, unknown, ill-typed, or asks for what this version lacks.
Preprocessing read_preprocessing(const JsonValue& document);

// Throws Error(argument) when a value is out of range; for contracts that do not come from a
// manifest.
void require_valid(const Preprocessing& contract);

}  // namespace levit
