#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <pcre2.h>

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace lamina::text {
namespace {

constexpr size_t kMaxPatternBytes = 64 * 1024;
constexpr uint32_t kMatchLimit = 20'000'000;
constexpr uint32_t kDepthLimit = 100'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;
constexpr size_t kJitStackMin = 32 * 1024;
constexpr size_t kJitStackMax = 8 * 1024 * 1024;

std::string pcre_message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  if (pcre2_get_error_message(code, buffer.data(), buffer.size()) < 0) return "unknown error";
  return reinterpret_cast<const char*>(buffer.data());
}

struct Free {
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

/// What a search needs besides the pattern; one per thread.
struct Scratch {
  Owned<pcre2_match_context> context{pcre2_match_context_create(nullptr)};
  Owned<pcre2_jit_stack> stack{pcre2_jit_stack_create(kJitStackMin, kJitStackMax, nullptr)};
  // One pair: only the bounds of the whole match are asked for.
  Owned<pcre2_match_data> match{pcre2_match_data_create(1, nullptr)};

  Scratch() {
    if (!ready()) return;
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_depth_limit(context.get(), kDepthLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
  bool ready() const { return context && stack && match; }
};

void find_literal(std::string_view needle, std::string_view text, std::vector<ByteRange>& out) {
  if (needle.empty()) return;
  for (size_t at = text.find(needle); at != std::string_view::npos; at = text.find(needle, at + needle.size())) {
    out.push_back({at, at + needle.size()});
  }
}

}  // namespace

core::Result<Pattern> Pattern::regex(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return core::fail(core::ErrorCode::kLimit, "pattern", "{} bytes long; at most {} expected", pattern.size(),
                      kMaxPatternBytes);
  }
  if (valid_prefix(pattern) != pattern.size()) {
    return core::fail(core::ErrorCode::kInvalid, "pattern", "is not valid UTF-8");
  }
  LAMINA_ASSIGN(const std::string translated, translate_pattern(pattern));
  Owned<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
  if (!context) return core::fail(core::ErrorCode::kLimit, "pattern", "out of memory");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE, &error,
                    &offset, context.get());
  if (code == nullptr) {
    return core::fail(core::ErrorCode::kInvalid, "pattern", "\"{}\" cannot be compiled: {} at byte {} of \"{}\"",
                      pattern, pcre_message(error), offset, translated);
  }
  // Without JIT (an unusual platform) the interpreter gives the same matches.
  (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  Pattern result;
  result.source_ = std::string(pattern);
  result.code_ = std::shared_ptr<const void>(
      code, [](const void* p) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(p))); });
  return result;
}

Pattern Pattern::literal(std::string_view text) {
  Pattern result;
  result.source_ = std::string(text);
  return result;
}

core::Status Pattern::find_all(std::string_view text, std::vector<ByteRange>& out) const {
  if (!code_) {
    find_literal(source_, text, out);
    return {};
  }
  thread_local Scratch scratch;
  if (!scratch.ready()) return core::fail(core::ErrorCode::kLimit, "pattern", "out of memory");
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(scratch.match.get());
  size_t position = 0;
  size_t last_end = SIZE_MAX;
  while (position <= text.size()) {
    const int count = pcre2_match(code, subject, text.size(), position, PCRE2_NO_UTF_CHECK, scratch.match.get(),
                                  scratch.context.get());
    if (count == PCRE2_ERROR_NOMATCH) return {};
    if (count < 0) {
      return core::fail(core::ErrorCode::kLimit, "pattern", "\"{}\" gave up at byte {} of the text: {}", source_,
                        position, pcre_message(count));
    }
    // \K in a look-around can put the start after the end; such a match has no text.
    const ByteRange range{found[0], found[1]};
    if (range.begin > range.end || range.end < position) {
      return core::fail(core::ErrorCode::kInvalid, "pattern", "\"{}\" moves the start of a match behind its end",
                        source_);
    }
    if (range.begin == range.end && range.end == last_end) {
      position += position < text.size() ? utf8_length(text[position]) : 1;
      continue;
    }
    out.push_back(range);
    position = last_end = range.end;
  }
  return {};
}

}  // namespace lamina::text
