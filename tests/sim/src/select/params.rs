//! Parameters of a list, from the query or from the body of `listRecords`.

use serde_json::Value as Json;

use crate::model::Direction;
use crate::reply::{ApiError, ApiResult};

/// What a list asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListParams {
    pub(crate) fields: Option<Vec<String>>,
    pub(crate) filter: Option<String>,
    /// Field name or id, and its direction.
    pub(crate) sort: Vec<(String, Direction)>,
    pub(crate) view: Option<String>,
    pub(crate) max_records: Option<usize>,
    pub(crate) page_size: Option<usize>,
    pub(crate) offset: Option<String>,
    pub(crate) cell_format: Option<String>,
    pub(crate) time_zone: Option<String>,
    pub(crate) user_locale: Option<String>,
    pub(crate) by_id: bool,
    pub(crate) comment_count: bool,
}

/// `1` and `true` of the two clients.
fn read_flag(text: &str) -> bool {
    matches!(text, "1" | "true")
}

fn number(text: &str) -> ApiResult<usize> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(ApiError::bad_parameters)
}

fn direction(text: &str) -> ApiResult<Direction> {
    match text {
        "asc" => Ok(Direction::Asc),
        "desc" => Ok(Direction::Desc),
        _ => Err(ApiError::bad_parameters()),
    }
}

/// The index in `sort[0][field]`, and the rest `field`.
fn sort_part(key: &str) -> Option<(usize, &str)> {
    let (index, rest) = key.strip_prefix("sort[")?.split_once("][")?;
    Some((index.parse().ok().filter(|index| *index < 50)?, rest.strip_suffix(']')?))
}

impl ListParams {
    /// Reads a query; names that are not known are ignored, as clients add their own.
    pub(crate) fn from_query(query: &[(String, String)]) -> ApiResult<Self> {
        let mut params = Self::default();
        let mut sort: Vec<(Option<String>, Direction)> = Vec::new();
        for (key, value) in query {
            if key.starts_with("fields[") || key == "fields" {
                params.fields.get_or_insert_default().push(value.clone());
                continue;
            }
            if let Some((index, part)) = sort_part(key) {
                if sort.len() <= index {
                    sort.resize(index + 1, (None, Direction::default()));
                }
                match part {
                    "field" => sort[index].0 = Some(value.clone()),
                    "direction" => sort[index].1 = direction(value)?,
                    _ => return Err(ApiError::bad_parameters()),
                }
                continue;
            }
            let text = Some(value.clone());
            match key.as_str() {
                "filterByFormula" => params.filter = text,
                "view" => params.view = text,
                "maxRecords" => params.max_records = Some(number(value)?),
                "pageSize" | "limit" => params.page_size = Some(number(value)?),
                "offset" => params.offset = text,
                "cellFormat" => params.cell_format = text,
                "timeZone" => params.time_zone = text,
                "userLocale" => params.user_locale = text,
                "returnFieldsByFieldId" => params.by_id = read_flag(value),
                key if key.starts_with("recordMetadata") => {
                    params.comment_count |= value == "commentCount";
                }
                _ => {}
            }
        }
        for (field, direction) in sort {
            params.sort.push((field.ok_or_else(ApiError::bad_parameters)?, direction));
        }
        params.checked()
    }

    /// Reads the body of `listRecords` over what the query already gave.
    pub(crate) fn with_body(mut self, body: &Json) -> ApiResult<Self> {
        let object = body.as_object().ok_or_else(ApiError::bad_parameters)?;
        for (key, value) in object {
            if value.is_null() {
                continue;
            }
            let text = || value.as_str().map(str::to_owned).ok_or_else(ApiError::bad_parameters);
            let count = || match value {
                Json::String(text) => number(text),
                other => number(&other.to_string()),
            };
            let texts = || -> ApiResult<Vec<String>> {
                let items = value.as_array().ok_or_else(ApiError::bad_parameters)?;
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or_else(ApiError::bad_parameters)
            };
            match key.as_str() {
                "fields" => self.fields = Some(texts()?),
                "filterByFormula" => self.filter = Some(text()?),
                "sort" => self.sort = sort_list(value)?,
                "view" => self.view = Some(text()?),
                "maxRecords" => self.max_records = Some(count()?),
                "pageSize" => self.page_size = Some(count()?),
                "offset" => self.offset = Some(text()?),
                "cellFormat" => self.cell_format = Some(text()?),
                "timeZone" => self.time_zone = Some(text()?),
                "userLocale" => self.user_locale = Some(text()?),
                "returnFieldsByFieldId" => {
                    self.by_id = value.as_bool().ok_or_else(ApiError::bad_parameters)?;
                }
                "recordMetadata" => {
                    self.comment_count = texts()?.iter().any(|name| name == "commentCount");
                }
                // airtable.js repeats its own option `method` here.
                _ => {}
            }
        }
        self.checked()
    }

    fn checked(self) -> ApiResult<Self> {
        if self.page_size.is_some_and(|size| size > 100) {
            return Err(ApiError::request("pageSize must be between 1 and 100"));
        }
        Ok(self)
    }
}

fn sort_list(value: &Json) -> ApiResult<Vec<(String, Direction)>> {
    let items = value.as_array().ok_or_else(ApiError::bad_parameters)?;
    items
        .iter()
        .map(|item| {
            let field = item.get("field").and_then(Json::as_str);
            let direction = item.get("direction").and_then(Json::as_str).unwrap_or("asc");
            let field = field.ok_or_else(ApiError::bad_parameters)?;
            Ok((field.to_owned(), self::direction(direction)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clients_queries() {
        let pairs = |list: &[(&str, &str)]| -> Vec<_> {
            list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let python = pairs(&[
            ("sort[0][direction]", "desc"),
            ("sort[0][field]", "Name"),
            ("fields[]", "Name"),
            ("returnFieldsByFieldId", "1"),
            ("recordMetadata[]", "commentCount"),
        ]);
        let script = pairs(&[
            ("sort[0][field]", "Name"),
            ("returnFieldsByFieldId", "true"),
            ("fields[]", "Name"),
        ]);
        let python = ListParams::from_query(&python).unwrap();
        let script = ListParams::from_query(&script).unwrap();
        assert_eq!(python.sort, [("Name".to_owned(), Direction::Desc)]);
        assert_eq!(script.sort, [("Name".to_owned(), Direction::Asc)]);
        assert!(python.by_id && script.by_id && python.comment_count);
        assert_eq!(python.fields, script.fields);
        for bad in [("pageSize", "101"), ("pageSize", "0"), ("sort[0][direction]", "asc")] {
            assert!(ListParams::from_query(&pairs(&[bad])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn list_body_ignores_the_method() {
        let body = serde_json::json!({"method": "post", "pageSize": 3, "sort": [{"field": "A"}]});
        let params = ListParams::default().with_body(&body).unwrap();
        assert_eq!((params.page_size, params.sort.len()), (Some(3), 1));
    }
}
