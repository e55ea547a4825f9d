#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/flat_map.h"
#include "text/token_model.h"

namespace lamina::text {

struct WordPieceOptions {
  std::string continuing_prefix = "##";
  int64_t max_characters = 100;  ///< longer words are unknown
  int32_t unknown = -1;
  std::vector<int32_t> control;  ///< ids, sorted
};

/// Greedy longest-match-first tokens; a word with a part that is no token is unknown as a whole (Schuster and Nakajima
/// 2012, as BERT uses it).
class WordPieceModel final : public TokenModel {
 public:
  static core::Result<std::unique_ptr<TokenModel>> make(const std::vector<std::pair<std::string, int32_t>>& vocabulary,
                                                        WordPieceOptions options);

 protected:
  core::Status encode_anew(std::string_view word, bool control, std::vector<int32_t>& ids) const override;

 private:
  WordPieceModel() = default;

  WordPieceOptions options_;
  StringMap heads_;  ///< what a word may begin with
  StringMap tails_;  ///< what may follow, without the prefix
  size_t longest_ = 0;
};

/// One token per word, or unknown.
class WordLevelModel final : public TokenModel {
 public:
  /// `control`: ids, sorted.
  static core::Result<std::unique_ptr<TokenModel>> make(const std::vector<std::pair<std::string, int32_t>>& vocabulary,
                                                        int32_t unknown, const std::vector<int32_t>& control);

 protected:
  core::Status encode_anew(std::string_view word, bool control, std::vector<int32_t>& ids) const override;

 private:
  WordLevelModel() = default;

  StringMap words_;
  int32_t unknown_ = -1;
};

}  // namespace lamina::text
