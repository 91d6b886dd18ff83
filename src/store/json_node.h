#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// JSON files of ours and of others, read strictly.
namespace jreg::store {

/// Parses UTF-8 text; throws DataError "<file>: ..." for what is no JSON, for a key that stands twice in an object (of
/// which parsers keep either one), and for values nested deeper than any of these files needs.
nlohmann::json parse_json(std::string_view text, std::string const& file);

/// Text of a file for a message: as JSON writes it, in one line, cut off where it is long.
std::string in_quotes(std::string_view text);

/// A value in a JSON file; errors are DataErrors that name the file and the place. The value and the file's name must
/// outlive it.
class JsonNode {
public:
  /// `place`: what messages call the value; where it is empty its members are called by their keys alone.
  JsonNode(nlohmann::json const& value, std::string const& file, std::string place)
      : value_{value}, file_{file}, place_{std::move(place)} {}

  [[noreturn]] void refuse(std::string const& what) const;

  /// A member of an object; throws where there is none.
  JsonNode at(std::string const& key) const;
  /// Whether this is an object with such a member; or with one that is not null.
  bool has(std::string const& key) const;
  bool has_value(std::string const& key) const;
  /// Members of an object with their keys, elements of a list.
  std::vector<std::pair<std::string, JsonNode>> members() const;
  std::vector<JsonNode> items() const;

  std::int64_t integer(std::int64_t low, std::int64_t high) const;
  double number() const;
  bool boolean() const;
  std::string text() const;
  /// A text that is one of `all`'s names.
  template <class Enum, std::size_t N> Enum one_of(std::array<Enum, N> const& all, char const* (*name)(Enum)) const {
    std::string const found = text();
    for (Enum const value : all) {
      if (found == name(value)) return value;
    }
    refuse("is " + in_quotes(found) + ", which is unknown");
  }
  /// The value as it stands in the file, for messages.
  std::string shown() const;

private:
  nlohmann::json const& value_;
  std::string const& file_;
  std::string place_;
};

}  // namespace jreg::store
