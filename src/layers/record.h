#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::layers {

/// Reads the fields of a resolved layer record and remembers which were read, so that a field nobody reads is an error.
class Record {
 public:
  /// `value` must outlive the record; `place` starts every message ("model.gguf: layer 3: attn").
  Record(const nlohmann::json& value, std::string place) : value_(&value), place_(std::move(place)) {}

  const std::string& place() const { return place_; }
  /// The field of its parent that this record is; empty for the outermost.
  const std::string& key() const { return key_; }
  bool has(const std::string& key) const {
    return value_->is_object() && value_->contains(key) && !(*value_)[key].is_null();
  }

  bool is_text(const std::string& key) const { return has(key) && (*value_)[key].is_string(); }

  /// A whole number in 1 .. 2^31 - 1.
  core::Result<int64_t> size(const std::string& key);
  /// As size(), but 0 when the field is absent or 0.
  core::Result<int64_t> size_or_zero(const std::string& key);
  core::Result<double> number(const std::string& key);
  /// A truth value, or false when the field is absent.
  core::Result<bool> flag(const std::string& key);
  /// A list of numbers; empty when the field is absent.
  core::Result<std::vector<double>> numbers(const std::string& key);
  core::Result<double> number_or(const std::string& key, double fallback);
  /// True or false, or the fallback when the field is absent.
  core::Result<bool> flag_or(const std::string& key, bool fallback);
  core::Result<std::string> text(const std::string& key);
  /// The text, or nothing when the field is absent.
  core::Result<std::optional<std::string>> optional_text(const std::string& key);
  /// A list of texts.
  core::Result<std::vector<std::string>> texts(const std::string& key);
  core::Result<Record> child(const std::string& key);
  core::Result<std::optional<Record>> optional_child(const std::string& key);
  /// Fails when a field was never read: a misspelt name in an architecture file.
  core::Status done() const;

 private:
  core::Result<const nlohmann::json*> field(const std::string& key);

  const nlohmann::json* value_;
  std::string place_;
  std::string key_;
  std::set<std::string> read_;
};

}  // namespace lamina::layers
