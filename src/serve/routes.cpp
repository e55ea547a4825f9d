#include "serve/routes.h"

#include <array>

namespace lamina::serve {

// One file of routes/ each.
Answer<Reply> answer_health(Call& call);
Answer<Reply> answer_ready(Call& call);
Answer<Reply> answer_models(Call& call);
Answer<Reply> answer_layers(Call& call);
Answer<Reply> answer_chat(Call& call);
Answer<Reply> answer_completions(Call& call);
Answer<Reply> answer_messages(Call& call);
Answer<Reply> answer_count_tokens(Call& call);
Answer<Reply> answer_page(Call& call);
Answer<Reply> answer_responses(Call& call);
Answer<Reply> answer_kept_response(Call& call);
Answer<Reply> answer_remove_response(Call& call);
Answer<Reply> answer_tokenize(Call& call);
Answer<Reply> answer_detokenize(Call& call);
Answer<Reply> answer_apply_template(Call& call);
Answer<Reply> answer_embeddings(Call& call);
Answer<Reply> answer_rerank(Call& call);
Answer<Reply> answer_score(Call& call);
Answer<Reply> answer_metrics(Call& call);
Answer<Reply> answer_openapi(Call& call);
Answer<Reply> answer_sessions(Call& call);

std::span<const Field> chat_fields();
std::span<const Field> completions_fields();
std::span<const Field> messages_fields();
std::span<const Field> count_tokens_fields();
std::span<const Field> responses_fields();
std::span<const Field> tokenize_fields();
std::span<const Field> detokenize_fields();
std::span<const Field> apply_template_fields();
std::span<const Field> embeddings_fields();
std::span<const Field> rerank_fields();
std::span<const Field> score_fields();
std::span<const Field> sessions_fields();

namespace {

constexpr std::array kRoutes{
    Route{"GET", "/", "a page to chat in", answer_page, nullptr, true},
    Route{"GET", "/health", "whether the process answers", answer_health, nullptr, true},
    Route{"GET", "/health/live", "whether the process answers", answer_health, nullptr, true},
    Route{"GET", "/health/ready", "whether requests are taken", answer_ready, nullptr, true},
    Route{"GET", "/v1/models", "the models, their tasks and limits", answer_models},
    Route{"GET", "/v1/layers", "time and bytes of each layer of the models, in the steps that were watched",
          answer_layers},
    Route{"POST", "/v1/chat/completions", "an answer to a conversation", answer_chat, chat_fields},
    Route{"POST", "/v1/completions", "texts continued, or scored", answer_completions, completions_fields},
    Route{"POST", "/v1/responses", "an answer that is kept, to go on from", answer_responses, responses_fields},
    Route{"GET", "/v1/responses/{id}", "a kept answer", answer_kept_response},
    Route{"DELETE", "/v1/responses/{id}", "forgets a kept answer", answer_remove_response},
    Route{"POST", "/v1/messages", "an answer to a conversation, as Anthropic's clients ask", answer_messages,
          messages_fields},
    Route{"POST", "/v1/messages/count_tokens", "the tokens of such a conversation", answer_count_tokens,
          count_tokens_fields},
    Route{"POST", "/v1/embeddings", "vectors of texts", answer_embeddings, embeddings_fields},
    Route{"POST", "/v1/rerank", "documents ordered for a query", answer_rerank, rerank_fields},
    Route{"POST", "/rerank", "as /v1/rerank", answer_rerank, rerank_fields},
    Route{"POST", "/v1/score", "how well texts fit together", answer_score, score_fields},
    Route{"POST", "/tokenize", "a text's tokens", answer_tokenize, tokenize_fields},
    Route{"POST", "/detokenize", "tokens' text", answer_detokenize, detokenize_fields},
    Route{"POST", "/apply-template", "a conversation as the model sees it", answer_apply_template,
          apply_template_fields},
    Route{"POST", "/admin/sessions", "what is kept of a text, saved to a file and restored", answer_sessions,
          sessions_fields},
    Route{"GET", "/metrics", "figures for Prometheus", answer_metrics},
    Route{"GET", "/openapi.json", "this interface as OpenAPI", answer_openapi},
};

}  // namespace

std::optional<std::string_view> match_path(std::string_view route, std::string_view path) {
  constexpr std::string_view kName = "{id}";
  const size_t at = route.find(kName);
  if (at == std::string_view::npos) return route == path ? std::optional(std::string_view()) : std::nullopt;
  const std::string_view before = route.substr(0, at);
  const std::string_view after = route.substr(at + kName.size());
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) || !path.ends_with(after))
    return std::nullopt;
  const std::string_view id = path.substr(before.size(), path.size() - before.size() - after.size());
  return id.find('/') == std::string_view::npos ? std::optional(id) : std::nullopt;
}

std::span<const Route> routes() {
  return kRoutes;
}

}  // namespace lamina::serve
