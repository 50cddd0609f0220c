// SHA-256 (FIPS 180-4), computed by OpenSSL's libcrypto.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX: its headers stay out of ours

namespace levit {

class Sha256 {
 public:
  Sha256();

  void update(const std::uint8_t* data, std::size_t size);

  // The digest as 64 hexadecimal digits; the object is used up.
  std::string hexadecimal();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

std::string sha256_of(const std::uint8_t* data, std::size_t size);

}  // namespace levit
