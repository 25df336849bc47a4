//! Requests: those that are passed on, and the gateway's own documents.

mod documents;
mod identity;
mod limits;
mod permissions;
mod through;

use sdk::http::Routes;

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "gateway";
    /// The OpenAPI document of all services.
    GET "/openapi.json" => documents::openapi;
    /// The API reference as a page.
    GET "/docs" => documents::page;
    /// The API reference as a page.
    GET "/docs/" => documents::page, hidden;
    /// A part of the page.
    GET "/docs/{file}" => documents::part, hidden;
    /// What the route table leads elsewhere.
    ANY "/{*path}" => through::through, hidden;
};
