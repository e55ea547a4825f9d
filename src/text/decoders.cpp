#include "text/decoders.h"

#include <utility>

#include "text/byte_alphabet.h"
#include "text/components.h"
#include "text/pattern_json.h"
#include "text/utf8.h"

namespace lamina::text {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done);
    out.append(to);
    done = at + from.size();
  }
  if (done == 0) return;
  out.append(text, done);
  text = std::move(out);
}

class ByteLevelStep final : public DecodeStep {
 public:
  core::Status apply(std::string& token, bool /*first*/) const override {
    if (auto bytes = from_byte_characters(token)) token = std::move(*bytes);
    return {};
  }
};

class ByteFallbackStep final : public DecodeStep {
 public:
  core::Status apply(std::string& token, bool /*first*/) const override {
    if (const auto byte = byte_token(token)) token = std::string(1, static_cast<char>(*byte));
    return {};
  }
};

class MetaspaceStep final : public DecodeStep {
 public:
  MetaspaceStep(std::string replacement, bool prepended)
      : replacement_(std::move(replacement)), prepended_(prepended) {}

  core::Status apply(std::string& token, bool first) const override {
    replace_all(token, replacement_, first && prepended_ ? "" : " ");
    return {};
  }

 private:
  std::string replacement_;
  bool prepended_;
};

class ReplaceStep final : public DecodeStep {
 public:
  ReplaceStep(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}

  core::Status apply(std::string& token, bool /*first*/) const override {
    std::vector<ByteRange> matches;
    LAMINA_CHECK_OK(pattern_.find_all(token, matches));
    std::string out;
    size_t done = 0;
    for (const ByteRange& match : matches) {
      out.append(token, done, match.begin - done);
      out.append(content_);
      done = match.end;
    }
    out.append(token, done);
    token = std::move(out);
    return {};
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class StripStep final : public DecodeStep {
 public:
  StripStep(std::string character, int64_t start, int64_t stop)
      : character_(std::move(character)), start_(start), stop_(stop) {}

  core::Status apply(std::string& token, bool /*first*/) const override {
    size_t begin = 0;
    size_t end = token.size();
    const size_t step = character_.size();
    for (int64_t i = 0; i < start_ && token.compare(begin, step, character_) == 0; ++i) begin += step;
    for (int64_t i = 0; i < stop_ && end >= begin + step && token.compare(end - step, step, character_) == 0; ++i) {
      end -= step;
    }
    token = token.substr(begin, end - begin);
    return {};
  }

 private:
  std::string character_;
  int64_t start_;
  int64_t stop_;
};

/// The clean-up of BERT's tokenizer: no space before punctuation and English contractions.
void clean_up(std::string& token) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kRules) replace_all(token, from, to);
}

class WordPieceStep final : public DecodeStep {
 public:
  WordPieceStep(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}

  core::Status apply(std::string& token, bool first) const override {
    if (!first) {
      if (token.starts_with(prefix_)) {
        token.erase(0, prefix_.size());
      } else {
        token.insert(0, 1, ' ');
      }
    }
    if (cleanup_) clean_up(token);
    return {};
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

/// Connectionist temporal classification: the padding token stands for silence, another one for the blank.
class CtcStep final : public DecodeStep {
 public:
  CtcStep(std::string pad, std::string delimiter, bool cleanup)
      : pad_(std::move(pad)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}

  core::Status apply(std::string& token, bool /*first*/) const override {
    replace_all(token, pad_, "");
    if (!cleanup_) return {};
    clean_up(token);
    replace_all(token, delimiter_, " ");
    return {};
  }

 private:
  std::string pad_;
  std::string delimiter_;
  bool cleanup_;
};

class SuffixStep final : public DecodeStep {
 public:
  explicit SuffixStep(std::string suffix) : suffix_(std::move(suffix)) {}
  core::Status apply(std::string& token, bool /*first*/) const override {
    replace_all(token, suffix_, " ");
    return {};
  }

 private:
  std::string suffix_;
};

class JoinStep final : public DecodeStep {
 public:
  core::Status apply(std::string& token, bool first) const override {
    if (!first) token.insert(0, 1, ' ');
    return {};
  }
};

// Reading tokenizer.json -------------------------------------------------------------------------------------------

core::Status add_byte_level(const json& /*spec*/, std::string_view /*place*/, DecodePlan& plan) {
  plan.steps.push_back(std::make_unique<ByteLevelStep>());
  plan.byte_level = true;
  return {};
}

core::Status add_byte_fallback(const json& /*spec*/, std::string_view /*place*/, DecodePlan& plan) {
  plan.steps.push_back(std::make_unique<ByteFallbackStep>());
  return {};
}

core::Status add_metaspace(const json& spec, std::string_view place, DecodePlan& plan) {
  LAMINA_ASSIGN(std::string replacement, string_field(spec, "replacement", "\u2581", place));
  LAMINA_ASSIGN(const bool prefix, bool_field(spec, "add_prefix_space", true, place));
  LAMINA_ASSIGN(const std::string scheme, string_field(spec, "prepend_scheme", prefix ? "always" : "never", place));
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return core::fail(core::ErrorCode::kUnsupported, place, "unknown prepend_scheme \"{}\"", scheme);
  }
  plan.steps.push_back(std::make_unique<MetaspaceStep>(std::move(replacement), scheme != "never"));
  return {};
}

core::Status add_replace(const json& spec, std::string_view place, DecodePlan& plan) {
  LAMINA_ASSIGN(Pattern pattern, make_pattern(member(spec, "pattern"), place));
  LAMINA_ASSIGN(std::string content, string_field(spec, "content", "", place));
  plan.may_fail |= !pattern.is_literal();
  plan.steps.push_back(std::make_unique<ReplaceStep>(std::move(pattern), std::move(content)));
  return {};
}

core::Status add_strip(const json& spec, std::string_view place, DecodePlan& plan) {
  LAMINA_ASSIGN(std::string content, string_field(spec, "content", " ", place));
  LAMINA_ASSIGN(const int64_t start, int_field(spec, "start", 0, place));
  LAMINA_ASSIGN(const int64_t stop, int_field(spec, "stop", 0, place));
  if (count_characters(content) != 1 || start < 0 || stop < 0) {
    return core::fail(core::ErrorCode::kCorrupt, place, "one character and counts of at least 0 expected");
  }
  if (!plan.fused) {
    plan.steps.push_back(std::make_unique<StripStep>(std::move(content), start, stop));
    return {};
  }
  if (stop != 0 || plan.strip_count != 0) {
    return core::fail(core::ErrorCode::kUnsupported, place, "after \"Fuse\" only one strip at the start is supported");
  }
  plan.strip_character = std::move(content);
  plan.strip_count = start;
  return {};
}

core::Status add_fuse(const json& /*spec*/, std::string_view /*place*/, DecodePlan& plan) {
  plan.fused = true;
  return {};
}

core::Status add_word_piece(const json& spec, std::string_view place, DecodePlan& plan) {
  LAMINA_ASSIGN(std::string prefix, string_field(spec, "prefix", "##", place));
  LAMINA_ASSIGN(const bool cleanup, bool_field(spec, "cleanup", true, place));
  plan.steps.push_back(std::make_unique<WordPieceStep>(std::move(prefix), cleanup));
  return {};
}

core::Status add_suffix(const json& spec, std::string_view place, DecodePlan& plan) {
  LAMINA_ASSIGN(std::string suffix, string_field(spec, "suffix", "</w>", place));
  plan.steps.push_back(std::make_unique<SuffixStep>(std::move(suffix)));
  plan.hold_trailing_space = true;
  return {};
}

core::Status add_ctc(const json& spec, std::string_view place, DecodePlan& plan) {
  LAMINA_ASSIGN(std::string pad, string_field(spec, "pad_token", "<pad>", place));
  LAMINA_ASSIGN(std::string delimiter, string_field(spec, "word_delimiter_token", "|", place));
  LAMINA_ASSIGN(const bool cleanup, bool_field(spec, "cleanup", true, place));
  if (!plan.steps.empty()) {
    return core::fail(core::ErrorCode::kUnsupported, place, "must be the first of the decoders");
  }
  plan.steps.push_back(std::make_unique<CtcStep>(std::move(pad), std::move(delimiter), cleanup));
  plan.joins_equal = true;
  return {};
}

struct Maker {
  std::string_view type;
  core::Status (*add)(const json& spec, std::string_view place, DecodePlan& plan);
  bool after_fuse = false;  ///< also defined on the whole text
};

constexpr Maker kMakers[] = {
    {"ByteLevel", add_byte_level}, {"ByteFallback", add_byte_fallback}, {"Metaspace", add_metaspace},
    {"Replace", add_replace},      {"Strip", add_strip, true},          {"Fuse", add_fuse, true},
    {"WordPiece", add_word_piece}, {"BPEDecoder", add_suffix},          {"CTC", add_ctc},
};

}  // namespace

core::Result<std::string> DecodePlan::piece(std::string_view token, bool first) const {
  std::string out(token);
  for (const auto& step : steps) LAMINA_CHECK_OK(step->apply(out, first));
  return out;
}

core::Result<DecodePlan> make_decoders(const nlohmann::json& spec) {
  DecodePlan plan;
  if (spec.is_null()) {
    plan.steps.push_back(std::make_unique<JoinStep>());
    return plan;
  }
  constexpr ComponentKind kKind{"decoder", "decoders"};
  const auto apply = [&](const Maker& maker, const json& part, const std::string& place) -> core::Status {
    if (plan.fused && !maker.after_fuse) {
      return core::fail(core::ErrorCode::kUnsupported, place, "is not supported after \"Fuse\"");
    }
    return maker.add(part, place, plan);
  };
  LAMINA_CHECK_OK(visit_components<Maker>(spec, kKind, kMakers, apply));
  return plan;
}

}  // namespace lamina::text
