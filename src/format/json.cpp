#include "format/json.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <string>
#include <vector>

#include "format/checked.h"

namespace lamina::format {

using core::ErrorCode;
using core::fail;
using core::Result;
using nlohmann::json;

namespace {

/// A character iterator that keeps a shared note of how far the parser has read: the events carry no position.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

/// Builds the document from parse events. The stack holds the open arrays and objects, so depth costs no call stack.
class DocumentBuilder : public nlohmann::json_sax<json> {
 public:
  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    if (open_.back()->contains(value)) {
      problem = fmt::format("key \"{}\" appears twice in one object", excerpt(value));
      return false;
    }
    key_ = std::move(value);
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    // "[json.exception...] parse error at line 1, column 2: what"; the position is told by the caller.
    const std::string_view text = error.what();
    const size_t start = std::min(text.find("] "), text.size() - 2) + 2;
    const size_t column = text.find(", column ");
    const size_t colon = column == std::string_view::npos ? column : text.find(": ", column);
    problem = excerpt(text.substr(colon == std::string_view::npos ? start : colon + 2), 240);
    return false;
  }

  std::string problem;
  json document;

 private:
  template <typename Value>
  json* place(Value&& value) {
    if (open_.empty()) {
      document = std::forward<Value>(value);
      return &document;
    }
    json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::forward<Value>(value));
      return &parent.back();
    }
    json& slot = parent[key_];
    slot = std::forward<Value>(value);
    return &slot;
  }

  template <typename Value>
  bool add(Value&& value) {
    place(std::forward<Value>(value));
    return true;
  }

  bool open(json&& container) {
    if (open_.size() >= kMaxJsonDepth) {
      problem = fmt::format("arrays and objects are nested deeper than {}", kMaxJsonDepth);
      return false;
    }
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::vector<json*> open_;
  std::string key_;
};

}  // namespace

Result<json> parse_json(std::string_view text, std::string_view place) {
  const char* furthest = text.data();
  DocumentBuilder builder;
  try {
    const CountingIterator first(text.data(), &furthest);
    const CountingIterator last(text.data() + text.size(), &furthest);
    if (json::sax_parse(first, last, &builder)) return std::move(builder.document);
  } catch (const std::exception& error) {
    builder.problem = excerpt(error.what(), 240);
  }
  const std::string_view read(text.data(), static_cast<size_t>(furthest - text.data()));
  const auto line = std::ranges::count(read, '\n') + 1;
  const size_t line_start = read.rfind('\n') + 1;  // npos + 1 is 0
  return fail(ErrorCode::kCorrupt, place, "JSON at {}:{}: {}", line, std::max<size_t>(read.size() - line_start, 1),
              builder.problem);
}

}  // namespace lamina::format
