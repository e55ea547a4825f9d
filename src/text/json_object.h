#pragma once

#include "text/json_schema_parts.h"

namespace lamina::text {

/// Makes the parts that objects are put together from.
class ValueMaker {
 public:
  virtual ~ValueMaker() = default;
  /// A value that keeps to all of these schemas.
  virtual Grammar::Part value(SchemaSet set) = 0;
  virtual Grammar::Part space() = 0;
  virtual Grammar::Part any_object() = 0;
};

/// An object that keeps to all of these schemas: the properties that they name in this order, then others.
core::Result<Grammar::Part> object_part(Grammar& grammar, ValueMaker& maker, const SchemaSet& set);

}  // namespace lamina::text
