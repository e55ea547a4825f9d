#include "text/token_grammar.h"

#include <algorithm>

#include "core/clock.h"

namespace lamina::text {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr size_t kMaxKnownBytes = size_t{64} << 20;
constexpr size_t kMaxMasks = 32;
/// Places of one text that are kept; a place takes a kilobyte.
constexpr size_t kMaxPlaces = 1 << 13;

void set(TokenMask& mask, int32_t token) {
  mask[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64);
}

std::unexpected<core::Error> too_many() {
  return fail(ErrorCode::kLimit, "grammar", "a text can be read in too many ways at once");
}

/// Where a walk over the tree begins.
struct Start {
  int32_t above = -1;   ///< the node whose part it is; -1: the whole tree
  int32_t place = 0;    ///< of the text there
  int longer_than = 0;  ///< parts without tokens of more bytes are left out
};

/// Walks the nodes that texts reach; `visit` says whether to go below one. `path`: places by depth.
template <typename Visit>
void walk(GrammarMachine& machine, const TokenTrie& trie, const Start& start, std::vector<int32_t>& path,
          const Visit& visit) {
  const auto& nodes = trie.nodes();
  const auto above = static_cast<size_t>(start.above);
  const size_t depth = start.above < 0 ? 0 : nodes[above].depth;
  const size_t end = start.above < 0 ? nodes.size() : static_cast<size_t>(nodes[above].next);
  path.resize(static_cast<size_t>(trie.longest()) + 1);
  path[depth] = start.place;
  for (auto i = static_cast<size_t>(start.above + 1); i < end;) {
    const TokenTrie::Node& node = nodes[i];
    const bool wanted = node.deepest > start.longer_than;
    const int32_t next = wanted ? machine.step(path[node.depth - size_t{1}], node.byte) : GrammarMachine::kDead;
    const bool below = next != GrammarMachine::kDead && visit(static_cast<int32_t>(i), node, next);
    path[node.depth] = next;
    i = below ? i + 1 : static_cast<size_t>(node.next);
  }
}

}  // namespace

Result<std::shared_ptr<const TokenGrammar>> TokenGrammar::create(const Grammar& grammar,
                                                                 std::shared_ptr<const TokenBytes> bytes,
                                                                 const std::vector<int32_t>& controls) {
  std::shared_ptr<TokenGrammar> own(new TokenGrammar);
  LAMINA_ASSIGN(own->program_, compile_program(grammar));
  own->bytes_ = std::move(bytes);
  for (const auto& control : own->bytes_->controls()) {
    if (std::ranges::find(controls, control.first) != controls.end()) own->controls_.push_back(control);
  }
  return std::shared_ptr<const TokenGrammar>(std::move(own));
}

/// Far from both bounds of a loop, all counts are alike to a token.
int32_t TokenGrammar::like(int32_t node, int32_t count) const {
  const int32_t loop = program_.nodes[static_cast<size_t>(node)].loop;
  if (loop < 0) return 0;
  const auto [least, most] = program_.loops[static_cast<size_t>(loop)];
  const int32_t longest = bytes_->inside().longest();
  if (most >= 0 && most - count <= longest) return count;
  if (count >= least) return GrammarMachine::kFar;
  return count + longest < least ? GrammarMachine::kLow : count;
}

Result<std::shared_ptr<const TokenGrammar::Inside>> TokenGrammar::inside(int32_t node, int32_t count) const {
  if (count >= 0) count = like(node, count);
  const uint64_t key = (uint64_t{static_cast<uint32_t>(node)} << 32) | static_cast<uint32_t>(count);
  {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(key);
    if (found != known_.end()) return found->second;
  }
  LAMINA_ASSIGN(std::shared_ptr<const Inside> made, find_inside(node, count));
  const std::lock_guard lock(mutex_);
  known_bytes_ += sizeof(Inside) + made->mask.size() * 8 + (made->few.size() + made->leaves.size()) * 4;
  if (known_bytes_ > kMaxKnownBytes) {
    known_.clear();
    known_bytes_ = 0;
  }
  known_[key] = made;
  return made;
}

/// Adds what is to be known of tokens that are longer than so many bytes.
Status TokenGrammar::add_inside(int32_t node, int32_t count, int longer_than, Inside& out) const {
  GrammarMachine machine(program_);
  std::vector<int32_t> path;
  const TokenTrie& trie = bytes_->inside();
  const auto visit = [&](int32_t index, const TokenTrie::Node& at, int32_t place) {
    if (at.depth > longer_than) {
      const auto tokens = trie.tokens_of(at);
      out.few.insert(out.few.end(), tokens.begin(), tokens.end());
      // What follows the rule, when its end is reached here, is seen to by others.
      if (machine.ends(place) && at.next > index + 1) out.leaves.push_back(index);
    }
    return !machine.frames(place).empty();
  };
  walk(machine, trie, {.place = machine.at_node(node, count), .longer_than = longer_than}, path, visit);
  if (machine.overflowed()) return too_many();
  return {};
}

Result<std::shared_ptr<const TokenGrammar::Inside>> TokenGrammar::find_inside(int32_t node, int32_t count) const {
  auto out = std::make_shared<Inside>();
  const int32_t loop = program_.nodes[static_cast<size_t>(node)].loop;
  const bool near_most = loop >= 0 && count >= program_.loops[static_cast<size_t>(loop)].least;
  int known = 0;
  if (near_most) {
    // A round takes a byte at least: tokens that are not longer than the rounds left are as far from the bound.
    known = program_.loops[static_cast<size_t>(loop)].most - count;
    LAMINA_ASSIGN(const std::shared_ptr<const Inside> far, inside(node, GrammarMachine::kFar));
    const auto shorter = bytes_->up_to(known);
    out->mask = far->mask;
    for (size_t i = 0; i < out->mask.size(); ++i) out->mask[i] &= shorter[i];
    for (const int32_t token : far->few) {
      if (std::ssize(bytes_->inside_of(token)) <= known) out->few.push_back(token);
    }
    const auto& nodes = bytes_->inside().nodes();
    for (const int32_t leaf : far->leaves) {
      if (nodes[static_cast<size_t>(leaf)].depth <= known) out->leaves.push_back(leaf);
    }
  }
  LAMINA_CHECK_OK(add_inside(node, count, known, *out));
  if (!out->mask.empty() || out->few.size() * 2 > words()) {
    out->mask.resize(words());
    for (const int32_t token : out->few) set(out->mask, token);
    out->few = {};
  }
  return std::shared_ptr<const Inside>(std::move(out));
}

void TokenGrammar::prepare(double milliseconds) const {
  const core::Stopwatch watch;
  for (size_t i = 0; i < program_.nodes.size() && watch.seconds() * 1e3 < milliseconds; ++i) {
    if (program_.nodes[i].reads && !inside(static_cast<int32_t>(i), 0)) return;
  }
}

TokenMatcher::TokenMatcher(std::shared_ptr<const TokenGrammar> grammar, bool at_begin, bool may_end)
    : grammar_(std::move(grammar)),
      machine_(grammar_->program()),
      place_(machine_.begin()),
      at_begin_(at_begin),
      may_end_(may_end) {}

Result<std::span<const uint64_t>> TokenMatcher::allowed() {
  if (place_ < 0) return fail(ErrorCode::kInvalid, "grammar", "a token was taken that it does not allow");
  if (masks_.size() >= kMaxMasks && !masks_.contains(place_)) masks_.clear();
  const auto [entry, added] = masks_.try_emplace(place_);
  if (added) {
    entry->second.assign(grammar_->words(), 0);
    if (const Status found = find_allowed(entry->second); !found) {
      masks_.erase(entry);
      return std::unexpected(found.error());
    }
  }
  return std::span<const uint64_t>(entry->second);
}

Status TokenMatcher::find_allowed(TokenMask& mask) {
  const TokenBytes& bytes = grammar_->bytes();
  if (may_end_ && machine_.ends(place_)) {
    for (const int32_t token : bytes.ends()) set(mask, token);
  }
  if (at_begin_ && bytes.begins_otherwise()) {
    const auto visit = [&](int32_t, const TokenTrie::Node& at, int32_t) {
      for (const int32_t token : bytes.begin().tokens_of(at)) set(mask, token);
      return true;
    };
    walk(machine_, bytes.begin(), {.place = place_}, path_, visit);
  } else {
    const auto tops = machine_.frames(place_);
    for (const int32_t top : std::vector<int32_t>(tops.begin(), tops.end())) LAMINA_CHECK_OK(add_inside(top, mask));
  }
  for (const auto& [token, text] : grammar_->controls()) {
    if (machine_.step(place_, text) != GrammarMachine::kDead) set(mask, token);
  }
  if (machine_.overflowed()) return too_many();
  return {};
}

Status TokenMatcher::add_inside(int32_t top, TokenMask& mask) {
  const GrammarMachine::Frame frame = machine_.frame(top);
  LAMINA_ASSIGN(const std::shared_ptr<const TokenGrammar::Inside> inside, grammar_->inside(frame.node, frame.count));
  for (const int32_t token : inside->few) set(mask, token);
  for (size_t i = 0; i < inside->mask.size(); ++i) mask[i] |= inside->mask[i];
  if (frame.parent < 0) return {};
  const int32_t behind = machine_.at_frame(frame.parent);
  if (behind == GrammarMachine::kDead) return {};
  const TokenTrie& trie = grammar_->bytes().inside();
  const auto visit = [&](int32_t, const TokenTrie::Node& at, int32_t) {
    for (const int32_t token : trie.tokens_of(at)) set(mask, token);
    return true;
  };
  for (const int32_t leaf : inside->leaves) walk(machine_, trie, {.above = leaf, .place = behind}, path_, visit);
  return {};
}

bool TokenMatcher::accept(int32_t token) {
  const TokenBytes& bytes = grammar_->bytes();
  if (place_ < 0 || token < 0 || token >= bytes.vocabulary()) return false;
  if (std::ranges::find(bytes.ends(), token) != bytes.ends().end()) return complete();
  const auto control = std::ranges::find(grammar_->controls(), token, &std::pair<int32_t, std::string>::first);
  const std::string& text = control != grammar_->controls().end() ? control->second
                            : at_begin_                           ? bytes.begin_of(token)
                                                                  : bytes.inside_of(token);
  place_ = text.empty() ? GrammarMachine::kDead : machine_.step(place_, text);
  if (at_begin_ && bytes.begins_otherwise()) masks_.clear();
  at_begin_ = false;
  if (place_ >= 0 && machine_.places() > kMaxPlaces) {
    masks_.clear();
    place_ = machine_.forget_but(place_);
  }
  return place_ >= 0;
}

}  // namespace lamina::text
