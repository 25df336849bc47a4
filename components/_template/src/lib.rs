//! Keeps items: a small service that shows where everything goes.

mod domain;
mod handlers;
mod store;
#[cfg(test)]
mod tests;

sdk::service! {
    routes: &[handlers::ROUTES],
    ticks: &[sdk::ticks! { "expire" => handlers::expire_everywhere; }],
    jobs: &[sdk::jobs! { "expire" => handlers::expire; }],
}
