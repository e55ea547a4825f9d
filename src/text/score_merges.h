#pragma once

#include <vector>

#include "core/result.h"
#include "text/bpe.h"
#include "text/tokenizer.h"

namespace lamina::text {

/// The merge list that equals the scores of a SentencePiece vocabulary: highest score first, then the longer left part,
/// as the published tokenizer.json files of such models were made. kCorrupt: a score is not a number; kLimit: a token
/// is too long to be cut.
core::Result<std::vector<BpeMerge>> merges_from_scores(const TokenizerData& data);

}  // namespace lamina::text
