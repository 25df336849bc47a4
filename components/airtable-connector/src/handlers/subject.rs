//! Personal data: who has connected a base.

use sdk::{
    Result, sql,
    subject::{Erasure, ExportPage, ExportPart},
};

use crate::store;

pub(crate) fn export(subject: &str, _page: u32) -> Result<ExportPage> {
    let connections = store::made_by(&sql::tenant()?, subject)?;
    Ok((vec![ExportPart::new("connections", &connections)?], false))
}

pub(crate) fn erase(subject: &str) -> Result<Vec<Erasure>> {
    let erased = store::forget_maker(&sql::tenant()?, subject)?;
    store::changed();
    Ok(vec![Erasure { section: "connections".to_owned(), erased, kept: 0, reason: None }])
}
