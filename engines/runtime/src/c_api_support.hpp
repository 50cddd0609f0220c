// What every function of the C interface does: no exception leaves it, structs of other sizes are
// understood.
#pragma once

#include <levit/levit.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>
#include <string>

#include "error.hpp"

namespace levit {

// Keeps `message` for levit_last_error of this thread; cannot fail.
void remember_error(const char* message) noexcept;

// Runs `call` and turns what it throws into a status and a message.
template <typename Call>
levit_status guarded(Call&& call) noexcept {
  try {
    call();
    return LEVIT_OK;
  } catch (const Error& error) {
    remember_error(error.what());
    return static_cast<levit_status>(error.status());
  } catch (const std::bad_alloc&) {
    remember_error("not enough memory");
    return LEVIT_MEMORY;
  } catch (const std::exception& error) {
    remember_error(error.what());
    return LEVIT_FAILED;
  } catch (...) {
    remember_error("an exception that says nothing");
    return LEVIT_FAILED;
  }
}

// A struct_size that was never set is a large number of anything: nothing is read or written there.
constexpr std::size_t largest_struct = 4096;

// Throws Error(argument) when a struct is smaller than it was when it was first published, or
// larger than any ever will be.
inline void require_size(std::size_t size, std::size_t smallest, const char* name) {
  if (size >= smallest && size <= largest_struct) return;
  throw Error(Status::argument, std::string("struct_size of ") + name + " is " +
                                    std::to_string(size) + ", not " + std::to_string(smallest) +
                                    " to " + std::to_string(largest_struct) + ": set it to sizeof");
}

// `given` as this library knows the struct: what an older caller does not have comes from
// `defaults`. What a newer caller has beyond that must be zero, or it asks for something that this
// library cannot do. `smallest` is the size of the struct when it was first published. Throws
// Error(argument).
template <typename Struct>
Struct struct_from(const Struct* given, const Struct& defaults, std::size_t smallest,
                   const char* name) {
  if (given == nullptr) return defaults;
  const std::size_t size = given->struct_size;
  require_size(size, smallest, name);
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  if (std::any_of(bytes + std::min(size, sizeof(Struct)), bytes + size,
                  [](unsigned char byte) { return byte != 0; })) {
    throw Error(Status::argument,
                std::string(name) + " asks for what this older library does not know");
  }
  Struct known = defaults;
  std::memcpy(&known, given, std::min(size, sizeof(Struct)));
  return known;
}

// Writes `known` to the caller's struct, whose size was checked: as much of it as that has, and
// zeros to what only a newer caller has.
template <typename Struct>
void struct_to(Struct* given, const Struct& known) {
  const std::size_t size = given->struct_size;
  const std::size_t both = std::min(size, sizeof(Struct));
  std::memcpy(given, &known, both);
  std::memset(reinterpret_cast<unsigned char*>(given) + both, 0, size - both);
  given->struct_size = size;
}

}  // namespace levit
