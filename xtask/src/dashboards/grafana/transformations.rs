//! Transformations of the results of queries.

use serde_json::{Map, Value, json};

use super::style::Column;

/// Transformations to one row for each set of labels, with ordered and titled columns.
pub(super) fn to_columns(columns: &[Column], hidden: &[&str]) -> Value {
    let order: Map<String, Value> =
        columns.iter().enumerate().map(|(at, column)| (column.field.to_owned(), at.into())).collect();
    let titles: Map<String, Value> =
        columns.iter().map(|column| (column.field.to_owned(), column.title.into())).collect();
    let hidden = hidden.iter().chain(&["Time"]);
    let hidden: Map<String, Value> = hidden.map(|field| ((*field).to_owned(), true.into())).collect();
    let organize = json!({
        "id": "organize",
        "options": {
            "excludeByName": hidden,
            "includeByName": {},
            "indexByName": order,
            "renameByName": titles,
        },
    });
    json!([{ "id": "merge", "options": {} }, organize])
}

/// The field with the days of a burn-down, as Grafana names the first column of a matrix.
pub(super) const DAY: &str = "day\\month";

/// Transformations to one row for each day and one column for each month, the newest first.
pub(super) fn to_lines() -> Value {
    let sorted = |field: &str, newest_first: bool| json!({ "id": "sortBy", "options": { "fields": {}, "sort": [{ "desc": newest_first, "field": field }] } });
    let matrix =
        json!({ "columnField": "month", "emptyValue": "null", "rowField": "day", "valueField": "Value" });
    let number =
        json!({ "conversions": [{ "destinationType": "number", "targetField": DAY }], "fields": {} });
    json!([
        sorted("month", true),
        { "id": "groupingToMatrix", "options": matrix },
        { "id": "convertFieldType", "options": number },
        sorted(DAY, false),
    ])
}
