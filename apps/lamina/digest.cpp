#include "lamina/digest.h"

#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <memory>
#include <system_error>
#include <vector>

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;

Result<std::string> file_digest(const std::filesystem::path& path, DigestKind kind) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  std::ifstream in(path, std::ios::binary);
  if (error || !in) return fail(ErrorCode::kIo, path.string(), "cannot be read");

  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  bool good = context &&
              EVP_DigestInit_ex(context.get(), kind == DigestKind::kSha256 ? EVP_sha256() : EVP_sha1(), nullptr) == 1;
  if (good && kind == DigestKind::kGitBlob) {
    const std::string head = fmt::format("blob {}", bytes);
    good = EVP_DigestUpdate(context.get(), head.c_str(), head.size() + 1) == 1;
  }
  std::vector<char> buffer(1 << 20);
  while (good && in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    good = EVP_DigestUpdate(context.get(), buffer.data(), static_cast<size_t>(in.gcount())) == 1;
  }
  if (!in.eof()) return fail(ErrorCode::kIo, path.string(), "cannot be read to its end");

  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (!good || EVP_DigestFinal_ex(context.get(), digest.data(), &size) != 1) {
    return fail(ErrorCode::kUnsupported, path.string(), "the cryptographic library refuses this digest");
  }
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace lamina::app
