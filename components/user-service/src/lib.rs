//! Users as tenants know them: profiles, preferences, workspaces, memberships and invitations.

mod domain;
mod handlers;
mod store;
#[cfg(test)]
mod tests;

sdk::service! {
    routes: &[
        handlers::profile::ROUTES,
        handlers::tenant::ROUTES,
        handlers::invitation::ROUTES,
        handlers::workspace::ROUTES,
    ],
    consumers: &[sdk::consumers! {
        "user.registered" => handlers::subject::on_user_registered;
    }],
    subject_data: sdk::subject::SubjectData {
        export: handlers::subject::export,
        erase: handlers::subject::erase,
    },
}
