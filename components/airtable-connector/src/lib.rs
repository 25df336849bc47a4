//! The one service that talks to Airtable: keeps the connections of tenants to bases, passes
//! Airtable's API through, remembers what was read, and tells of what was written.

mod airtable;
mod changes;
mod domain;
mod handlers;
mod responses;
mod store;
#[cfg(test)]
mod tests;

sdk::service! {
    routes: &[
        handlers::connections::ROUTES,
        handlers::bases::ROUTES,
        handlers::records::ROUTES,
        handlers::surface::ROUTES,
    ],
    subject_data: sdk::subject::SubjectData {
        export: handlers::subject::export,
        erase: handlers::subject::erase,
    },
}
