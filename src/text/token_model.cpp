#include "text/token_model.h"

#include <atomic>
#include <span>

#include "text/word_cache.h"

namespace lamina::text {
namespace {

uint32_t next_number() {
  static std::atomic<uint32_t> last{0};
  return last += 2;
}

}  // namespace

TokenModel::TokenModel() : number_(next_number()) {}

void TokenModel::set_control(const std::vector<int32_t>& ids) {
  if (ids.empty()) return;
  control_.resize(static_cast<size_t>(ids.back()) + 1);
  for (const int32_t id : ids) control_[static_cast<size_t>(id)] = true;
}

core::Status TokenModel::encode(std::string_view word, bool control, WordCache& cache,
                                std::vector<int32_t>& ids) const {
  control &= !control_.empty();
  const uint32_t owner = number_ + (control ? 1 : 0);
  if (cache.take(owner, word, ids)) return {};
  const size_t before = ids.size();
  LAMINA_CHECK_OK(encode_anew(word, control, ids));
  cache.keep(owner, word, std::span(ids).subspan(before));
  return {};
}

}  // namespace lamina::text
