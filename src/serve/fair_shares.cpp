#include "serve/fair_shares.h"

#include <algorithm>

namespace lamina::serve {

void FairShares::join(const std::string& client) {
  Share& own = shares_[client];
  if (own.texts++ > 0) return;
  int64_t least = -1;
  for (const auto& [name, share] : shares_) {
    if (share.texts == 0 || &share == &own) continue;
    least = least < 0 ? share.given : std::min(least, share.given);
  }
  own.given = std::max(own.given, least);
}

void FairShares::leave(const std::string& client) {
  --shares_[client].texts;
  // Those who are not here and have had no more than anybody who is are as good as new.
  int64_t least = INT64_MAX;
  for (const auto& [name, share] : shares_) least = share.texts > 0 ? std::min(least, share.given) : least;
  std::erase_if(shares_, [&](const auto& one) { return one.second.texts == 0 && one.second.given <= least; });
}

void FairShares::give(const std::string& client, int64_t rows) {
  shares_[client].given += rows;
}

int64_t FairShares::given(const std::string& client) const {
  const auto found = shares_.find(client);
  return found == shares_.end() ? 0 : found->second.given;
}

}  // namespace lamina::serve
