#include "serve/routes.h"

namespace lamina::serve {

Answer<Reply> answer_health(Call& /*call*/) {
  return json_reply({{"status", "ok"}});
}

Answer<Reply> answer_ready(Call& call) {
  if (call.service.scheduler().draining()) return refuse(503, "", "the server is ending and takes no more requests");
  return json_reply({{"status", "ready"}});
}

}  // namespace lamina::serve
