#pragma once

#include "serve/service.h"

namespace lamina::app {

/// Lines of the log on standard error, each written at once.
class RequestLog {
 public:
  explicit RequestLog(bool json) : json_(json) {}
  void operator()(const serve::RequestRecord& record) const;

 private:
  bool json_;
};

}  // namespace lamina::app
