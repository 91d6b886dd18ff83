#include "store/json_node.h"

#include <fmt/format.h>

#include <set>

#include "base/error.h"

namespace jreg::store {

using nlohmann::json;

namespace {

constexpr int deepest = 32;
constexpr std::size_t longest_shown = 100;

std::string shortened(std::string text) {
  if (text.size() <= longest_shown) return text;
  // Not within a character of several bytes.
  std::size_t end = longest_shown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end) + "...";
}

/// What a member of `place` is called.
std::string member_of(std::string const& place, std::string const& key) {
  std::string const name = shortened(key);
  return place.empty() ? name : place + "." + name;
}

}  // namespace

json parse_json(std::string_view text, std::string const& file) {
  std::vector<std::set<std::string>> keys;  // of each object that is open
  auto const check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > deepest) throw DataError("{}: values are nested deeper than {}", file, deepest);
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second) {
      throw DataError("{}: the key {} stands twice in one object", file, in_quotes(parsed.get<std::string>()));
    }
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (json::parse_error const& error) {
    throw DataError("{}: is no JSON: what stands at byte {} does not belong there", file, error.byte);
  } catch (json::out_of_range const&) {
    throw DataError("{}: a number is too large", file);
  }
}

std::string in_quotes(std::string_view text) {
  return shortened(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
}

void JsonNode::refuse(std::string const& what) const {
  throw DataError("{}: {}{}{}", file_, place_, place_.empty() ? "" : " ", what);
}

JsonNode JsonNode::at(std::string const& key) const {
  if (!value_.is_object()) refuse("is no object");
  auto const found = value_.find(key);
  if (found == value_.end()) refuse("has no " + key);
  return {*found, file_, member_of(place_, key)};
}

bool JsonNode::has(std::string const& key) const {
  return value_.is_object() && value_.contains(key);
}

bool JsonNode::has_value(std::string const& key) const {
  return has(key) && !value_.at(key).is_null();
}

std::vector<std::pair<std::string, JsonNode>> JsonNode::members() const {
  if (!value_.is_object()) refuse("is no object");
  std::vector<std::pair<std::string, JsonNode>> nodes;
  for (auto const& [key, value] : value_.items()) {
    nodes.emplace_back(key, JsonNode{value, file_, member_of(place_, key)});
  }
  return nodes;
}

std::vector<JsonNode> JsonNode::items() const {
  if (!value_.is_array()) refuse("is no list");
  std::vector<JsonNode> nodes;
  for (std::size_t i = 0; i < value_.size(); ++i) nodes.push_back({value_[i], file_, fmt::format("{}[{}]", place_, i)});
  return nodes;
}

std::int64_t JsonNode::integer(std::int64_t low, std::int64_t high) const {
  // get<int64_t>() would take 1.5 and wrap 2^64 - 1.
  bool const fits = value_.is_number_unsigned() ? value_.get<std::uint64_t>() <= static_cast<std::uint64_t>(high)
                                                : value_.is_number_integer();
  if (!fits || value_.get<std::int64_t>() < low || value_.get<std::int64_t>() > high) {
    refuse(fmt::format("is not an integer between {} and {}", low, high));
  }
  return value_.get<std::int64_t>();
}

double JsonNode::number() const {
  if (!value_.is_number()) refuse("is no number");
  return value_.get<double>();
}

bool JsonNode::boolean() const {
  if (!value_.is_boolean()) refuse("is neither true nor false");
  return value_.get<bool>();
}

std::string JsonNode::text() const {
  if (!value_.is_string()) refuse("is no text");
  return value_.get<std::string>();
}

std::string JsonNode::shown() const {
  return shortened(value_.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace jreg::store
