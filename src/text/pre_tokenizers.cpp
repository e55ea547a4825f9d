#include "text/pre_tokenizers.h"

#include <array>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/components.h"
#include "text/pattern_json.h"
#include "text/scripts.h"
#include "text/utf8.h"

namespace lamina::text {

const std::string_view kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

using Made = core::Result<std::unique_ptr<PreTokenizer>>;

/// A step that only cuts: subclasses find the delimiters of one word.
class Cutter : public PreTokenizer {
 public:
  Cutter(SplitBehavior behavior, bool invert) : behavior_(behavior), invert_(invert) {}

  core::Status apply(Words& words) const override {
    std::vector<Words::Word> out;
    out.reserve(words.words.size());
    std::vector<ByteRange> matches;
    std::vector<Part> parts;
    for (const Words::Word& word : words.words) {
      matches.clear();
      LAMINA_CHECK_OK(find(words.view(word), matches));
      split_parts(matches, word.end - word.begin, behavior_, invert_, parts);
      for (const Part& part : parts) {
        out.push_back({word.begin + part.begin, word.begin + part.end, word.at_start && part.begin == 0});
      }
    }
    words.words = std::move(out);
    return {};
  }

 protected:
  virtual core::Status find(std::string_view text, std::vector<ByteRange>& matches) const = 0;

 private:
  SplitBehavior behavior_;
  bool invert_;
};

class PatternCutter final : public Cutter {
 public:
  PatternCutter(Pattern pattern, SplitBehavior behavior, bool invert)
      : Cutter(behavior, invert), pattern_(std::move(pattern)) {}

 protected:
  core::Status find(std::string_view text, std::vector<ByteRange>& matches) const override {
    return pattern_.find_all(text, matches);
  }

 private:
  Pattern pattern_;
};

/// Each character of a class is a delimiter of its own.
class ClassCutter final : public Cutter {
 public:
  using Class = bool (*)(char32_t);
  ClassCutter(Class member, SplitBehavior behavior) : Cutter(behavior, false), member_(member) {}

 protected:
  core::Status find(std::string_view text, std::vector<ByteRange>& matches) const override {
    for (size_t position = 0; position < text.size();) {
      const size_t begin = position;
      if (member_(next_character(text, position))) matches.push_back({begin, position});
    }
    return {};
  }

 private:
  Class member_;
};

/// Runs of word characters, and runs of what is neither word nor space; spaces are dropped.
class WhitespaceCutter final : public Cutter {
 public:
  WhitespaceCutter() : Cutter(SplitBehavior::kRemoved, true) {}

 protected:
  core::Status find(std::string_view text, std::vector<ByteRange>& matches) const override {
    int previous = 0;
    for (size_t position = 0; position < text.size();) {
      const size_t begin = position;
      const char32_t c = next_character(text, position);
      const int kind = is_word(c) ? 1 : is_white_space(c) ? 0 : 2;
      if (kind != 0) {
        if (kind == previous) {
          matches.back().end = position;
        } else {
          matches.push_back({begin, position});
        }
      }
      previous = kind;
    }
    return {};
  }
};

/// Runs of characters of one script; those without script belong to the run before them and, before the first, to none.
class ScriptCutter final : public Cutter {
 public:
  ScriptCutter() : Cutter(SplitBehavior::kRemoved, true) {}

 protected:
  core::Status find(std::string_view text, std::vector<ByteRange>& matches) const override {
    uint8_t previous = 0;
    for (size_t position = 0; position < text.size();) {
      const size_t begin = position;
      const uint8_t script = script_of(next_character(text, position));
      if (script != 0 && script != previous) {
        matches.push_back({begin, position});
        previous = script;
      }
      if (!matches.empty()) matches.back().end = position;
    }
    return {};
  }
};

/// Base of the steps that write each word anew into a fresh buffer.
class Rewriter : public PreTokenizer {
 public:
  core::Status apply(Words& words) const override {
    Words out;
    out.buffer.reserve(words.buffer.size() * 2);
    out.words.reserve(words.words.size());
    for (const Words::Word& word : words.words) {
      const size_t begin = out.buffer.size();
      rewrite(words.view(word), word.at_start, out.buffer);
      out.words.push_back({begin, out.buffer.size(), word.at_start});
    }
    words = std::move(out);
    return {};
  }

 protected:
  virtual void rewrite(std::string_view word, bool at_start, std::string& out) const = 0;
};

class PrefixSpace final : public Rewriter {
 protected:
  void rewrite(std::string_view word, bool /*at_start*/, std::string& out) const override {
    if (!word.starts_with(' ')) out.push_back(' ');
    out.append(word);
  }
};

class ByteCharacters final : public Rewriter {
 protected:
  void rewrite(std::string_view word, bool /*at_start*/, std::string& out) const override {
    for (const char byte : word) append_utf8(out, byte_character(static_cast<uint8_t>(byte)));
  }
};

enum class PrependScheme { kAlways, kFirst, kNever };

class MetaspaceRewriter final : public Rewriter {
 public:
  MetaspaceRewriter(std::string replacement, PrependScheme scheme)
      : replacement_(std::move(replacement)), scheme_(scheme) {}

 protected:
  void rewrite(std::string_view word, bool at_start, std::string& out) const override {
    const bool wanted = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && at_start);
    if (wanted && !word.starts_with(' ') && !word.starts_with(replacement_)) out.append(replacement_);
    for (const char byte : word) {
      if (byte == ' ') {
        out.append(replacement_);
      } else {
        out.push_back(byte);
      }
    }
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
};

/// Pieces of a fixed number of characters.
class FixedLength final : public Cutter {
 public:
  explicit FixedLength(size_t length) : Cutter(SplitBehavior::kIsolated, false), length_(length) {}

 protected:
  core::Status find(std::string_view text, std::vector<ByteRange>& matches) const override {
    for (size_t position = 0; position < text.size();) {
      const size_t begin = position;
      for (size_t i = 0; i < length_ && position < text.size(); ++i) next_character(text, position);
      matches.push_back({begin, position});
    }
    return {};
  }

 private:
  size_t length_;
};

// Reading tokenizer.json -------------------------------------------------------------------------------------------

constexpr std::pair<std::string_view, SplitBehavior> kBehaviors[] = {
    {"Removed", SplitBehavior::kRemoved},
    {"Isolated", SplitBehavior::kIsolated},
    {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
    {"MergedWithNext", SplitBehavior::kMergedWithNext},
    {"Contiguous", SplitBehavior::kContiguous},
};

core::Result<SplitBehavior> behavior_field(const json& spec, std::string_view fallback, std::string_view place) {
  LAMINA_ASSIGN(const std::string name, string_field(spec, "behavior", fallback, place));
  for (const auto& [known, behavior] : kBehaviors) {
    if (known == name) return behavior;
  }
  return core::fail(core::ErrorCode::kUnsupported, place, "unknown behavior \"{}\"", name);
}

core::Status add_split(const json& spec, std::string_view place, PreTokenizerPlan& plan) {
  LAMINA_ASSIGN(Pattern pattern, make_pattern(member(spec, "pattern"), place));
  LAMINA_ASSIGN(const SplitBehavior behavior, behavior_field(spec, "", place));
  LAMINA_ASSIGN(const bool invert, bool_field(spec, "invert", false, place));
  plan.steps.push_back(std::make_unique<PatternCutter>(std::move(pattern), behavior, invert));
  return {};
}

core::Status add_digits(const json& spec, std::string_view place, PreTokenizerPlan& plan) {
  LAMINA_ASSIGN(const bool individual, bool_field(spec, "individual_digits", false, place));
  plan.steps.push_back(
      std::make_unique<ClassCutter>(is_numeric, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  return {};
}

core::Status add_punctuation(const json& spec, std::string_view place, PreTokenizerPlan& plan) {
  LAMINA_ASSIGN(const SplitBehavior behavior, behavior_field(spec, "Isolated", place));
  plan.steps.push_back(std::make_unique<ClassCutter>(is_punctuation, behavior));
  return {};
}

core::Status add_byte_level(const json& spec, std::string_view place, PreTokenizerPlan& plan) {
  LAMINA_ASSIGN(const bool prefix, bool_field(spec, "add_prefix_space", true, place));
  LAMINA_ASSIGN(const bool use_regex, bool_field(spec, "use_regex", true, place));
  if (prefix) plan.steps.push_back(std::make_unique<PrefixSpace>());
  if (use_regex) {
    LAMINA_ASSIGN(auto split, make_split(kGpt2Pattern, SplitBehavior::kIsolated, false));
    plan.steps.push_back(std::move(split));
  }
  plan.raw_bytes = true;
  return {};
}

core::Status add_metaspace(const json& spec, std::string_view place, PreTokenizerPlan& plan) {
  LAMINA_ASSIGN(std::string replacement, string_field(spec, "replacement", "\u2581", place));
  if (count_characters(replacement) != 1) {
    return core::fail(core::ErrorCode::kCorrupt, place, "\"replacement\" must be one character, is \"{}\"",
                      replacement);
  }
  LAMINA_ASSIGN(const bool prefix, bool_field(spec, "add_prefix_space", true, place));
  LAMINA_ASSIGN(const std::string name, string_field(spec, "prepend_scheme", prefix ? "always" : "never", place));
  LAMINA_ASSIGN(const bool split, bool_field(spec, "split", true, place));
  constexpr std::pair<std::string_view, PrependScheme> kSchemes[] = {
      {"always", PrependScheme::kAlways}, {"first", PrependScheme::kFirst}, {"never", PrependScheme::kNever}};
  for (const auto& [known, scheme] : kSchemes) {
    if (known != name) continue;
    plan.steps.push_back(std::make_unique<MetaspaceRewriter>(replacement, scheme));
    if (split) {
      plan.steps.push_back(
          std::make_unique<PatternCutter>(Pattern::literal(replacement), SplitBehavior::kMergedWithNext, false));
    }
    return {};
  }
  return core::fail(core::ErrorCode::kUnsupported, place, "unknown prepend_scheme \"{}\"", name);
}

core::Status add_whitespace(const json& /*spec*/, std::string_view /*place*/, PreTokenizerPlan& plan) {
  plan.steps.push_back(std::make_unique<WhitespaceCutter>());
  return {};
}

core::Status add_whitespace_split(const json& /*spec*/, std::string_view /*place*/, PreTokenizerPlan& plan) {
  plan.steps.push_back(std::make_unique<ClassCutter>(is_white_space, SplitBehavior::kRemoved));
  return {};
}

core::Status add_bert(const json& /*spec*/, std::string_view /*place*/, PreTokenizerPlan& plan) {
  plan.steps.push_back(std::make_unique<ClassCutter>(is_white_space, SplitBehavior::kRemoved));
  plan.steps.push_back(std::make_unique<ClassCutter>(is_punctuation, SplitBehavior::kIsolated));
  return {};
}

core::Status add_scripts(const json& /*spec*/, std::string_view /*place*/, PreTokenizerPlan& plan) {
  plan.steps.push_back(std::make_unique<ScriptCutter>());
  return {};
}

core::Status add_delimiter(const json& spec, std::string_view place, PreTokenizerPlan& plan) {
  LAMINA_ASSIGN(const std::string delimiter, string_field(spec, "delimiter", "", place));
  if (count_characters(delimiter) != 1) {
    return core::fail(core::ErrorCode::kCorrupt, place, "\"delimiter\" must be one character, is \"{}\"", delimiter);
  }
  plan.steps.push_back(std::make_unique<PatternCutter>(Pattern::literal(delimiter), SplitBehavior::kRemoved, false));
  return {};
}

core::Status add_fixed_length(const json& spec, std::string_view place, PreTokenizerPlan& plan) {
  LAMINA_ASSIGN(const int64_t length, int_field(spec, "length", 5, place));
  if (length < 1) return core::fail(core::ErrorCode::kCorrupt, place, "\"length\" is {}; at least 1 expected", length);
  plan.steps.push_back(std::make_unique<FixedLength>(static_cast<size_t>(length)));
  return {};
}

struct Maker {
  std::string_view type;
  core::Status (*add)(const json& spec, std::string_view place, PreTokenizerPlan& plan);
};

constexpr Maker kMakers[] = {
    {"Split", add_split},
    {"Digits", add_digits},
    {"Punctuation", add_punctuation},
    {"ByteLevel", add_byte_level},
    {"Metaspace", add_metaspace},
    {"Whitespace", add_whitespace},
    {"WhitespaceSplit", add_whitespace_split},
    {"BertPreTokenizer", add_bert},
    {"CharDelimiterSplit", add_delimiter},
    {"FixedLength", add_fixed_length},
    {"UnicodeScripts", add_scripts},
};

}  // namespace

core::Result<std::unique_ptr<PreTokenizer>> make_split(std::string_view regex, SplitBehavior behavior, bool invert) {
  LAMINA_ASSIGN(Pattern pattern, Pattern::regex(regex));
  return Made(std::make_unique<PatternCutter>(std::move(pattern), behavior, invert));
}

core::Result<PreTokenizerPlan> make_pre_tokenizers(const nlohmann::json& spec) {
  PreTokenizerPlan plan;
  if (spec.is_null()) return plan;
  constexpr ComponentKind kKind{"pre_tokenizer", "pretokenizers"};
  const auto apply = [&](const Maker& maker, const json& part, const std::string& place) {
    // Another step follows a byte-level one and must see its characters.
    if (plan.raw_bytes) plan.steps.push_back(std::make_unique<ByteCharacters>());
    plan.raw_bytes = false;
    return maker.add(part, place, plan);
  };
  LAMINA_CHECK_OK(visit_components<Maker>(spec, kKind, kMakers, apply));
  return plan;
}

}  // namespace lamina::text
