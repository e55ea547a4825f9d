#pragma once

#include <span>
#include <string>
#include <string_view>

#include "text/json_fields.h"

namespace lamina::text {

/// One of the component trees of tokenizer.json.
struct ComponentKind {
  const char* name;  ///< "normalizer", ...
  const char* list;  ///< the member of a Sequence that holds its parts
};

/// Walks a component and the parts of its Sequences in order; calls `apply(maker, spec, place)` with the row of
/// `makers` whose `type` is the component's. Errors: kUnsupported for an unknown type, kLimit for too deep a nest.
template <typename Maker, typename Apply>
core::Status visit_components(const json& spec, const ComponentKind& kind, std::span<const Maker> makers,
                              const Apply& apply, int depth = 0) {
  constexpr int kMaxDepth = 8;
  if (depth > kMaxDepth) return core::fail(core::ErrorCode::kLimit, kind.name, "nested too deeply");
  const json& type = member(spec, "type");
  if (!type.is_string()) return core::fail(core::ErrorCode::kCorrupt, kind.name, "\"type\" must be a string");
  const std::string_view name = type.get_ref<const std::string&>();
  if (name == "Sequence") {
    const json& list = member(spec, kind.list);
    if (!list.is_array()) {
      return core::fail(core::ErrorCode::kCorrupt, kind.name, "\"{}\" of a Sequence must be a list", kind.list);
    }
    for (const json& inner : list) LAMINA_CHECK_OK(visit_components(inner, kind, makers, apply, depth + 1));
    return {};
  }
  for (const Maker& maker : makers) {
    if (maker.type == name) return apply(maker, spec, std::string(kind.name) + " " + std::string(name));
  }
  return core::fail(core::ErrorCode::kUnsupported, kind.name, "unknown type \"{}\"", name);
}

}  // namespace lamina::text
