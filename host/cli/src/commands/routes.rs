use airhost_control::api::Table;
use anyhow::Result;

use crate::{Global, output};

pub(crate) async fn run(global: &Global) -> Result<()> {
    let routes: Table = global.client()?.get("/v1/routes").await?;
    output::titled(routes, global.json)
}
