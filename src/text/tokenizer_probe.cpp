#include "text/tokenizer_probe.h"

namespace lamina::text {
namespace {

constexpr std::string_view kTexts[] = {
    "",
    " ",
    "Hello world",
    "  two  spaces and\ttabs \n\nand lines\r\n ",
    "I'll say we've DON'T it's he'd",
    "1 12 123 1234567 3.14 1e-9 ²½",
    "for (int i = 0; i < n; ++i) { x[i] += \"a\\n\"; }  // done",
    "Größe Élève naïve café ﬁn Å",
    "Привет, мир! 你好,世界。こんにちは مرحبا नमस्ते",
    "😀👩‍👩‍👧 ☃️ →",
    "e\u0301 \u00a0 \u2003 \u200b x",
    "<s> [CLS] ▁ ## <0x0A> CamelCaseWORD_snake-case@x.org?!...",
};

std::string shown(std::string_view text) {
  return text.size() > 40 ? std::string(text.substr(0, 40)) + "..." : std::string(text);
}

}  // namespace

core::Status check_alike(const Tokenizer& from, const Tokenizer& to) {
  for (const bool special : {true, false}) {
    for (const std::string_view text : kTexts) {
      const EncodeOptions options{.add_special = special, .parse_special = false};
      const auto first = from.encode(text, options);
      const auto second = to.encode(text, options);
      if (first.has_value() == second.has_value() && (!first || *first == *second)) continue;
      return core::fail(core::ErrorCode::kUnsupported, "tokenizer",
                        "the other container cannot say what this one does: \"{}\" would get other tokens",
                        shown(text));
    }
  }
  return {};
}

}  // namespace lamina::text
