#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "text/chat_template.h"

// Input: a template, a zero byte, and optionally a conversation as JSON.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  lamina::text::ChatTemplateInput arguments;
  arguments.now_unix = 1753747199;
  arguments.bos_token = "<s>";
  arguments.eos_token = "</s>";
  arguments.add_generation_prompt = true;
  if (zero != std::string_view::npos) {
    if (auto parsed = lamina::text::parse_messages(input.substr(zero + 1))) {
      arguments.messages = std::move(parsed->messages);
      arguments.tools = std::move(parsed->tools);
      arguments.extra = std::move(parsed->extra);
    }
  }
  const auto compiled = lamina::text::ChatTemplate::compile(std::string(input.substr(0, zero)));
  if (!compiled) return 0;
  lamina::text::TemplateLimits limits;
  limits.steps = 100'000;
  limits.output_bytes = limits.value_bytes = 1 << 20;
  limits.live_bytes = 16 << 20;
  limits.value_items = 100'000;
  (void)compiled->render(arguments, limits);
  return 0;
}
