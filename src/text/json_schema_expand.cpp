#include <algorithm>
#include <array>
#include <cstdlib>

#include "text/json_schema_parts.h"

namespace lamina::text {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

constexpr size_t kMaxAlternatives = 512;
constexpr size_t kMaxBranches = 64;
constexpr int kMaxCompared = 3;

std::string decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '%' && i + 2 < text.size() &&
                         std::isxdigit(static_cast<unsigned char>(text[i + 1])) != 0 &&
                         std::isxdigit(static_cast<unsigned char>(text[i + 2])) != 0;
    if (!escaped) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(std::strtol(std::string(text.substr(i + 1, 2)).c_str(), nullptr, 16));
    i += 2;
  }
  return out;
}

/// The schema that "$ref" points to.
Result<SchemaItem> follow(const SchemaItem& item) {
  const auto& target = item.schema->at("$ref").get_ref<const std::string&>();
  const std::string place = item.place + "/$ref";
  const bool inside = target == "#" || target.starts_with("#/");
  if (!inside)
    return fail(ErrorCode::kUnsupported, place, "found {}; a reference inside the schema (#/...) expected", target);
  try {
    const SchemaJson::json_pointer pointer(decoded(target.substr(1)));
    const SchemaJson& found = item.document->at(pointer);
    if (!found.is_object() && !found.is_boolean()) return fail(ErrorCode::kInvalid, place, "{} is no schema", target);
    // Errors in it are told with the place where it is written.
    const std::string root = item.place.substr(0, item.place.find('#'));
    return SchemaItem{.schema = &found, .document = item.document, .place = root + target};
  } catch (const SchemaJson::exception&) {
    return fail(ErrorCode::kInvalid, place, "{} is not in the schema", target);
  }
}

/// One way in which all schemas may hold: those that were looked into, and those that are still to be.
struct Way {
  SchemaSet plain{};
  SchemaSet open{};
};

class Expansion {
 public:
  /// `compares`: whether branches of oneOf must exclude each other; otherwise they count as those of anyOf.
  explicit Expansion(bool compares) : compares_(compares) {}

  Result<std::vector<SchemaSet>> run(const SchemaSet& set) {
    std::vector<Way> ways{{.open = set}};
    std::vector<SchemaSet> out;
    while (!ways.empty()) {
      if (ways.size() + out.size() > kMaxAlternatives) {
        return fail(ErrorCode::kLimit, set.front().place, "anyOf and oneOf give more than {} alternatives",
                    kMaxAlternatives);
      }
      Way way = std::move(ways.back());
      ways.pop_back();
      if (way.open.empty()) {
        std::ranges::sort(way.plain, {}, &SchemaItem::schema);
        out.push_back(std::move(way.plain));
        continue;
      }
      const SchemaItem item = way.open.back();
      way.open.pop_back();
      LAMINA_CHECK_OK(look_into(item, std::move(way), ways));
    }
    std::ranges::reverse(out);
    return out;
  }

 private:
  Status look_into(const SchemaItem& item, Way way, std::vector<Way>& ways) {
    if (item.schema->is_boolean()) {
      if (item.schema->get<bool>()) ways.push_back(std::move(way));
      return {};
    }
    if (std::ranges::find(way.plain, item) != way.plain.end()) {
      ways.push_back(std::move(way));
      return {};
    }
    LAMINA_CHECK_OK(check_keywords(item));
    way.plain.push_back(item);
    if (item.schema->contains("$ref")) {
      LAMINA_ASSIGN(SchemaItem target, follow(item));
      way.open.push_back(std::move(target));
    }
    for (SchemaItem& part : branches(item, "allOf")) way.open.push_back(std::move(part));
    std::vector<Way> made{std::move(way)};
    for (const char* keyword : {"anyOf", "oneOf"}) {
      const SchemaSet parts = branches(item, keyword);
      if (parts.empty()) continue;
      if (parts.size() > kMaxBranches)
        return fail(ErrorCode::kLimit, item.place + "/" + keyword, "more than {} alternatives", kMaxBranches);
      if (compares_ && std::string_view(keyword) == "oneOf") LAMINA_CHECK_OK(compare(item, parts));
      made = forked(made, parts);
      if (made.size() > kMaxAlternatives)
        return fail(ErrorCode::kLimit, item.place, "more than {} alternatives", kMaxAlternatives);
    }
    // The last is looked into first: alternatives keep their order.
    for (size_t i = made.size(); i-- > 0;) ways.push_back(std::move(made[i]));
    return {};
  }

  static SchemaSet branches(const SchemaItem& item, const char* keyword) {
    SchemaSet out;
    const auto found = item.schema->find(keyword);
    if (found == item.schema->end()) return out;
    for (size_t i = 0; i < found->size(); ++i) {
      SchemaItem one = below(item, keyword, (*found)[i]);
      one.place += fmt::format("/{}", i);
      out.push_back(std::move(one));
    }
    return out;
  }

  static std::vector<Way> forked(const std::vector<Way>& ways, const SchemaSet& parts) {
    std::vector<Way> out;
    for (const Way& way : ways) {
      for (const SchemaItem& part : parts) {
        out.push_back(way);
        out.back().open.push_back(part);
      }
    }
    return out;
  }

  /// Exactly one of oneOf holds where no two can.
  static Status compare(const SchemaItem& item, const SchemaSet& parts) {
    for (size_t i = 0; i < parts.size(); ++i) {
      for (size_t k = i + 1; k < parts.size(); ++k) {
        LAMINA_ASSIGN(const bool apart, excludes_all({parts[i], parts[k]}));
        if (apart) continue;
        return fail(ErrorCode::kUnsupported, item.place + "/oneOf",
                    "alternatives {} and {} may both hold, or cannot be told apart; types, constants of a required "
                    "property or other enums must differ, or anyOf stand here",
                    i, k);
      }
    }
    return {};
  }

  bool compares_;
};

bool equal(const SchemaJson& a, const SchemaJson& b) {
  return a == b;
}

double number_of(const SchemaSet& set, const char* keyword, double otherwise, bool highest) {
  double out = otherwise;
  for (const SchemaItem& item : set) {
    const auto found = item.schema->find(keyword);
    if (found == item.schema->end()) continue;
    out = highest ? std::max(out, found->get<double>()) : std::min(out, found->get<double>());
  }
  return out;
}

/// A property that all must have and that can have no value.
Result<bool> lacks_property(const SchemaSet& set, int depth) {
  std::vector<std::string> names;
  for (const SchemaItem& item : set) {
    if (item.schema->contains("required"))
      for (const SchemaJson& name : item.schema->at("required")) names.push_back(name.get<std::string>());
  }
  for (const std::string& name : names) {
    SchemaSet parts;
    for (const SchemaItem& item : set) {
      const auto properties = item.schema->find("properties");
      if (properties == item.schema->end() || !properties->contains(name)) continue;
      parts.push_back(below(below(item, "properties", *properties), name, properties->at(name)));
    }
    if (parts.empty()) continue;
    LAMINA_ASSIGN(const bool none, excludes_all(parts, depth + 1));
    if (none) return true;
  }
  return false;
}

Result<bool> excludes(const SchemaSet& set, int depth) {
  unsigned types = kAnyType;
  for (const SchemaItem& item : set) types &= types_of(*item.schema);
  LAMINA_ASSIGN(const auto values, values_of(set));
  if (values) return values->empty();
  if (types == 0) return true;
  constexpr double kFar = 1e308;
  const bool numbers = (types & ~(kWhole | kBroken)) == 0;
  if (numbers && number_of(set, "minimum", -kFar, true) > number_of(set, "maximum", kFar, false)) return true;
  if (types == kString) {
    if (greatest(set, "minLength").value_or(0) > least(set, "maxLength").value_or(INT64_MAX)) return true;
    LAMINA_ASSIGN(const auto automaton, string_automaton(set));
    return automaton && automaton->empty();
  }
  if (types == kObject && depth < kMaxCompared) return lacks_property(set, depth);
  return false;
}

}  // namespace

Result<std::vector<SchemaSet>> expand(const SchemaSet& set) {
  return Expansion(true).run(set);
}

Result<std::optional<std::vector<SchemaJson>>> values_of(const SchemaSet& set) {
  std::optional<std::vector<SchemaJson>> out;
  const auto keep = [&](const SchemaJson& values) {
    if (!out) {
      out.emplace(values.begin(), values.end());
      return;
    }
    std::erase_if(*out, [&](const SchemaJson& one) {
      return std::ranges::none_of(values, [&](const SchemaJson& other) { return equal(one, other); });
    });
  };
  unsigned types = kAnyType;
  for (const SchemaItem& item : set) {
    if (item.schema->contains("enum")) keep(item.schema->at("enum"));
    if (item.schema->contains("const")) keep(SchemaJson::array({item.schema->at("const")}));
    types &= types_of(*item.schema);
  }
  if (out) std::erase_if(*out, [&](const SchemaJson& one) { return (type_of(one) & types) == 0; });
  return out;
}

Result<bool> excludes_all(const SchemaSet& set, int depth) {
  LAMINA_ASSIGN(const std::vector<SchemaSet> ways, Expansion(false).run(set));
  for (const SchemaSet& way : ways) {
    LAMINA_ASSIGN(const bool none, excludes(way, depth));
    if (!none) return false;
  }
  return true;
}

}  // namespace lamina::text
