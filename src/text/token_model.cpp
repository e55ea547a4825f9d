#include "text/token_model.h"

#include <atomic>
#include <span>

#include "text/word_cache.h"

namespace lamina::text {
namespace {

uint32_t next_number() {
  static std::atomic<uint32_t> last{0};
  return ++last;
}

}  // namespace

TokenModel::TokenModel() : number_(next_number()) {}

core::Status TokenModel::encode(std::string_view word, std::vector<int32_t>& ids) const {
  WordCache& cache = WordCache::of_thread();
  if (cache.take(number_, word, ids)) return {};
  const size_t before = ids.size();
  LAMINA_CHECK_OK(encode_anew(word, ids));
  cache.keep(number_, word, std::span(ids).subspan(before));
  return {};
}

}  // namespace lamina::text
