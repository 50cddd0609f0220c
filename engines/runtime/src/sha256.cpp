#include "sha256.hpp"

#include <openssl/evp.h>

#include <array>
#include <new>

#include "error.hpp"

namespace levit {
namespace {

constexpr std::size_t digest_bytes = 32;

// libcrypto refuses where the administrator's configuration leaves it without SHA-256.
void require(int done) {
  if (done != 1) throw Error(Status::environment, "libcrypto cannot compute SHA-256");
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (context_ == nullptr) throw std::bad_alloc();
  require(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
}

void Sha256::update(const std::uint8_t* data, std::size_t size) {
  require(EVP_DigestUpdate(context_.get(), data, size));
}

std::string Sha256::hexadecimal() {
  std::array<std::uint8_t, digest_bytes> digest;
  require(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr));
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * digest.size());
  for (const std::uint8_t byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::string sha256_of(const std::uint8_t* data, std::size_t size) {
  Sha256 hash;
  hash.update(data, size);
  return hash.hexadecimal();
}

}  // namespace levit
