#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "text/grammar_program.h"

namespace lamina::text {

/// Runs a program over bytes, in all ways at once. A place in a text is a configuration: the stacks that the program
/// may have there. Both are kept by number, and so is where each byte leads, so that a step that was taken before is a
/// look-up. Not for several threads at once.
class GrammarMachine {
 public:
  static constexpr int32_t kDead = -1;
  /// Counts of rounds that stand for others: so far from both bounds that one more round and the loop's end are always
  /// possible; or so far below the least that only rounds are.
  static constexpr int32_t kFar = -1;
  static constexpr int32_t kLow = -2;
  /// Nodes to go on at behind rules, in one stack: bounds how deep texts are nested.
  static constexpr int32_t kMaxDepth = 200;

  /// A node with what it goes on with.
  struct Frame {
    int32_t node = 0;
    int32_t count = 0;    ///< rounds of the loop that counts here
    int32_t parent = -1;  ///< the frame to go on at when the rule ends; -1: the text ends, too
    int32_t depth = 0;
  };

  /// `program` must outlive the machine.
  explicit GrammarMachine(const GrammarProgram& program) : program_(&program) {}

  /// Where a rule has been read up to a node, with nothing below it.
  int32_t at_node(int32_t node, int32_t count);
  int32_t begin() { return at_node(program_->start, 0); }
  /// Where a stack goes on at one of its frames.
  int32_t at_frame(int32_t frame);
  /// Where a byte leads; kDead: no text goes on with it.
  int32_t step(int32_t place, uint8_t byte) {
    if (place < 0) return kDead;
    const int32_t known = steps_[static_cast<size_t>(place)][byte];
    return known == kUnknown ? find_step(place, byte) : known;
  }
  int32_t step(int32_t place, std::string_view bytes);
  /// Whether the text may end there.
  bool ends(int32_t place) const { return places_[static_cast<size_t>(place)].ends; }
  /// The tops of the stacks that may read on there.
  std::span<const int32_t> frames(int32_t place) const { return places_[static_cast<size_t>(place)].frames; }
  const Frame& frame(int32_t frame) const { return frames_[static_cast<size_t>(frame)]; }

  /// Too much was kept: results are not to be relied on.
  bool overflowed() const { return overflowed_; }
  size_t places() const { return places_.size(); }
  /// Forgets all but what belongs to `place`; its new number.
  int32_t forget_but(int32_t place);

 private:
  static constexpr int32_t kUnknown = -2;
  static constexpr size_t kMaxPlaces = 1 << 16;
  static constexpr size_t kMaxFrames = 1 << 20;

  struct Place {
    std::vector<int32_t> frames{};
    bool ends = false;
  };
  struct ListHash {
    size_t operator()(const std::vector<int32_t>& list) const;
  };
  struct FrameKey {
    int32_t node, count, parent;
    bool operator==(const FrameKey&) const = default;
  };
  struct FrameHash {
    size_t operator()(const FrameKey& key) const;
  };

  int32_t find_step(int32_t place, uint8_t byte);
  int32_t frame_of(int32_t node, int32_t count, int32_t parent);
  void push(int32_t node, int32_t count, int32_t parent);
  void follow(const Frame& frame, const GrammarProgram::Edge& edge);
  int32_t carried(const Frame& frame, int32_t target) const;
  /// The place of all that the frames in `work_` lead to without a byte.
  int32_t close();

  const GrammarProgram* program_;
  std::vector<Frame> frames_;
  std::unordered_map<FrameKey, int32_t, FrameHash> frame_numbers_;
  std::vector<Place> places_;
  std::unordered_map<std::vector<int32_t>, int32_t, ListHash> place_numbers_;
  std::vector<std::array<int32_t, 256>> steps_;
  std::vector<int32_t> work_;
  std::vector<uint32_t> seen_;  ///< by frame: the last closure that had it
  uint32_t round_ = 0;
  bool overflowed_ = false;
};

}  // namespace lamina::text
