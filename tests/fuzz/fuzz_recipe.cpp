// Any text: parse, print, parse again (must be equal), plan for several models.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "recipe/plan.h"
#include "recipe/technique.h"

namespace {

using namespace lamina::recipe;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_plan(const Recipe& recipe, const ModelFacts& facts) {
  const auto result = plan(recipe, facts);
  if (!result) {
    require(!result.error().message.empty());
    return;
  }
  require(validate(recipe).has_value());
  require(!result->route.empty() && result->route.size() <= kMaxRoute);
  for (const Visit& visit : result->route) {
    require(visit.layer >= 0 && visit.layer < facts.layers);
    require(visit.attention || visit.mlp);
  }
  require(find_technique(Place::kKv, result->kv_format) != nullptr);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto recipe = parse(source);
  if (!recipe) {
    require(!recipe.error().message.empty() && !recipe.error().place.empty());
    return 0;
  }
  const std::string text = print(*recipe);
  // The canonical form of a text can be longer than the text ("1e9" is printed as "1000000000.0").
  if (text.size() <= kMaxSourceBytes) {
    const auto again = parse(text);
    require(again.has_value());
    require(*again == *recipe);
    require(print(*again) == text);
  }
  check_plan(*recipe, {.layers = 30});
  check_plan(*recipe, {.layers = 2, .key_value_cache = false});
  check_plan(*recipe, {.layers = 3, .sublayers = {{true, true}, {false, true}, {true, false}}});
  return 0;
}
