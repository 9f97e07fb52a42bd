// Runs as they are: all of them in rows, or two side by side.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "results/table.hpp"
#include "results/table_fields.hpp"
#include "results/table_grid.hpp"

namespace olab {
namespace {

std::vector<std::string> param_names(std::span<const RunRecord> runs) {
  std::set<std::string> names;
  for (const RunRecord& run : runs)
    for (const auto& [name, text] : run.params) names.insert(name);
  return {names.begin(), names.end()};
}

std::vector<std::string> value_names(std::span<const RunRecord> runs) {
  std::set<std::string> names;
  for (const RunRecord& run : runs)
    for (const auto& [name, number] : run.values) names.insert(name);
  return {names.begin(), names.end()};
}

bool for_people(Format format) {
  return format != Format::csv && format != Format::json;
}

// What stands where there is no number.
std::string nothing(Format format) {
  return for_people(format) ? "-" : format == Format::json ? "null" : "";
}

GridCell value_cell(const RunRecord& run, const std::string& name, Format format) {
  const auto value = run.values.find(name);
  if (value == run.values.end()) return {nothing(format), true};
  return number_cell(value->second, format);
}

GridCell field_cell(const RunRecord& run, const RunField& field, Format format) {
  const std::string text = field.get(run);
  if (field.kind != RunField::Kind::text) return {text, true};
  if (text.empty() && for_people(format)) return {"-", true};
  return text;
}

GridCell param_cell(const RunRecord& run, const std::string& name, Format format) {
  const auto param = run.params.find(name);
  if (param == run.params.end()) return {nothing(format), true};
  return param->second;
}

std::string name_of(const RunRecord& run) {
  return fmt::format("run {} ({})", run.id, run_field(run, "method"));
}

struct Pair {
  std::string name;
  GridCell a;
  GridCell b;
};

std::vector<Pair> differing_params(const RunRecord& a, const RunRecord& b, Format format) {
  std::vector<Pair> out;
  for (const RunField& field : run_fields())
    if (field.compared && field.get(a) != field.get(b))
      out.push_back({std::string(field.name), field_cell(a, field, format), field_cell(b, field, format)});
  std::set<std::string> names;
  for (const RunRecord* run : {&a, &b})
    for (const auto& [name, text] : run->params) names.insert(name);
  for (const std::string& name : names) {
    const auto in_a = a.params.find(name);
    const auto in_b = b.params.find(name);
    const bool both = in_a != a.params.end() && in_b != b.params.end();
    if (!both || in_a->second != in_b->second)
      out.push_back({param_field(name), param_cell(a, name, format), param_cell(b, name, format)});
  }
  return out;
}

struct ValuePair {
  Pair pair;
  GridCell difference;
  GridCell ratio;
};

std::vector<ValuePair> value_pairs(const RunRecord& a, const RunRecord& b, Format format) {
  std::set<std::string> names;
  for (const RunRecord* run : {&a, &b})
    for (const auto& [name, number] : run->values) names.insert(name);
  std::vector<ValuePair> out;
  for (const std::string& name : names) {
    const auto in_a = a.values.find(name);
    const auto in_b = b.values.find(name);
    ValuePair& line = out.emplace_back();
    line.pair = {name, value_cell(a, name, format), value_cell(b, name, format)};
    if (in_a == a.values.end() || in_b == b.values.end()) {
      line.difference = {nothing(format), true};
      line.ratio = {nothing(format), true};
    } else {
      line.difference = number_cell(in_b->second - in_a->second, format);
      line.ratio = number_cell(in_b->second / in_a->second, format);
    }
  }
  return out;
}

std::string compare_json(const RunRecord& a, const RunRecord& b) {
  const auto text = [](const GridCell& cell) {
    return cell.ready ? cell.text : escape_cell(cell.text, Format::json);
  };
  const auto head = [&](const RunRecord& run) {
    return fmt::format(R"({{"id": {}, "key": {}, "method": {}, "layer": {}}})", run.id, text(run.key),
                       text(run_field(run, "method")), text(run.layer));
  };
  std::string params;
  for (const Pair& pair : differing_params(a, b, Format::json))
    params += fmt::format(R"({}    {{"name": {}, "a": {}, "b": {}}})", params.empty() ? "\n" : ",\n",
                          text(pair.name), text(pair.a), text(pair.b));
  std::string values;
  for (const ValuePair& line : value_pairs(a, b, Format::json))
    values += fmt::format(R"({}    {{"name": {}, "a": {}, "b": {}, "difference": {}, "ratio": {}}})",
                          values.empty() ? "\n" : ",\n", text(line.pair.name), text(line.pair.a),
                          text(line.pair.b), text(line.difference), text(line.ratio));
  return fmt::format("{{\n  \"a\": {},\n  \"b\": {},\n  \"differences\": [{}{}],\n  \"values\": [{}{}]\n}}\n",
                     head(a), head(b), params, params.empty() ? "" : "\n  ", values,
                     values.empty() ? "" : "\n  ");
}

}  // namespace

std::string export_runs(std::span<const RunRecord> runs, Format format) {
  const bool brief = for_people(format);
  std::vector<RunField> fields;
  for (const RunField& field : run_fields())
    if (!brief || field.brief) fields.push_back(field);
  const std::vector<std::string> params = brief ? std::vector<std::string>() : param_names(runs);
  const std::vector<std::string> values = value_names(runs);
  Grid grid;
  for (const RunField& field : fields) {
    grid.header.emplace_back(field.name);
    grid.numeric.push_back(field.kind == RunField::Kind::integer);
  }
  for (const std::string& name : params) {
    grid.header.push_back(param_field(name));
    grid.numeric.push_back(false);
  }
  for (const std::string& name : values) {
    grid.header.push_back(name);
    grid.numeric.push_back(true);
  }
  for (const RunRecord& run : runs) {
    std::vector<GridCell>& row = grid.rows.emplace_back();
    for (const RunField& field : fields) row.push_back(field_cell(run, field, format));
    for (const std::string& name : params) row.push_back(param_cell(run, name, format));
    for (const std::string& name : values) row.push_back(value_cell(run, name, format));
  }
  return render_grid(grid, format);
}

std::string compare_runs(const RunRecord& a, const RunRecord& b, Format format) {
  if (format == Format::json) return compare_json(a, b);
  const std::vector<Pair> params = differing_params(a, b, format);
  const std::vector<ValuePair> values = value_pairs(a, b, format);
  if (format == Format::csv) {
    Grid grid;
    grid.header = {"kind", "name", "a", "b", "difference", "ratio"};
    for (const Pair& p : params)
      grid.rows.push_back({{"parameter", true}, p.name, p.a, p.b, {"", true}, {"", true}});
    for (const ValuePair& v : values)
      grid.rows.push_back({{"value", true}, v.pair.name, v.pair.a, v.pair.b, v.difference, v.ratio});
    return render_grid(grid, format);
  }
  Grid differences;
  differences.title = "Parameters that differ";
  differences.header = {"parameter", name_of(a), name_of(b)};
  for (const Pair& p : params) differences.rows.push_back({p.name, p.a, p.b});
  Grid numbers;
  numbers.title = "Values";
  numbers.header = {"value", name_of(a), name_of(b), "difference", "ratio"};
  numbers.numeric = {false, true, true, true, true};
  for (const ValuePair& v : values)
    numbers.rows.push_back({v.pair.name, v.pair.a, v.pair.b, v.difference, v.ratio});
  return render_grid(differences, format) + "\n" + render_grid(numbers, format);
}

}  // namespace olab
