#include "core/memory.h"
#include "serve/routes.h"

namespace lamina::serve {

namespace {

/// A label's value, with what Prometheus wants escaped.
std::string label(std::string_view name, std::string_view value) {
  std::string out = fmt::format("{}=\"", name);
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + '"';
}

/// Writes families of figures: first their head, then their rows.
class Page {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    text_ += fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
  }
  void row(std::string_view name, std::string_view labels, double value) {
    text_ += labels.empty() ? fmt::format("{} {}\n", name, value) : fmt::format("{}{{{}}} {}\n", name, labels, value);
  }
  void histogram(std::string_view name, const std::string& labels, const Histogram& histogram) {
    int64_t below = 0;
    for (size_t i = 0; i < histogram.counts().size(); ++i) {
      below += histogram.counts()[i];
      const bool last = i == Histogram::kBounds.size();
      const std::string bound = last ? "+Inf" : fmt::format("{}", Histogram::kBounds[i]);
      row(fmt::format("{}_bucket", name), labels + "," + label("le", bound), static_cast<double>(below));
    }
    row(fmt::format("{}_sum", name), labels, histogram.sum());
    row(fmt::format("{}_count", name), labels, static_cast<double>(histogram.count()));
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

struct Figure {
  std::string_view name;
  std::string_view type;
  std::string_view help;
  int64_t WorkerCounts::* value;
};

constexpr Figure kFigures[] = {
    {"lamina_requests_waiting", "gauge", "parts of requests that wait for a place", &WorkerCounts::waiting},
    {"lamina_requests_running", "gauge", "parts of requests that are worked on", &WorkerCounts::running},
    {"lamina_steps_total", "counter", "steps of the model", &WorkerCounts::steps},
    {"lamina_prompt_tokens_total", "counter", "tokens read", &WorkerCounts::prompt_tokens},
    {"lamina_generated_tokens_total", "counter", "tokens written", &WorkerCounts::generated_tokens},
    {"lamina_draft_tokens_total", "counter", "tokens guessed before they were confirmed",
     &WorkerCounts::drafted_tokens},
    {"lamina_draft_accepted_total", "counter", "of them, those that were right", &WorkerCounts::accepted_tokens},
    {"lamina_set_back_total", "counter", "times a text lost its cache to older ones", &WorkerCounts::set_back},
    {"lamina_prefix_hits_total", "counter", "prompts whose beginning was kept", &WorkerCounts::reused_texts},
    {"lamina_prefix_tokens_total", "counter", "tokens of prompts whose keys and values were kept",
     &WorkerCounts::reused_tokens},
    {"lamina_prefix_evicted_total", "counter", "kept pieces of texts that had to make room", &WorkerCounts::evicted},
    {"lamina_cancelled_total", "counter", "parts of requests whose client went away", &WorkerCounts::cancelled},
    {"lamina_cache_blocks", "gauge", "blocks of keys and values", &WorkerCounts::cache_blocks},
    {"lamina_cache_blocks_used", "gauge", "of them in use", &WorkerCounts::cache_blocks_used},
    {"lamina_cache_blocks_kept", "gauge", "of them kept for texts that begin alike", &WorkerCounts::cache_blocks_kept},
};

}  // namespace

Answer<Reply> answer_metrics(Call& call) {
  Page page;
  std::vector<ModelState> states;
  std::vector<std::string> labels;
  for (size_t i = 0; i < call.service.models().size(); ++i) {
    states.push_back(call.service.scheduler().state(i));
    labels.push_back(label("model", call.model(i).name));
  }
  for (const Figure& figure : kFigures) {
    page.family(figure.name, figure.type, figure.help);
    for (size_t i = 0; i < states.size(); ++i)
      page.row(figure.name, labels[i], static_cast<double>(states[i].counts.*figure.value));
  }
  page.family("lamina_model_loaded", "gauge", "1: the model is in memory; 0: the next request loads it");
  for (size_t i = 0; i < states.size(); ++i)
    page.row("lamina_model_loaded", labels[i], call.service.scheduler().keeper().loaded(i) ? 1 : 0);
  page.family("lamina_step_seconds_total", "counter", "time that steps of the model took");
  for (size_t i = 0; i < states.size(); ++i)
    page.row("lamina_step_seconds_total", labels[i], states[i].counts.step_seconds);
  page.family("lamina_first_token_seconds", "histogram", "from a request's arrival to its first token");
  for (size_t i = 0; i < states.size(); ++i)
    page.histogram("lamina_first_token_seconds", labels[i], states[i].first_token);
  page.family("lamina_token_gap_seconds", "histogram", "between two tokens of a text");
  for (size_t i = 0; i < states.size(); ++i) page.histogram("lamina_token_gap_seconds", labels[i], states[i].token_gap);
  page.family("lamina_http_requests_total", "counter", "requests answered");
  for (const auto& [key, count] : call.service.answered()) {
    page.row("lamina_http_requests_total", label("path", key.first) + "," + label("status", std::to_string(key.second)),
             static_cast<double>(count));
  }
  page.family("lamina_http_connections", "gauge", "open connections");
  page.row("lamina_http_connections", "", call.service.connections());
  page.family("lamina_resident_bytes", "gauge", "memory of the process");
  page.row("lamina_resident_bytes", "", static_cast<double>(core::resident_bytes()));
  return Reply{.type = "text/plain; version=0.0.4; charset=utf-8", .body = page.take()};
}

}  // namespace lamina::serve
