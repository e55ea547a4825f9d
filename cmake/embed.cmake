# Writes a C++ table of files: cmake -DOUTPUT=x.cpp -DFILES="a.json;b.json" -DHEADER=h -DTABLE=name -DTYPE=T -DNAMESPACE=n -P embed.cmake
set(rows "")
foreach(file ${FILES})
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} text)
  string(APPEND rows "    ${TYPE}{\"${name}\", R\"_embed_(${text})_embed_\"},\n")
endforeach()
file(WRITE ${OUTPUT} "#include <array>\n\n#include \"${HEADER}\"\n\nnamespace ${NAMESPACE} {\n\nnamespace {\nconst std::array kFiles{\n${rows}};\n}  // namespace\n\nstd::span<const ${TYPE}> ${TABLE}() { return kFiles; }\n\n}  // namespace ${NAMESPACE}\n")
