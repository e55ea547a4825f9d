#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::app {

/// A member of a package archive.
struct CatalogPart {
  std::string package;
  std::string version;
  std::string member;
};

/// A file of a model: its parts joined in order.
struct CatalogFile {
  std::string name;
  int64_t bytes = 0;
  std::string sha256;
  std::vector<CatalogPart> parts;
};

struct CatalogModel {
  std::string name;
  std::string about;
  std::string licence;
  std::string note;
  std::vector<CatalogFile> files;

  int64_t bytes() const;
};

/// The catalogue as text, from catalog.json.
std::string_view catalog_text();

/// Reads a catalogue. kCorrupt names the entry that is incomplete, unsafe (a file name that leaves its folder) or
/// double.
core::Result<std::vector<CatalogModel>> parse_catalog(std::string_view text);

/// The catalogue of this program.
const std::vector<CatalogModel>& catalog();

/// The entry of that name, or null.
const CatalogModel* find_in_catalog(std::string_view name);

}  // namespace lamina::app
