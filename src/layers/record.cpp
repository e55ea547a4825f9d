#include "layers/record.h"

#include <cmath>
#include <limits>

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using core::Result;

Result<const nlohmann::json*> Record::field(const std::string& key) {
  read_.insert(key);
  if (!has(key)) return fail(ErrorCode::kInvalid, place_, "the record has no \"{}\"", key);
  return &(*value_)[key];
}

Result<int64_t> Record::size(const std::string& key) {
  LAMINA_ASSIGN(const double value, number(key));
  if (value < 1 || value > std::numeric_limits<int32_t>::max() || value != std::floor(value)) {
    return fail(ErrorCode::kCorrupt, place_, "{} is {}; a whole number from 1 to 2147483647 expected", key, value);
  }
  return static_cast<int64_t>(value);
}

Result<int64_t> Record::size_or_zero(const std::string& key) {
  read_.insert(key);
  LAMINA_ASSIGN(const double value, number_or(key, 0));
  return value == 0 ? Result<int64_t>(0) : size(key);
}

Result<double> Record::number(const std::string& key) {
  LAMINA_ASSIGN(const nlohmann::json* value, field(key));
  if (!value->is_number()) return fail(ErrorCode::kCorrupt, place_, "{} is {}; a number expected", key, value->dump());
  return value->get<double>();
}

Result<bool> Record::flag(const std::string& key) {
  read_.insert(key);
  if (!has(key)) return false;
  LAMINA_ASSIGN(const nlohmann::json* value, field(key));
  if (!value->is_boolean())
    return fail(ErrorCode::kCorrupt, place_, "{} is {}; true or false expected", key, value->dump());
  return value->get<bool>();
}

Result<std::vector<double>> Record::numbers(const std::string& key) {
  read_.insert(key);
  std::vector<double> numbers;
  if (!has(key)) return numbers;
  for (const auto& item : (*value_)[key]) {
    if (!item.is_number())
      return fail(ErrorCode::kCorrupt, place_, "{} holds {}; a list of numbers expected", key, item.dump());
    numbers.push_back(item.get<double>());
  }
  return numbers;
}

Result<double> Record::number_or(const std::string& key, double fallback) {
  read_.insert(key);
  return has(key) ? number(key) : Result<double>(fallback);
}

Result<bool> Record::flag_or(const std::string& key, bool fallback) {
  read_.insert(key);
  if (!has(key)) return fallback;
  const nlohmann::json& value = (*value_)[key];
  if (!value.is_boolean())
    return fail(ErrorCode::kCorrupt, place_, "{} is {}; true or false expected", key, value.dump());
  return value.get<bool>();
}

Result<std::string> Record::text(const std::string& key) {
  LAMINA_ASSIGN(const nlohmann::json* value, field(key));
  if (!value->is_string()) return fail(ErrorCode::kCorrupt, place_, "{} is {}; a text expected", key, value->dump());
  return value->get<std::string>();
}

Result<std::optional<std::string>> Record::optional_text(const std::string& key) {
  read_.insert(key);
  if (!has(key)) return std::nullopt;
  LAMINA_ASSIGN(std::string value, text(key));
  return value;
}

Result<std::vector<std::string>> Record::texts(const std::string& key) {
  LAMINA_ASSIGN(const nlohmann::json* value, field(key));
  std::vector<std::string> texts;
  for (const auto& item : *value) {
    if (!item.is_string())
      return fail(ErrorCode::kInvalid, place_, "{} is {}; a list of texts expected", key, value->dump());
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

Result<Record> Record::child(const std::string& key) {
  LAMINA_ASSIGN(const nlohmann::json* value, field(key));
  Record record(*value, place_ + ": " + key);
  record.key_ = key;
  return record;
}

Result<std::optional<Record>> Record::optional_child(const std::string& key) {
  read_.insert(key);
  if (!has(key)) return std::nullopt;
  LAMINA_ASSIGN(Record record, child(key));
  return record;
}

core::Status Record::done() const {
  for (const auto& [key, value] : value_->items()) {
    if (!read_.contains(key)) return fail(ErrorCode::kInvalid, place_, "the record's \"{}\" means nothing here", key);
  }
  return {};
}

}  // namespace lamina::layers
