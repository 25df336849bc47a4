//! Decides who may do what on which resource, and explains why.

mod domain;
mod handlers;
mod store;
#[cfg(test)]
mod tests;

sdk::service! {
    routes: &[
        handlers::checks::ROUTES,
        handlers::roles::ROUTES,
        handlers::bindings::ROUTES,
        handlers::resources::ROUTES,
    ],
    consumers: &[sdk::consumers! {
        "membership.changed" => handlers::events::on_membership_changed;
        "user.deleted" => handlers::events::on_user_deleted;
        "permission.changed" => handlers::events::on_permission_changed;
    }],
    ticks: &[sdk::ticks! { "expire-bindings" => handlers::events::expire_bindings; }],
    subject_data: sdk::subject::SubjectData {
        export: handlers::events::export_subject,
        erase: handlers::events::erase_subject,
    },
}
