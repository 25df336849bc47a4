//! Accounts, sessions and tokens: who somebody is, and how the platform can tell.

mod domain;
mod handlers;
mod issuer;
mod mails;
mod store;
#[cfg(test)]
mod tests;

sdk::service! {
    routes: &[
        handlers::account::ROUTES,
        handlers::password::ROUTES,
        handlers::session::ROUTES,
        handlers::token::ROUTES,
        handlers::internal::ROUTES,
        handlers::keys::ROUTES,
    ],
    consumers: &[sdk::consumers! {
        "membership.changed" => handlers::subject::on_membership_changed;
        "user.deleted" => handlers::subject::on_user_deleted;
    }],
    ticks: &[sdk::ticks! { "rotate-signing-keys" => handlers::keys::rotate; }],
    subject_data: sdk::subject::SubjectData {
        export: handlers::subject::export,
        erase: handlers::subject::erase,
    },
}
