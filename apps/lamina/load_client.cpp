#include "lamina/load_client.h"

#include <fmt/format.h>

namespace lamina::app {

using nlohmann::json;

namespace {

constexpr std::string_view kData = "data:";
constexpr size_t kShownError = 200;

/// The new text of an event of any of the routes that stream.
bool has_text(const json& object) {
  const auto filled = [](const json& parent, const char* name) {
    const auto found = parent.find(name);
    return found != parent.end() && found->is_string() && !found->get_ref<const std::string&>().empty();
  };
  const auto choices = object.find("choices");
  if (choices != object.end() && choices->is_array()) {
    for (const json& choice : *choices) {
      if (!choice.is_object()) continue;
      if (filled(choice, "text")) return true;
      const json delta = choice.value("delta", json::object());
      if (delta.is_object() && (filled(delta, "content") || filled(delta, "reasoning_content"))) return true;
    }
  }
  const json delta = object.value("delta", json());
  return filled(object, "delta") || (delta.is_object() && filled(delta, "text"));
}

std::string error_text(const json& object) {
  const auto found = object.find("error");
  if (found == object.end() || found->is_null()) return {};
  if (found->is_object() && found->contains("message")) return (*found)["message"].dump();
  return found->dump();
}

}  // namespace

void AnswerReader::take(std::string_view piece, double now) {
  rest_ += piece;
  size_t begin = 0;
  for (size_t end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n', begin)) {
    const std::string_view line = std::string_view(rest_).substr(begin, end - begin);
    if (!events_ && !line.starts_with(kData) && !line.starts_with("event:") && !line.starts_with(':')) break;
    events_ = true;
    take_line(line.ends_with('\r') ? line.substr(0, line.size() - 1) : line, now);
    begin = end + 1;
  }
  rest_.erase(0, begin);
}

void AnswerReader::take_line(std::string_view line, double now) {
  if (!line.starts_with(kData)) return;
  line.remove_prefix(kData.size());
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (line == "[DONE]") {
    done_ = true;
    return;
  }
  const json object = json::parse(line, nullptr, false);
  if (!object.is_object()) {
    result_.error = "an event is not a JSON object";
    return;
  }
  if (const std::string error = error_text(object); !error.empty()) result_.error = error;
  done_ =
      done_ || object.value("type", json()) == "message_stop" || object.value("type", json()) == "response.completed";
  take_object(object, now);
}

void AnswerReader::take_object(const json& object, double now) {
  for (const char* name : {"usage", "message", "response"}) {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_object()) continue;
    const json usage = std::string_view(name) == "usage" ? *found : found->value("usage", json());
    if (usage.is_object()) take_usage(usage);
  }
  if (!events_ || !has_text(object)) return;
  ++pieces_;
  if (last_ < 0) {
    result_.first = now;
  } else {
    result_.gaps.push_back(now - last_);
  }
  last_ = now;
}

void AnswerReader::take_usage(const json& usage) {
  const auto count = [&](const char* name, int64_t& to) {
    const auto found = usage.find(name);
    if (found != usage.end() && found->is_number_integer()) to = found->get<int64_t>();
  };
  for (const char* name : {"prompt_tokens", "input_tokens"}) count(name, result_.prompt_tokens);
  for (const char* name : {"completion_tokens", "output_tokens"}) count(name, result_.output_tokens);
  const json details = usage.value("prompt_tokens_details", json());
  if (details.is_object()) result_.cached_tokens = details.value("cached_tokens", int64_t{0});
}

void AnswerReader::finish(int status) {
  result_.status = status;
  if (events_) {
    if (result_.output_tokens == 0) result_.output_tokens = pieces_;
    if (result_.ok() && !done_) result_.error = "the stream broke off";
    return;
  }
  const json object = json::parse(rest_, nullptr, false);
  if (object.is_object()) take_object(object, 0);
  if (status != 200) {
    const std::string told = object.is_object() ? error_text(object) : rest_.substr(0, kShownError);
    result_.error = fmt::format("{}: {}", status, told);
  } else if (!object.is_object() && !object.is_array()) {
    result_.error = "the answer is not JSON";
  }
}

LoadClient::LoadClient(const LoadTarget& target) : client_(target.origin), path_(target.path) {
  const auto seconds = static_cast<time_t>(target.timeout);
  client_.set_keep_alive(true);
  client_.set_tcp_nodelay(true);
  client_.set_decompress(false);
  client_.set_connection_timeout(seconds);
  client_.set_read_timeout(seconds);
  client_.set_write_timeout(seconds);
  headers_ = {{"Content-Type", "application/json"}, {"Accept-Encoding", "identity"}};
  if (!target.key.empty()) headers_.emplace("Authorization", "Bearer " + target.key);
}

LoadResult LoadClient::send(const json& body, double due, const std::function<double()>& clock) {
  LoadResult result{.due = due, .sent = clock() - due};
  AnswerReader reader(result);
  httplib::Request request;
  request.method = "POST";
  request.path = path_;
  request.headers = headers_;
  request.body = body.dump();
  request.content_receiver = [&](const char* data, size_t size, uint64_t /*offset*/, uint64_t /*total*/) {
    reader.take({data, size}, clock() - due);
    return true;
  };
  const httplib::Result answer = client_.send(request);
  result.end = clock() - due;
  reader.finish(answer ? answer->status : 0);
  if (!answer) result.error = httplib::to_string(answer.error());
  return result;
}

}  // namespace lamina::app
