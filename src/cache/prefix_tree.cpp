#include "cache/prefix_tree.h"

#include <algorithm>
#include <cassert>

namespace lamina::cache {

/// Piece by piece: a long text would be a deep recursion.
PrefixTree::~PrefixTree() {
  while (!order_.empty()) remove(*order_.begin());
}

PrefixNode* PrefixTree::root(const std::string& family) {
  std::unique_ptr<PrefixNode>& root = roots_[family];
  if (!root) root = std::make_unique<PrefixNode>();
  return root.get();
}

PrefixNode* PrefixTree::best_child(const PrefixNode& node, std::span<const int32_t> tokens, int64_t& agreed) {
  PrefixNode* best = nullptr;
  agreed = 0;
  for (const auto& child : node.children) {
    const auto length = std::ranges::mismatch(child->tokens, tokens).in1 - child->tokens.begin();
    // Of pieces that agree alike the shorter one ends where the text goes on.
    const bool shorter = best != nullptr && length == agreed && child->tokens.size() < best->tokens.size();
    if (length == 0 || length < agreed || (length == agreed && !shorter)) continue;
    best = child.get();
    agreed = length;
  }
  return best;
}

PrefixTree::Match PrefixTree::find(const std::string& family, std::span<const int32_t> tokens) {
  Match match;
  const auto found = roots_.find(family);
  const PrefixNode* node = found == roots_.end() ? nullptr : found->second.get();
  while (node != nullptr && match.length < static_cast<int64_t>(tokens.size())) {
    int64_t agreed = 0;
    PrefixNode* next = best_child(*node, tokens.subspan(static_cast<size_t>(match.length)), agreed);
    if (next == nullptr) break;
    match.path.push_back(next);
    match.length += agreed;
    node = agreed == std::ssize(next->tokens) ? next : nullptr;
  }
  return match;
}

PrefixNode* PrefixTree::add(PrefixNode* parent, std::span<const int32_t> tokens, size_t groups) {
  auto node = std::make_unique<PrefixNode>();
  node->parent = parent;
  node->tokens.assign(tokens.begin(), tokens.end());
  node->end = parent->end + std::ssize(tokens);
  node->blocks.assign(groups, -1);
  node->used = clock_;
  order_.insert(node.get());
  parent->children.push_back(std::move(node));
  return parent->children.back().get();
}

void PrefixTree::remove(PrefixNode* node) {
  assert(node->children.empty() && node->parent != nullptr);
  order_.erase(node);
  PrefixNode* parent = node->parent;
  std::erase_if(parent->children, [&](const auto& child) { return child.get() == node; });
  if (parent->parent != nullptr || !parent->children.empty()) return;
  std::erase_if(roots_, [&](const auto& entry) { return entry.second.get() == parent; });
}

void PrefixTree::touch(PrefixNode* node) {
  ++clock_;
  for (; node->parent != nullptr; node = node->parent) {
    order_.erase(node);
    node->used = clock_;
    order_.insert(node);
  }
}

PrefixNode* PrefixTree::oldest(const std::function<bool(const PrefixNode& node)>& fits) const {
  const auto found = std::ranges::find_if(order_, [&](const PrefixNode* node) { return fits(*node); });
  return found == order_.end() ? nullptr : *found;
}

}  // namespace lamina::cache
