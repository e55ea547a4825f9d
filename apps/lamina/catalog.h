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

/// A file of a model: its parts joined in order. Without parts: one that the model's converter writes.
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
  /// Files in a foreign container, fetched for the converter and not kept.
  std::vector<CatalogFile> sources;
  /// The name of a converter and its arguments, run in the model's folder with the sources in kSourceFolder; or empty.
  std::vector<std::string> convert;

  /// Of the files, without the sources.
  int64_t bytes() const;
  /// Of what is fetched and written together.
  int64_t bytes_on_disk() const;
};

/// Where a converter finds the sources, below the model's folder.
inline constexpr const char* kSourceFolder = ".sources";

/// A script of tools/ that travels inside the program: the converters and what they import.
struct ConverterFile {
  std::string_view name;
  std::string_view text;
};
std::vector<ConverterFile> converter_files();

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
