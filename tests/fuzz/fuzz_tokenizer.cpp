#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "text/tokenizer.h"
#include "tokenizer_exercise.h"

// Input: one byte of choice, a tokenizer (JSON text or packed metadata) up to the first 0xFF, then a text.
namespace {

using lamina::text::Tokenizer;
using lamina::text::TokenizerData;
using lamina::text::TokenType;

/// Takes small values and short strings off the front of the input.
class Bytes {
 public:
  explicit Bytes(std::string_view bytes) : bytes_(bytes) {}
  uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto value = static_cast<uint8_t>(bytes_[0]);
    bytes_.remove_prefix(1);
    return value;
  }
  std::string string() {
    const size_t length = std::min<size_t>(byte() % 12, bytes_.size());
    std::string out(bytes_.substr(0, length));
    bytes_.remove_prefix(length);
    return out;
  }
  bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
};

TokenizerData read_data(std::string_view packed) {
  constexpr const char* kModels[] = {"gpt2", "llama", "bert", "t5", "none"};
  constexpr const char* kPre[] = {"default", "smollm", "qwen2", "llama-bpe", "deepseek-v3", "bloom", "none"};
  Bytes in(packed);
  TokenizerData data;
  data.model = kModels[in.byte() % 5];
  data.pre = kPre[in.byte() % 7];
  const uint8_t flags = in.byte();
  for (int32_t* id : {&data.bos, &data.eos, &data.eot, &data.unknown, &data.separator, &data.cls}) {
    *id = static_cast<int8_t>(in.byte());
  }
  if (flags & 1) data.add_bos = (flags & 2) != 0;
  if (flags & 4) data.add_space_prefix = (flags & 8) != 0;
  if (flags & 16) data.remove_extra_whitespaces = (flags & 32) != 0;
  while (!in.empty()) {
    const uint8_t kind = in.byte();
    if (kind % 4 == 3) {
      data.merges.push_back(in.string());
    } else if (kind % 64 == 2) {
      data.precompiled_charsmap.push_back(in.byte());
    } else {
      data.tokens.push_back(in.string());
      data.types.push_back(static_cast<TokenType>(kind / 4 % 6));
      data.scores.push_back(static_cast<float>(static_cast<int8_t>(in.byte())));
    }
  }
  return data;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(bytes), size);
  if (input.empty()) return 0;
  const size_t cut = std::min(input.find('\xFF', 1), input.size());
  const std::string_view head = input.substr(1, cut - 1);
  const std::string_view text = cut < input.size() ? input.substr(cut + 1) : head;
  auto made = input[0] % 2 == 0 ? Tokenizer::from_json(head) : Tokenizer::from_data(read_data(head));
  if (made) lamina::fuzz::exercise(*made, text);
  return 0;
}
