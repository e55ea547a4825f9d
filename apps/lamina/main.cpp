#include "core/log.h"

int main() {
  lamina::core::setup_log();
  return 2;
}
