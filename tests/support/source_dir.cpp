#include "support/source_dir.h"

namespace lamina {

std::filesystem::path source_dir() {
  return LAMINA_SOURCE_DIR;
}

}  // namespace lamina
