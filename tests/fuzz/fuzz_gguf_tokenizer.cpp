// Reads the input as a GGUF file up to the last "\n--\n", makes the tokenizer of its metadata and encodes what follows.

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "format/gguf.h"
#include "models/vocabulary.h"
#include "tokenizer_exercise.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr std::string_view kEnd = "\n--\n";
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(input.rfind(kEnd), size);
  const auto gguf = lamina::format::Gguf::from_bytes(std::as_bytes(std::span(data, cut)), "fuzz");
  if (!gguf) return 0;
  auto metadata = lamina::models::read_tokenizer_data(*gguf);
  if (!metadata) return metadata.error().message.empty() ? -1 : 0;
  const auto tokenizer = lamina::text::Tokenizer::from_data(std::move(*metadata));
  if (!tokenizer) return tokenizer.error().message.empty() ? -1 : 0;
  lamina::fuzz::exercise(*tokenizer, "Hello  World\t\u2581x \u00e9e\u0301\n1234 <0x0A>");
  if (cut < size) lamina::fuzz::exercise(*tokenizer, input.substr(cut + kEnd.size()));
  return 0;
}
