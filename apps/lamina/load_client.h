#pragma once

#include <httplib.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lamina::app {

/// What one request of a load test brought; times in seconds from the moment when it was due.
struct LoadResult {
  double due = 0;              ///< from the test's beginning
  double sent = 0;             ///< how late it went out
  double first = -1;           ///< until the first text came; -1: none did
  double end = 0;              ///< until all had come
  std::vector<double> gaps{};  ///< between pieces of text that came one after the other
  int64_t prompt_tokens = 0;   ///< as the server counts
  int64_t output_tokens = 0;   ///< as the server counts, else the pieces that came
  int64_t cached_tokens = 0;   ///< of the prompt, if the server tells
  int status = 0;              ///< of HTTP; 0: no answer
  std::string error{};         ///< empty: the whole answer came

  bool ok() const { return error.empty(); }
};

/// Where requests go and what they carry besides their bodies.
struct LoadTarget {
  std::string origin;  ///< "http://host:port"
  std::string path;
  std::string key;  ///< API key; empty: none
  double timeout = 600;
};

/// Sends requests over one connection that is kept.
class LoadClient {
 public:
  explicit LoadClient(const LoadTarget& target);

  /// Sends a body and takes the answer, streamed or whole. `clock` tells seconds since the test's beginning.
  LoadResult send(const nlohmann::json& body, double due, const std::function<double()>& clock);

 private:
  httplib::Client client_;
  std::string path_;
  httplib::Headers headers_;
};

/// Reads an answer as it comes: server-sent events, or one JSON object.
class AnswerReader {
 public:
  explicit AnswerReader(LoadResult& result) : result_(result) {}

  /// Takes a piece that came at `now`, seconds after the request was due.
  void take(std::string_view piece, double now);
  /// After the last piece; says in the result what is wrong.
  void finish(int status);

 private:
  void take_line(std::string_view line, double now);
  void take_object(const nlohmann::json& object, double now);
  void take_usage(const nlohmann::json& usage);

  LoadResult& result_;
  std::string rest_;  ///< of an event that is not yet whole, or of a whole answer
  bool events_ = false;
  bool done_ = false;
  double last_ = -1;
  int64_t pieces_ = 0;
};

}  // namespace lamina::app
