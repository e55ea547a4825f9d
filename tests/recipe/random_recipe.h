#pragma once

#include <random>

#include "recipe/recipe.h"

namespace lamina::recipe {

/// Makes syntax trees that parse() could have made, from a seed.
class RandomRecipe {
 public:
  explicit RandomRecipe(uint32_t seed) : random_(seed) {}

  Recipe recipe() {
    Recipe result;
    const int clauses = below(5);
    for (int i = 0; i < clauses; ++i) result.clauses.push_back(clause());
    return result;
  }

 private:
  int below(int limit) { return static_cast<int>(random_() % static_cast<uint32_t>(limit)); }

  std::string word() {
    static constexpr std::string_view kLetters = "abcxyzLQ_0189";
    std::string text(1, kLetters[static_cast<size_t>(below(9))]);
    for (int length = below(6); length > 0; --length) text += kLetters[static_cast<size_t>(below(13))];
    return text;
  }

  LayerRange range() {
    const int first = below(200);
    switch (below(3)) {
      case 0:
        return {first, first, {}};
      case 1:
        return {first, first + below(60), {}};
      default:
        return {first, LayerRange::kOpen, {}};
    }
  }

  Value layers(std::vector<LayerRange> ranges) {
    Value value;
    if (ranges.size() == 1 && ranges[0].first == ranges[0].last) {
      value.integer = ranges[0].first;
    } else {
      value.kind = Value::Kind::kLayers;
      value.layers = std::move(ranges);
    }
    return value;
  }

  Value span() {
    Value value;
    value.kind = Value::Kind::kLayers;
    for (int more = 2 + below(3); more > 0; --more) {
      const int layer = below(200);
      value.layers.push_back({.first = layer, .last = layer, .position = {}, .beside = !value.layers.empty()});
    }
    return value;
  }

  Value value(bool named, int depth) {
    Value value;
    switch (below(6)) {
      case 0:
        value.integer =
            static_cast<int64_t>(random_()) * (below(2) == 0 ? -1 : 1) * (below(9) == 0 ? 1'000'000'007 : 1);
        return value;
      case 1:
        value.kind = Value::Kind::kNumber;
        value.number = std::ldexp(static_cast<double>(random_()) - 2e9, below(200) - 100);
        return value;
      case 2:
        value.kind = Value::Kind::kWord;
        value.text = word();
        return value;
      case 3:
        value.kind = Value::Kind::kText;
        for (int length = below(8); length > 0; --length) {
          static constexpr std::string_view kPieces[] = {"a", " ", "\"", "\\", "\n", "\t", "é", "層", "😀", ","};
          value.text += kPieces[below(10)];
        }
        return value;
      case 4: {
        std::vector<LayerRange> ranges{range()};
        if (named) {
          for (int more = below(4); more > 0; --more) ranges.push_back(range());
        }
        return layers(std::move(ranges));
      }
      default:
        value.kind = Value::Kind::kCall;
        if (depth == kMaxDepth) {
          value.kind = Value::Kind::kWord;
          value.text = word();
        } else {
          value.call.push_back(step(depth + 1));
        }
        return value;
    }
  }

  Step step(int depth) {
    Step result;
    result.technique = word();
    const int positional = below(3);
    const int named = below(3);
    for (int i = 0; i < positional + named; ++i) {
      Argument argument;
      if (i >= positional) argument.name = word();
      argument.value = value(i >= positional, depth);
      result.arguments.push_back(std::move(argument));
    }
    return result;
  }

  Clause clause() {
    Clause result;
    result.where.place = static_cast<Place>(below(kPlaces));
    if (result.where.place == Place::kWeights) {
      result.where.layers.push_back(below(4) == 0 ? LayerRange{0, LayerRange::kOpen, {}} : range());
      for (int more = below(3); more > 0; --more) result.where.layers.push_back(range());
      if (below(2) == 0) result.where.part = below(3) == 0 ? word() + '.' + word() : word();
    }
    for (int steps = 1 + below(3); steps > 0; --steps) result.steps.push_back(step(1));
    if (result.where.place == Place::kRoute && below(2) == 0) {
      Step list;
      list.technique = "list";
      for (int items = 1 + below(6); items > 0; --items)
        list.arguments.push_back({{}, below(5) == 0 ? span() : layers({range()}), {}});
      result.steps[0] = list;
    }
    return result;
  }

  std::mt19937 random_;
};

}  // namespace lamina::recipe
