#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::recipe {

// The text of a recipe (docs/recipe.md has the grammar):
//   where:technique(args)+technique(args)  where:technique ...

inline constexpr size_t kMaxSourceBytes = 64 * 1024;
inline constexpr size_t kMaxClauses = 256;
inline constexpr size_t kMaxSteps = 16;        ///< techniques joined by '+' in one clause
inline constexpr size_t kMaxArguments = 4096;  ///< arguments of one call, and items of one layer list
inline constexpr int kMaxDepth = 8;            ///< calls inside calls
inline constexpr int kMaxLayerIndex = 65535;

/// Where something stands in the source: the character's number, from 1. Two positions always compare equal, so that
/// two syntax trees are equal when they mean the same.
struct Position {
  size_t character = 0;
  friend bool operator==(const Position&, const Position&) { return true; }
};

/// The parts of a run that a clause can change.
enum class Place { kWeights, kRoute, kKv, kPrefill, kDecode, kDraft, kHead, kEmbed, kMerge };
inline constexpr int kPlaces = 9;

/// "weights", "route", "kv", "prefill", "decode", "draft", "head", "embed", "merge". All but the first are the words of
/// the language; weights are chosen by a layer selector.
std::string_view place_name(Place place);

/// Layers first..last, both included. last == kOpen: to the model's last layer. `beside`: one layer, which reads the
/// stream that the one before it in the list reads.
struct LayerRange {
  static constexpr int kOpen = -1;
  int first = 0;
  int last = 0;
  Position position{};
  bool beside = false;
  friend bool operator==(const LayerRange&, const LayerRange&) = default;
};

struct Step;

/// One argument's value. Only the member that `kind` names holds something.
struct Value {
  enum class Kind { kInteger, kNumber, kWord, kText, kLayers, kCall };
  Kind kind = Kind::kInteger;
  int64_t integer = 0;
  double number = 0;
  std::string text;                ///< a word, or the content of a quoted string
  std::vector<LayerRange> layers;  ///< a range, or several ranges and indices in the order written
  std::vector<Step> call;          ///< one step: a technique used as a value
  bool operator==(const Value& other) const;
};

/// `value` or `name=value`.
struct Argument {
  std::string name;  ///< empty if positional
  Value value;
  Position position;
  bool operator==(const Argument& other) const;
};

/// One technique with its arguments. A bare layer list after `route:` is the technique "list", each item one argument.
struct Step {
  std::string technique;
  std::vector<Argument> arguments;
  Position position;
  bool operator==(const Step& other) const;
};

/// What a clause acts on: a place, and for weights the layers and the part of them.
struct Where {
  Place place = Place::kWeights;
  std::vector<LayerRange> layers;  ///< kWeights only; `L*` is one open range from 0
  std::string part;  ///< kWeights only: "attn", "mlp", "cross", a tensor's name, or empty for the whole layer
  Position position;
  Position part_position;
  friend bool operator==(const Where&, const Where&) = default;
};

struct Clause {
  Where where;
  std::vector<Step> steps;
  friend bool operator==(const Clause&, const Clause&) = default;
};

/// A parsed recipe. No clauses: the model as it is.
struct Recipe {
  std::vector<Clause> clauses;
  friend bool operator==(const Recipe&, const Recipe&) = default;
};

/// Reads a recipe's text. Checks the grammar and the limits above, not the techniques (validate() does, technique.h).
/// Errors: kInvalid or kLimit, at "recipe, character N", with what was found and what is allowed.
core::Result<Recipe> parse(std::string_view source);

/// The canonical text: one space between clauses, none elsewhere. parse(print(r)) equals r for every parsed r.
std::string print(const Recipe& recipe);
std::string print(const Where& where);
std::string print(const Step& step);
std::string print(const Value& value);

/// "recipe, character N": the place of an error.
std::string error_place(Position position);

}  // namespace lamina::recipe
