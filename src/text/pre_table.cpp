#include "text/pre_table.h"

#include <algorithm>

#include "text/pre_tokenizers.h"

namespace lamina::text {
namespace {

// The patterns are those of the models' published tokenizer.json files.

constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                     R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigits3 = R"(\p{N}{1,3})";
constexpr std::string_view kDeepseekCjk = R"([一-龥぀-ゟ゠-ヿ]+)";
constexpr std::string_view kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kNewline = R"([\r\n])";
constexpr std::string_view kCoderLetters = R"(\s?\p{L}+)";
constexpr std::string_view kCoderPunctuation = R"(\s?\p{P}+)";
constexpr std::string_view kCoderCjk = R"([一-龥ࠀ-一가-퟿]+)";
constexpr std::string_view kPunctuation = R"([\p{P}\$\+<=>\^~\|`]+)";
constexpr std::string_view kDefaultPunctuation = R"([\p{P}\$\+<=>\^~\|]+)";
constexpr std::string_view kDigitRun = R"(\p{N}+)";
constexpr std::string_view kThreeDigits = R"([0-9][0-9][0-9])";
constexpr std::string_view kBloom = R"( ?[^(\s|.,!?…。，、।۔،)]+)";

constexpr std::string_view kOnlyGpt2[] = {kGpt2};
constexpr std::string_view kDigitGpt2[] = {kDigit, kGpt2};
constexpr std::string_view kOnlyLlama3[] = {kLlama3};
constexpr std::string_view kOnlyQwen2[] = {kQwen2};
constexpr std::string_view kOnlyQwen35[] = {kQwen35};
constexpr std::string_view kOnlyGpt4o[] = {kGpt4o};
constexpr std::string_view kOnlyTekken[] = {kTekken};
constexpr std::string_view kDeepseek3Steps[] = {kDigits3, kDeepseekCjk, kDeepseek3};
constexpr std::string_view kDeepseekCoderSteps[] = {kNewline, kCoderLetters, kCoderPunctuation, kCoderCjk, kDigit};
constexpr std::string_view kFalconSteps[] = {kPunctuation, kGpt2, kThreeDigits};
constexpr std::string_view kDefaultSteps[] = {kDefaultPunctuation, kGpt2, kDigitRun, kThreeDigits};
constexpr std::string_view kOnlyBloom[] = {kBloom};
constexpr std::string_view kVikingSteps[] = {kBloom, kDigit};

constexpr PreSettings kTable[] = {
    {"default", kDefaultSteps},
    {"gpt-2", kOnlyGpt2},
    {"gpt2", kOnlyGpt2},
    {"phi-2", kOnlyGpt2},
    {"mpt", kOnlyGpt2},
    {"olmo", kOnlyGpt2},
    {"jais", kOnlyGpt2},
    {"trillion", kOnlyGpt2},
    {"granite-docling", kOnlyGpt2},
    {"roberta-bpe", kOnlyGpt2, false, false, true},
    {"jina-es", kOnlyGpt2},
    {"jina-de", kOnlyGpt2},
    {"jina-v2-es", kOnlyGpt2},
    {"jina-v2-de", kOnlyGpt2},
    {"jina-v1-en", kOnlyGpt2},
    {"jina-v2-code", kOnlyGpt2},
    {"smollm", kDigitGpt2},
    {"starcoder", kDigitGpt2},
    {"refact", kDigitGpt2},
    {"command-r", kDigitGpt2, true},
    {"codeshell", kDigitGpt2},
    {"exaone", kDigitGpt2},
    {"minerva-7b", kDigitGpt2},
    {"llama-bpe", kOnlyLlama3, false, true, true},
    {"llama3", kOnlyLlama3, false, true, true},
    {"llama-v3", kOnlyLlama3, false, true, true},
    {"falcon3", kOnlyLlama3, false, true, true},
    {"smaug-bpe", kOnlyLlama3},
    {"dbrx", kOnlyLlama3},
    {"chatglm-bpe", kOnlyLlama3},
    {"glm4", kOnlyLlama3},
    {"lfm2", kOnlyLlama3, false, true, true},
    {"qwen2", kOnlyQwen2, true},
    {"deepseek-r1-qwen", kOnlyQwen2},
    {"stablelm2", kOnlyQwen2, true},
    {"qwen35", kOnlyQwen35, true},
    {"gpt-4o", kOnlyGpt4o},
    {"llama4", kOnlyGpt4o, false, false, true},
    {"tekken", kOnlyTekken, false, true, true},
    {"deepseek-v3", kDeepseek3Steps},
    {"deepseek-coder", kDeepseekCoderSteps},
    {"falcon", kFalconSteps},
    {"bloom", kOnlyBloom},
    {"gpt3-finnish", kOnlyBloom},
    {"poro-chat", kOnlyBloom},
    {"viking", kVikingSteps},
};

}  // namespace

std::optional<PreSettings> find_pre(std::string_view name) {
  for (const PreSettings& settings : kTable) {
    if (settings.name == name) return settings;
  }
  return std::nullopt;
}

std::optional<PreSettings> find_pre(std::span<const std::string> patterns, bool nfc, bool ignore_merges) {
  for (const PreSettings& settings : kTable) {
    const bool habits = settings.nfc == nfc && settings.ignore_merges == ignore_merges;
    if (habits && std::ranges::equal(settings.patterns, patterns)) return settings;
  }
  return std::nullopt;
}

}  // namespace lamina::text
